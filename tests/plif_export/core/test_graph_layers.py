"""The layers of a graph beside neurons: each is what PyTorch does, in the golden model and in both forms of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from plif_export.core.passes import run_passes
from plif_export.core.proof.arithmetic import interpret
from plif_export.core.writers import FORMS
from plif_export.writers.c.makers import build_program
from runtime import load
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph, Node, state_input
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.ops.expand import expand_node
from tests.programs import LEAKY, linear, proved, traced

rng = np.random.default_rng(5)


def drawn(*shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype(np.float32)


def node(op: str, shape: tuple[int, ...], attrs: dict[str, Any] | None = None, **params: np.ndarray) -> Node:
    return Node("op", op, ("x",), shape, attrs or {}, params)


def tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values)


W, B = drawn(6, 5), drawn(6)
UP = drawn(4, 3, 3, 2)  # [I, O / groups, h, w]
UP1 = drawn(4, 2, 5)
NORM, SHIFT = drawn(3, 5), drawn(3, 5)
TOKENS = (4, 5)  # [tokens, features]
MAP = (4, 5, 6)

# what it is called -> (the node, the shape of its input, the same in PyTorch)
CASES: dict[str, tuple[Node, tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "Linear over tokens": (
        node("Linear", (4, 6), weight=W, bias=B), TOKENS, lambda x: F.linear(x, tensor(W), tensor(B))),
    "Linear over maps of tokens": (
        node("Linear", (2, 4, 6), weight=W), (2, 4, 5), lambda x: F.linear(x, tensor(W))),
    "ConvTranspose": (
        node("ConvTranspose", (6, 12, 12), {"stride": 2, "padding": (1, 0), "output_padding": (1, 0), "groups": 2,
             "dilation": (1, 1)}, weight=UP, bias=B),
        (4, 6, 6), lambda x: F.conv_transpose2d(x, tensor(UP), tensor(B), 2, (1, 0), (1, 0), 2)),
    "ConvTranspose of a sequence": (
        node("ConvTranspose", (2, 16), {"stride": 3, "padding": 2, "output_padding": 0, "groups": 1, "dilation": 1},
             weight=UP1), (4, 6), lambda x: F.conv_transpose1d(x, tensor(UP1), None, 3, 2)),
    "ConvTranspose with dilation": (
        node("ConvTranspose", (2, 14), {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 2},
             weight=UP1), (4, 6), lambda x: F.conv_transpose1d(x, tensor(UP1), None, dilation=2)),
    "AdaptiveAvgPool": (node("AdaptiveAvgPool", (4, 3, 4)), MAP, lambda x: F.adaptive_avg_pool2d(x, (3, 4))),
    "AdaptiveAvgPool to more": (node("AdaptiveAvgPool", (4, 7)), (4, 5), lambda x: F.adaptive_avg_pool1d(x, 7)),
    "Resize nearest": (node("Resize", (4, 10, 4), {"mode": "nearest"}), MAP, lambda x: F.interpolate(x, (10, 4))),
    "Resize linear": (node("Resize", (4, 12), {"mode": "linear"}), (4, 5),
                      lambda x: F.interpolate(x, 12, mode="linear")),
    "Resize bilinear": (node("Resize", (4, 10, 9), {"mode": "linear"}), MAP,
                        lambda x: F.interpolate(x, (10, 9), mode="bilinear")),
    "Resize to the corners": (node("Resize", (4, 3, 12), {"mode": "linear", "align_corners": True}), MAP,
                              lambda x: F.interpolate(x, (3, 12), mode="bilinear", align_corners=True)),
    "Slice": (node("Slice", (4, 2, 6), {"axis": 2, "start": 1, "stop": 4, "step": 2}), MAP, lambda x: x[:, :, 1:4:2]),
    "Slice to the end": (node("Slice", (2, 5, 6), {"axis": 1, "start": -2, "stop": None, "step": 1}), MAP,
                         lambda x: x[:, -2:]),
    "Permute": (node("Permute", (6, 4, 5), {"axes": [0, 3, 1, 2]}), MAP, lambda x: x.permute(0, 3, 1, 2)),
    "Reshape": (node("Reshape", (2, 60)), MAP, lambda x: x.reshape(-1, 2, 60)),
    "Reduce mean": (node("Reduce", (4,), {"how": "mean", "axes": [2, 3], "keepdims": False}), MAP,
                    lambda x: x.mean((2, 3))),
    "Reduce sum": (node("Reduce", (1, 5, 6), {"how": "sum", "axes": [1], "keepdims": True}), MAP,
                   lambda x: x.sum(1, keepdim=True)),
    "Reduce max": (node("Reduce", (4, 6), {"how": "max", "axes": [2], "keepdims": False}), MAP, lambda x: x.amax(2)),
    **{f"Pad {mode}": (
        node("Pad", (4, 8, 11), {"before": [0, 1, 3], "after": [0, 2, 2], "mode": mode}), MAP,
        lambda x, name=name: F.pad(x, (3, 2, 1, 2), name),
    ) for mode, name in (("zeros", "constant"), ("edge", "replicate"), ("reflect", "reflect"))},
    "Pad of all of an axis": (
        node("Pad", (4, 9, 6), {"before": [0, 4, 0], "after": [0, 0, 0], "mode": "reflect"}), MAP,
        lambda x: F.pad(x, (0, 0, 4, 0), "reflect"),
    ),
    "Pad channels": (
        node("Pad", (7, 5, 6), {"before": [1, 0, 0], "after": [2, 0, 0], "mode": "zeros"}), MAP,
        lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    ),
    "PixelShuffle": (node("PixelShuffle", (1, 10, 12), {"factor": 2}), MAP, lambda x: F.pixel_shuffle(x, 2)),
    "Softmax": (node("Softmax", TOKENS, {"axis": 2}), TOKENS, lambda x: x.softmax(2)),
    "LayerNorm": (node("LayerNorm", (3, 5), {"eps": 1e-5, "axes": 2}, weight=NORM, bias=SHIFT), (3, 5),
                  lambda x: F.layer_norm(x, (3, 5), tensor(NORM), tensor(SHIFT))),
    "LayerNorm of the last axis": (node("LayerNorm", (3, 5), {"eps": 1e-3, "axes": 1}, weight=NORM[0]), (3, 5),
                                   lambda x: F.layer_norm(x, (5,), tensor(NORM[0]), None, 1e-3)),
    "RMSNorm": (node("RMSNorm", (3, 5), {"eps": 1e-5, "axes": 1}, weight=NORM[0]), (3, 5),
                lambda x: F.rms_norm(x, (5,), tensor(NORM[0]), 1e-5)),
    "Gelu": (node("Gelu", MAP, {"approximate": "none"}), MAP, F.gelu),
    "Gelu by tanh": (node("Gelu", MAP, {"approximate": "tanh"}), MAP, lambda x: F.gelu(x, approximate="tanh")),
    "TopK": (node("TopK", (4, 3, 6), {"k": 3, "axis": 2, "values": 5}), MAP, lambda x: x.topk(3, 2).values),
    **{f"Unary {name}": (node("Unary", MAP, {"function": name}), MAP, function) for name, function in (
        ("Relu", torch.relu), ("Sigmoid", torch.sigmoid), ("Tanh", torch.tanh), ("Exp", torch.exp),
        ("Neg", torch.neg), ("Abs", torch.abs))},
    "Unary Sqrt": (node("Unary", MAP, {"function": "Sqrt"}), MAP, lambda x: x.sqrt()),
}  # fmt: skip


def alone(op: Node, shape: tuple[int, ...]) -> Graph:
    """The operation as the network's output; behind it a neuron, since there is no network without."""
    return Graph(shape, (op, traced("n", (op.name,), op.shape, LEAKY)), op.name)


def outputs(graph: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    """y [T, B, ...] for x [T, B, ...] of the golden model and of all forms in ONNX Runtime."""
    found = {"golden model": interpret.run(graph, x)[0]}
    states = {state_input(n.layer, v): np.full((x.shape[1], *n.shape), i, np.float32) for n in graph.neurons
              for v, i in n.initial.items()}  # fmt: skip
    for form, write in FORMS.items():
        session = ort.InferenceSession(
            write(graph, len(x), None).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        wanted = {i.name for i in session.get_inputs()}
        feed = {name: value for name, value in states.items() if name in wanted}
        steps = list(x) if form == "step" else [x]
        y = [session.run(["y"], {"x": part, **feed})[0] for part in steps]  # no operation here has a state of its own
        found[form] = np.stack(y) if form == "step" else y[0]
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_layer_is_what_pytorch_does(case: str) -> None:
    op, shape, in_pytorch = CASES[case]
    x = drawn(2, 3, *shape)
    x = np.abs(x) if op.attrs.get("function") == "Sqrt" else x
    expected = np.stack([in_pytorch(tensor(part)).numpy() for part in x])
    for where, y in outputs(alone(op, shape), x).items():
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-6, err_msg=where)


JOINED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "MatMul": torch.matmul,
}


@pytest.mark.parametrize("op", JOINED)
@pytest.mark.parametrize("constant", (False, True))
def test_two_tensors_are_joined_as_pytorch_does_it_with_axes_of_size_one_repeated(op: str, constant: bool) -> None:
    """The second is what a Reduce leaves of the first, or a constant."""
    if op == "MatMul":
        second = Node("b", "Permute", ("x",), (5, 4), {"axes": [0, 2, 1]}) if not constant else None
        size: tuple[int, ...] = (5, 4)
    else:
        second = Node("b", "Reduce", ("x",), (4, 1), {"how": "max", "axes": [2], "keepdims": True})
        size = (4, 1)
    value = drawn(*size)
    if constant or second is None:
        second = Node("b", "Constant", (), size, {}, {"value": value})
    joined = Node("op", op, ("x", "b"), (4, 4) if op == "MatMul" else TOKENS)
    graph = Graph(TOKENS, (second, joined, traced("n", ("op",), joined.shape, LEAKY)), "op")
    x = drawn(2, 3, *TOKENS)
    b = tensor(value) if constant else tensor(x).mT if op == "MatMul" else tensor(x).amax(-1, keepdim=True)
    for where, y in outputs(graph, x).items():
        np.testing.assert_allclose(y, JOINED[op](tensor(x), b).numpy(), rtol=1e-5, atol=2e-6, err_msg=where)


def test_equal_values_are_all_counted_among_the_largest() -> None:
    """Behind a relu, half of them are 0."""
    relu = Node("relu", "Unary", ("x",), (4, 5), {"function": "Relu"})
    largest = Node("op", "TopK", ("relu",), (4, 4), {"k": 4, "axis": 2, "values": 5})
    x = drawn(2, 3, 4, 5)
    expected = tensor(x).relu().topk(4, -1).values.numpy()
    graph = Graph((4, 5), (relu, largest, traced("n", ("op",), (4, 4), LEAKY)), "op")
    for where, y in outputs(graph, x).items():
        np.testing.assert_array_equal(y, expected, err_msg=where)


def test_a_constant_stands_beside_every_row() -> None:
    """A token for the class in front of the others."""
    token = drawn(1, 5)
    nodes = (
        Node("token", "Constant", (), (1, 5), {}, {"value": token}),
        Node("op", "Concat", ("token", "x"), (5, 5), {"axis": 1}),
        traced("n", ("op",), (5, 5), LEAKY),
    )
    x = drawn(2, 3, *TOKENS)
    expected = np.concatenate([np.broadcast_to(token, (2, 3, 1, 5)), x], axis=2)
    for where, y in outputs(Graph(TOKENS, nodes, "op"), x).items():
        np.testing.assert_array_equal(y, expected, err_msg=where)


def test_every_kind_of_layer_is_tested_here_or_came_before() -> None:
    before = {
        "Conv",
        "BatchNorm",
        "Affine",
        "Neuron",
        "MaxPool",
        "AvgPool",
        "GlobalAvgPool",
        "Flatten",
        "Dropout",
        "Vote",
    }
    here = {op.op for op, _, _ in CASES.values()} | set(JOINED) | {"Constant", "Concat"}
    assert here | before | {"State"} == set(OPERATIONS)


def attention(tokens: int = 6, features: int = 4) -> Graph:
    """A block of a spike-driven transformer on [tokens, features]: q, k, v as spikes, 2 q k^T v, and a head."""
    shape, rng = (tokens, features), np.random.default_rng(0)
    norm = {key: rng.uniform(0.5, 1.5, features).astype(np.float32) for key in ("weight", "bias", "mean", "var")}
    nodes = [traced("first", ("x",), shape, PLIF_1, 1.0, alpha=0.5)]
    for i, name in enumerate("qkv"):
        nodes += [
            linear(name, "first_neuron", features, features, i, 5.0, shape),
            traced(f"n{name}", (name,), shape, PLIF_1, 1.0, alpha=0.7),
        ]
    nodes += [
        Node("kt", "Permute", ("nk_neuron",), (features, tokens), {"axes": [0, 2, 1]}),
        Node("pairs", "MatMul", ("nq_neuron", "kt"), (tokens, tokens)),
        Node("mixed", "MatMul", ("pairs", "nv_neuron"), shape),
        Node("twice", "Affine", ("mixed",), shape, {}, {"scale": np.float32(2), "shift": np.float32(0)}),
        traced("out", ("twice",), shape, PLIF_1, 1.0, alpha=0.9),
        linear("mlp", "out_neuron", features, features, 7, 5.0, shape),
        Node("turned", "Permute", ("mlp",), (features, tokens), {"axes": [0, 2, 1]}),
        Node("norm", "BatchNorm", ("turned",), (features, tokens), {"eps": 1e-5}, norm),
        traced("last", ("norm",), (features, tokens), PLIF_1, 1.0, alpha=0.6),
        Node("mean", "Reduce", ("last_neuron",), (features,), {"how": "mean", "axes": [2], "keepdims": False}),
        linear("head", "mean", features, 3, 9, 2.0),
    ]
    return Graph(shape, tuple(nodes), "head")


PLIF_1: dict[str, Any] = {
    "states": {"v": 0.0},
    "program": [
        ["drive", "Sub", "x", "v"],
        ["moved", "Mul", "drive", "alpha"],
        ["h", "Add", "v", "moved"],
        ["fires", "GreaterOrEqual", "h", 1.0],
        ["s", "Cast", "fires"],
        ["after", "Where", "fires", 0.0, "h"],
    ],
    "h": "h",
    "s": "s",
    "next": {"v": "after"},
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("precision", ("fp32", "fp16", "int8"))
@pytest.mark.parametrize("form", FORMS)
def test_a_spiking_transformer_is_proved_in_every_form_and_precision(tmp_path: Path, form: str, precision: str) -> None:
    report = proved(attention(), tmp_path / "m.onnx", form, precision)
    assert report.passed, report.sentence()
    assert report.spikes > 50 and not report.untested and report.excused == 0
    session = load(tmp_path / "m.onnx").session(2)
    x = np.random.default_rng(0).poisson(0.7, (4, 2, 6, 4)).astype(np.float32)
    y = session.run(x)
    expected, _ = interpret.run(run_passes(attention(), "folded", False, precision), x)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    int8 = [
        n.name for n in run_passes(attention(), "folded", False, "int8") if "scale" in n.params and n.op == "Linear"
    ]
    assert int8 == ["q", "k", "v", "mlp"]  # what reads spikes; the head reads a mean of them


def test_batch_normalisation_of_tokens_is_not_folded_into_a_linear_layer_over_features() -> None:
    """Its channels are the tokens, the linear layer's outputs are the features, although both may be four."""
    norm = {"weight": drawn(4), "bias": drawn(4), "mean": drawn(4), "var": np.abs(drawn(4)) + 1}
    nodes = (
        linear("fc", "x", 5, 4, shape=(4, 4)),
        Node("norm", "BatchNorm", ("fc",), (4, 4), {"eps": 1e-5}, norm),
        traced("n", ("norm",), (4, 4), LEAKY),
    )
    graph, x = Graph(TOKENS, nodes, "norm"), drawn(1, 3, *TOKENS)
    y = F.batch_norm(
        F.linear(tensor(x[0]), tensor(nodes[0].params["weight"])),
        *(tensor(norm[k]) for k in ("mean", "var", "weight", "bias")),
    )
    for where, found in outputs(run_passes(graph, "folded", False), x).items():
        np.testing.assert_allclose(found[0], y.numpy(), atol=1e-5, err_msg=where)


@pytest.mark.parametrize(
    ("nodes", "what"),
    (
        ((Node("s", "State", (), (4,), {"layer": "m", "variable": "v", "when": "before"}),), "which no neuron has"),
        ((Node("s", "State", (), (4,), {"layer": "n", "variable": "i", "when": "before"}),), "which no neuron has"),
        ((Node("s", "State", (), (5,), {"layer": "n", "variable": "v", "when": "before"}),), "has shape"),
        ((Node("s", "State", ("x",), (4,), {"layer": "n", "variable": "v", "when": "after"}),), "expected nothing before"),
        ((Node("c", "Constant", (), (4,), {}, {"value": np.zeros(5, np.float32)}),), "has a value"),
        ((Node("c", "Constant", (), (4,), {}, {"value": np.zeros(4, np.float32)}), linear("f", "c", 4, 4)), "reads the constant"),
        ((Node("r", "Reshape", ("x",), (2, 2)), Node("a", "Add", ("x", "r"), (2, 2))), "as many axes"),
        ((Node("r", "Reshape", (), (2, 2)),), "reads nothing"),
        ((Node("m", "MatMul", ("x", "x", "x"), (4,)),), "expected 2"),
        *(((Node("p", "Pad", ("x",), (6,), {"before": b, "after": a, "mode": m}),), r"pads \[4\] by") for b, a, m in (
            ([1], [1], "wrap"), ([1, 1], [1, 1], "zeros"), (1, 1, "edge"), ([-1], [3], "edge"), ([0.5], [1.5], "zeros"),
            ([10**12], [2], "zeros"), (["1"], ["1"], "edge"), ([4], [-2], "reflect"))),
    ),
    ids=str,
)  # fmt: skip
def test_a_graph_that_does_not_fit_together_is_refused_in_one_line(nodes: tuple[Node, ...], what: str) -> None:
    neuron = traced("n", ("x",), (4,), LEAKY)
    with pytest.raises(PlifError, match=what) as refused:
        Graph((4,), (neuron, *nodes), "n_neuron")
    assert "\n" not in str(refused.value)


def test_what_a_writer_has_no_word_for_is_written_as_what_its_meaning_is_made_of() -> None:
    """PixelShuffle, which neither ONNX nor C has a word for here, in C."""
    op = node("PixelShuffle", (1, 4, 4), {"factor": 2})
    fc = Node("fc", "Linear", ("flat",), (3,), {}, {"weight": drawn(3, 16)})
    graph = Graph(
        (4, 2, 2),
        (op, Node("flat", "Flatten", ("op",), (16,)), fc, traced("n", ("fc",), (3,), LEAKY)),
        "n_neuron",
    )
    program, problems = build_program(run_passes(graph, "exact", static=False))
    assert problems == [] and program.values["op"].shape == (1, 4, 4)
    assert [part.op for part in expand_node(op, [(4, 2, 2)])] == ["Reshape", "Permute", "Reshape"]
    with pytest.raises(PlifError, match=r"windows\(\), which is no node"):
        expand_node(Node("p", "MaxPool", ("x",), (4, 1, 1), {"kernel": 2, "stride": 2}), [(4, 2, 2)])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (node("Conv", (6, 5, 5), {"stride": 1, "padding": 0, "groups": 1}, weight=drawn(6, 4, 3, 3)), r"gives \[6, 3, 4\]"),
        (node("Conv", (6, 3, 4), {"stride": 1, "padding": 0, "groups": 2}, weight=drawn(6, 4, 3, 3)), "on 4 channels"),
        (node("MaxPool", (4, 1, 1), {"kernel": 7, "stride": 1}), r"has a kernel \[7, 7\] on \[4, 5, 6\]"),
        (node("Reshape", (4, 31)), r"makes \[4, 31\] of \[4, 5, 6\]"),
        (node("Permute", (5, 4, 6), {"axes": [1, 0, 2, 3]}), "moves axes"),
        (node("Permute", MAP, {"axes": 5}), "attributes that no Permute has"),
        (node("Affine", MAP, scale=drawn(5), shift=drawn(5)), r"joins \[4, 5, 6\] and \[5, 1, 1\]"),
        *((node("TopK", MAP, {"k": k, "axis": axis, "values": n}), f"takes the {k} largest of {n} along axis {axis}")
          for k, axis, n in ((5, 1, 4), (0, 1, 4), (2, 1, 5), (2, 4, 4), (2.0, 1, 4), (2, 0, 4))),
    ],
)  # fmt: skip
def test_a_layer_whose_shape_does_not_follow_from_its_input_is_refused_by_name(wrong: Node, says: str) -> None:
    with pytest.raises(PlifError, match=rf"layer op \({wrong.op}\) .*{says}"):
        alone(wrong, MAP)
