"""Operations without a kernel of their own in the event engine: what the golden model gives, the same bits on every path."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export.core.proof.arithmetic import interpret
from runtime import native
from runtime.core.model.graph import Graph, Node, record_key
from runtime.core.model.ops.shapes import infer_shape
from tests.plif_export.core.test_graph_layers import CASES, JOINED, TOKENS, attention
from tests.programs import LEAKY, linear, plif_file_of, proved, traced, written

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)

PATHS = native.cpu_paths() if native.is_built() else ()
rng = np.random.default_rng(3)


def whole(graph: Graph, x: np.ndarray, file: Path, monkeypatch: pytest.MonkeyPatch, near: float = 2e-6) -> None:
    """x [T, B, ...] through every path: y and all states near the golden model's, and of the same bits on each."""
    found = []
    for path in PATHS:
        monkeypatch.setenv(native.PATH_VARIABLE, path)
        session = runtime.load(file, "event", threads=2).session(x.shape[1])
        state, kept = interpret.initial_state(graph, x.shape[1]), []
        for x_t in x:
            y = session.step(x_t)
            expected, state, _ = interpret.step(graph, x_t, state)
            np.testing.assert_allclose(y, expected, rtol=2e-5, atol=near)
            kept.append(y)
        for record in session.model.card["states"]:
            np.testing.assert_allclose(
                session.state[record["name"]], state[record_key(record)], rtol=2e-5, atol=near, err_msg=record["name"]
            )
        found.append(np.stack(kept).tobytes())
    assert len(set(found)) == 1


def behind(op: Node, shape: tuple[int, ...], *before: Node) -> Graph:
    """The operation, a neuron behind it, and both as one vector."""
    flat = Node("flat", "Flatten", ("n_neuron",), (prod(op.shape),))
    return Graph(shape, (*before, op, traced("n", (op.name,), op.shape, LEAKY), flat), "flat")


@pytest.mark.parametrize("case", CASES)
def test_an_operation_is_that_of_the_golden_model(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    op, shape, _ = CASES[case]
    graph = behind(op, shape)
    written(graph, tmp_path / "m.onnx")
    x = rng.normal(0, 1, (2, 3, *shape)).astype(np.float32)
    whole(graph, np.abs(x) if op.attrs.get("function") == "Sqrt" else x, tmp_path / "m.onnx", monkeypatch)


@pytest.mark.parametrize("constant", (False, True))
@pytest.mark.parametrize("op", [*JOINED, "Concat"])
def test_values_and_constants_are_joined(
    op: str, constant: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (5, 4) if op == "MatMul" else (4, 1)
    attrs: dict[str, Any] = {"axis": 2} if op == "Concat" else {}
    if constant:
        second = Node("b", "Constant", (), size, {}, {"value": rng.normal(0, 1, size).astype(np.float32)})
    elif op == "MatMul":
        second = Node("b", "Permute", ("x",), size, {"axes": [0, 2, 1]})
    else:
        second = Node("b", "Reduce", ("x",), size, {"how": "max", "axes": [2], "keepdims": True})
    joined = Node("op", op, ("x", "b"), (4, 4) if op == "MatMul" else (4, 6) if op == "Concat" else TOKENS, attrs)
    graph = behind(joined, TOKENS, second)
    written(graph, tmp_path / "m.onnx")
    whole(graph, rng.normal(0, 1, (2, 3, *TOKENS)).astype(np.float32), tmp_path / "m.onnx", monkeypatch, 1e-5)


# weight [O, I / groups, k...], the shape that goes in, attributes
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "dilation": ((6, 4, 3, 3), (4, 9, 8), {"stride": 1, "padding": 2, "groups": 1, "dilation": 2}),
    "uneven": ((6, 4, 3, 1), (4, 9, 8), {"stride": [1, 2], "padding": [1, 0], "groups": 1, "dilation": [2, 1]}),
    "groups": ((6, 2, 3, 3), (4, 7, 7), {"stride": 2, "padding": 1, "groups": 2, "dilation": 2}),
    "of each channel": ((4, 1, 3, 3), (4, 7, 7), {"stride": 1, "padding": 2, "groups": 4, "dilation": 2}),
    "one axis": ((70, 4, 5), (4, 30), {"stride": 2, "padding": 2, "groups": 1}),
    "three axes": ((3, 2, 2, 3, 3), (2, 4, 6, 5), {"stride": [1, 2, 1], "padding": 1, "groups": 1}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_any_kind_are_those_of_the_golden_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, shape, attrs = CONVOLUTIONS[name]
    params = {"weight": rng.normal(0, 1, size).astype(np.float32), "bias": rng.normal(0, 1, size[0]).astype(np.float32)}
    op = Node("op", "Conv", ("x",), shape, attrs, params)
    op = op.with_(shape=infer_shape(op, [shape]))
    inner = shape if len(shape) < 4 else (shape[0] * shape[1], *shape[2:])  # a card's input has three axes
    reshape = () if inner == shape else (Node("fold", "Reshape", ("x",), shape),)
    graph = behind(op.with_(inputs=(reshape[0].name if reshape else "x",)), inner, *reshape)
    written(graph, tmp_path / "m.onnx")
    x = rng.poisson(0.3, (3, 2, *inner)).astype(np.float32)
    whole(graph, x, tmp_path / "m.onnx", monkeypatch, 1e-5)


@pytest.mark.parametrize(("op", "attrs"), [
    ("MaxPool", {"kernel": 3, "stride": 2, "padding": 1}), ("AvgPool", {"kernel": [2, 3], "stride": [1, 2], "padding": [1, 0]}),
    ("MaxPool", {"kernel": 2, "stride": 1, "dilation": 2}), ("GlobalAvgPool", {}),
])  # fmt: skip
def test_pools_of_any_kind_are_those_of_the_golden_model(
    op: str, attrs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node("op", op, ("x",), (5, 8, 9), attrs)
    graph = behind(node.with_(shape=infer_shape(node, [(5, 8, 9)])), (5, 8, 9))
    written(graph, tmp_path / "m.onnx")
    whole(graph, rng.normal(0, 1, (2, 2, 5, 8, 9)).astype(np.float32), tmp_path / "m.onnx", monkeypatch)


def test_a_spike_driven_transformer_passes_the_gate(tmp_path: Path) -> None:
    report = proved(attention(), tmp_path / "m.onnx", engine="event")
    assert report.passed and report.engine == "event", report.sentence()


@pytest.mark.parametrize("turned", (False, True))
def test_int8_weights_behind_what_keeps_counts_whole_are_summed_exactly(turned: bool, tmp_path: Path) -> None:
    """Spikes side by side, perhaps 1 - s, pooled with padding, and weighed by a convolution with dilation: whole numbers."""
    minus = {"scale": np.array(-1, np.float32), "shift": np.array(1, np.float32)}
    between = (Node("not", "Affine", ("both",), (8, 8, 8), {}, minus),) if turned else ()
    place = {"stride": 1, "padding": 1, "groups": 1}
    fired = {"states": {"v": 0.0}, "program": [["f", "Greater", "x", 0.5], ["s", "Cast", "f"]], "h": "x", "s": "s",
             "next": {"v": "v"}}  # fmt: skip
    weight = rng.normal(0, 1, (6, 8, 3, 3)).astype(np.float32)
    nodes = (
        Node("c", "Conv", ("x",), (4, 8, 8), place, {"weight": rng.normal(0, 1, (4, 2, 3, 3)).astype(np.float32)}),
        traced("a", ("c",), (4, 8, 8), fired, 0.5),
        Node("both", "Concat", ("a_neuron", "a_neuron"), (8, 8, 8), {"axis": 1}),
        *between,
        Node("pool", "MaxPool", ("not" if turned else "both",), (8, 8, 8), {"kernel": 3, "stride": 1, "padding": 1}),
        Node("d", "Conv", ("pool",), (6, 6, 6), {"stride": 1, "padding": 1, "groups": 1, "dilation": 2}, {"weight": weight}),
        traced("b", ("d",), (6, 6, 6), fired, 0.5),
        Node("flat", "Flatten", ("b_neuron",), (216,)),
        linear("fc", "flat", 216, 3),
    )  # fmt: skip
    report = proved(Graph((2, 8, 8), nodes, "fc"), tmp_path / "m.onnx", precision="int8", engine="event")
    assert report.passed and report.excused == 0 and report.spikes > 300, report.sentence()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("place", [
    {"stride": [2, 1], "padding": [1, 2], "groups": 1}, {"stride": 1, "padding": 2, "groups": 2, "dilation": [2, 1]},
    {"stride": [1, 2], "padding": [0, 1], "groups": 1, "dilation": 2},
], ids=str)  # fmt: skip
def test_int8_weights_on_spikes_keep_their_sums_whatever_the_strides_and_dilations(
    place: dict[str, Any], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(native.PATH_VARIABLE, path)
    fired = {"states": {"v": 0.0}, "program": [["f", "Greater", "x", 0.2], ["s", "Cast", "f"]], "h": "x", "s": "s",
             "next": {"v": "v"}}  # fmt: skip
    plain, rng = {"stride": 1, "padding": 1, "groups": 1}, np.random.default_rng(4)
    weight = rng.normal(0, 1, (70, 20 // place["groups"], 3, 3)).astype(np.float32)
    second = Node("d", "Conv", ("a_neuron",), (0, 0, 0), place, {"weight": weight})
    second = second.with_(shape=infer_shape(second, [(20, 6, 12)]))
    nodes = (
        Node("c", "Conv", ("x",), (20, 6, 12), plain, {"weight": rng.normal(0, 1, (20, 2, 3, 3)).astype(np.float32)}),
        traced("a", ("c",), (20, 6, 12), fired, 0.2),
        second,
        traced("b", ("d",), second.shape, fired, 0.2),
        Node("flat", "Flatten", ("b_neuron",), (prod(second.shape),)),
        linear("fc", "flat", prod(second.shape), 3),
    )
    report = proved(Graph((2, 6, 12), nodes, "fc"), tmp_path / "m.onnx", precision="int8", engine="event")
    assert report.passed and report.spikes > 300, report.sentence()


def test_a_plif_file_of_them_gives_the_bits_of_the_onnx_form(tmp_path: Path) -> None:
    graph = attention()
    path = plif_file_of(graph, tmp_path)
    x = rng.poisson(0.6, (6, 2, *graph.input_shape)).astype(np.float32)
    one, other = (runtime.load(file, "event").session(2).run(x) for file in (path, tmp_path / "m.onnx"))
    np.testing.assert_array_equal(one, other)
