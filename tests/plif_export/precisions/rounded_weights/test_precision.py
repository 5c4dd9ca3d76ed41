"""Every network that exports in fp32 does so in fp16, int8, int4 and ternary: both forms, both dialects, the same proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto
from torch import nn

import plif_train
import runtime
from plif_export import export, verify
from plif_export.core.cards import make_card, set_card
from plif_export.core.passes import run_passes
from plif_export.core.proof.report import Report
from plif_export.core.prove import prove
from plif_export.core.readers import read_model
from plif_export.core.readers.facts import TrainedModel
from plif_export.core.writers import FORMS
from plif_export.precisions.rounded_weights.passes import Counts, find_spike_counts, quantize_array
from runtime.core.api import open_unverified
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import read_card
from runtime.core.model.graph import Graph, Node
from runtime.core.model.grids import GRIDS, Grid
from runtime.core.model.readers.onnx_wire import adapt_types
from tests.conftest import crossed
from tests.foreign import scale_to_threshold
from tests.networks import firing, frames, scaled
from tests.plif_export.core.test_export import VARIANTS

WAYS = (*((precision, "integer") for precision in ("fp16", *GRIDS)), ("int8", "qdq"))
REDUCED = ("fp16", *GRIDS)
FORM_NAMES = ("step", "unrolled")


def proved(
    source: TrainedModel, precision: str, dialect: str, form: str = "step", math: str = "folded", T: int = 4
) -> Report:
    """What an export to a target of that dialect would prove."""
    static, T = source.facts.kind == "static" and form == "unrolled", source.facts.T if source.has_card else T
    graph = run_passes(source.graph, math, static, precision)
    card = make_card(
        source.facts, graph, form=form, T=T, precision=precision, math=math, batch=None, source_sha256=None
    )
    proto = FORMS[form](graph, T, None, dialect)
    set_card(proto, card)
    return prove(proto, card, source)


def rounded(graph: Graph) -> set[str]:
    return {n.name for n in graph if n.op in ("Conv", "Linear") and n.params["weight"].dtype != np.float32}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("variant", "form", "way", "math"), crossed(VARIANTS, FORM_NAMES, WAYS, ("exact", "folded"), one_in=4)
)
def test_every_kind_of_neuron_passes_in_both_forms(
    variant: dict[str, Any], form: str, way: tuple[str, str], math: str
) -> None:
    report = proved(read_model(firing(**variant)), *way, form, math, T=5)
    assert report.passed, report.sentence()
    assert report.untested == [] and report.spikes > 1_000


@pytest.mark.one_in(4)
@pytest.mark.parametrize(("join", "form", "way"), crossed(("add", "and", "iand", "concat"), FORM_NAMES, WAYS, one_in=4))
def test_joins_groups_strides_and_pools_pass(join: str, form: str, way: tuple[str, str]) -> None:
    pytest.importorskip("spikingjelly")
    from tests.plif_export.readers.module.test_read_module import JOINS, Residual

    source = read_model(scale_to_threshold(Residual(*JOINS[join]), (2, 16, 8)), torch.zeros(1, 2, 16, 8))
    report = proved(source, *way, form)
    assert report.passed and report.untested == [] and report.spikes > 1_000, report.sentence()
    assert rounded(run_passes(source.graph, "exact", False, way[0])) == {"block_0", "after", "fc"}


class Sequences(nn.Module):
    """1-d convolutions, and average pooling by three, whose thirds no float32 holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv1d(2, 8, 5, padding=2), plif_train.core.network.neuron.Neuron("PLIF"), nn.AvgPool1d(3)
        )
        self.second = nn.Sequential(
            nn.Conv1d(8, 12, 3, stride=2, padding=2, dilation=2, groups=4), plif_train.core.network.neuron.Neuron("LIF")
        )
        self.third = nn.Sequential(nn.Conv1d(12, 6, 1), plif_train.core.network.neuron.Neuron("IF"))
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(6 * 5, 20), plif_train.core.network.neuron.Neuron("IF"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.third(self.second(self.first(x))))  # type: ignore[no-any-return]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("precision", "dialect"), WAYS)
def test_sequences_and_average_pools_of_odd_area_pass(precision: str, dialect: str) -> None:
    source = read_model(scale_to_threshold(Sequences(), (2, 30)), torch.zeros(1, 2, 30))
    graph = run_passes(source.graph, "folded", False, precision)
    assert len(rounded(graph)) == (2 if precision == "fp16" else 3)  # no float16 holds a third
    assert [n.attrs["area"] for n in graph if "area" in n.attrs] == ([] if precision == "fp16" else [3])
    for form in ("step", "unrolled"):
        report = proved(source, precision, dialect, form)
        assert report.passed and report.untested == [], report.sentence()


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("precision", "dialect"), WAYS)
def test_a_still_image_is_convolved_once_in_float32_and_its_spikes_in_low_precision(
    precision: str, dialect: str
) -> None:
    net = scaled(plif_train.build("cifar10", channels=4, hidden=40))
    for form in ("step", "unrolled"):
        report = proved(read_model(net), precision, dialect, form)
        assert report.passed and report.untested == [], report.sentence()
    assert "conv1" not in rounded(run_passes(read_model(net).graph, "folded", True, precision))


@pytest.mark.one_in(4)
@pytest.mark.parametrize(("library", "form", "way"), crossed(("snntorch", "norse"), FORM_NAMES, WAYS))
def test_neurons_of_other_libraries_pass(library: str, form: str, way: tuple[str, str]) -> None:
    if library == "snntorch":
        snn = pytest.importorskip("snntorch")
        net = nn.Sequential(
            nn.Conv2d(2, 8, 5), nn.AvgPool2d(2), snn.Leaky(beta=0.9, init_hidden=True), nn.Conv2d(8, 8, 3),
            nn.MaxPool2d(2), snn.Leaky(beta=0.8, threshold=0.7, init_hidden=True), nn.Flatten(), nn.Linear(32, 4),
            snn.Leaky(beta=0.9, init_hidden=True, output=True),
        )  # fmt: skip
    else:
        norse = pytest.importorskip("norse.torch")
        net = norse.SequentialState(
            nn.Conv2d(2, 8, 5), norse.LIFCell(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), norse.LIFBoxCell(), nn.Flatten(),
            nn.Linear(128, 4), norse.LIFCell(),
        )  # fmt: skip
    report = proved(read_model(scale_to_threshold(net, (2, 16, 16)), torch.zeros(1, 2, 16, 16)), *way, form)
    assert report.passed and report.untested == [], report.sentence()


def test_what_a_layer_reads_decides_its_precision() -> None:
    """Spikes are whole, also pooled, joined and counted; a layer after anything else stays in float32."""
    neuron = {"kind": "IF", "v_threshold": 1.0, "v_reset": 0.0, "decay_input": True, "charge": "exact"}

    def fires(name: str, source: str) -> Node:
        return Node(name, "Neuron", (source,), (4, 8, 8), {**neuron, "layer": name})

    pool = {"kernel": 2, "stride": 2}
    graph = Graph(
        (4, 8, 8),
        (
            fires("a", "x"),
            fires("b", "x"),
            Node("max", "MaxPool", ("a",), (4, 4, 4), pool),
            Node("mean", "AvgPool", ("a",), (4, 4, 4), pool),
            Node("mean_of_mean", "AvgPool", ("mean",), (4, 2, 2), pool),
            Node("global", "GlobalAvgPool", ("mean",), (4, 1, 1)),
            Node("sum", "Add", ("a", "b", "a"), (4, 8, 8)),
            Node("odd_sum", "Add", ("max", "mean"), (4, 4, 4)),
            Node("with_x", "Add", ("a", "x"), (4, 8, 8)),
            Node("both", "Concat", ("a", "sum"), (8, 8, 8), {"axis": 1}),
            Node("and", "Mul", ("a", "b"), (4, 8, 8)),
            Node("not", "Affine", ("a",), (4, 8, 8), {}, {"scale": np.float32(-1), "shift": np.float32(1)}),
            Node("half", "Affine", ("a",), (4, 8, 8), {}, {"scale": np.float32(0.5), "shift": np.float32(0)}),
            Node("flat", "Flatten", ("sum",), (256,)),
            Node("pool_of_sum", "AvgPool", ("both",), (8, 1, 1), {"kernel": 8, "stride": 8}),
        ),
        "flat",
    )
    assert find_spike_counts(graph) == {
        "a": Counts(), "b": Counts(), "max": Counts(), "mean": Counts(4, 4), "mean_of_mean": Counts(16, 16),
        "global": Counts(64, 64), "sum": Counts(3), "both": Counts(3), "and": Counts(), "not": Counts(), "flat": Counts(3),
    }  # fmt: skip


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_rounding_keeps_zeros_signs_and_the_largest_weight_and_refuses_what_is_no_number(grid: Grid) -> None:
    weight = np.random.default_rng(0).normal(size=(6, 5, 3, 3)).astype(np.float32)
    weight[2] = 0
    weight[3] = 1e-42  # subnormal
    weight[4, 0, 0, 0] = -40.0
    whole, scale = quantize_array(weight, "conv", grid)
    assert whole.dtype == np.int8 and scale.dtype == np.float32 and scale.shape == (6,)
    assert not whole[2:4].any() and (scale > 1e-30).all()
    plain = np.abs(weight[:2]).max(axis=(1, 2, 3), keepdims=True) / grid.max_level
    error = np.square(whole[:2] * scale[:2].reshape(-1, 1, 1, 1) - weight[:2]).sum()
    assert error <= np.square(np.rint(weight[:2] / plain) * plain - weight[:2]).sum()
    assert whole.min() >= -grid.max_level and np.array_equal(-whole, quantize_array(-weight, "conv", grid)[0])
    with pytest.raises(PlifError, match="layer conv: a weight is not a finite number"):
        quantize_array(np.array([[np.inf, 1.0]], np.float32), "conv", grid)


def test_weights_too_large_for_float16_are_refused(tmp_path: Path) -> None:
    net = firing()
    with torch.no_grad():
        net.get_submodule("fc1").weight[0, 0] = 1e6
    with pytest.raises(PlifError, match="layer fc1: a weight is beyond the range of fp16"):
        export(net, tmp_path / "m.onnx", precision="fp16")
    assert list(tmp_path.iterdir()) == []


# --- as users meet it -------------------------------------------------------------------------------------------------


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("option", "precision"),
    [("--half", "fp16"), ("--int8", "int8"), *((f"--precision={name}", name) for name in GRIDS)],
)
def test_the_command_line_writes_proves_evaluates_and_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, precision: str
) -> None:
    net = firing(
        shape=(2, 34, 34), classes=tuple("0123456789"), notation="c8k3s2-BN-PLIF-MPk2s2-FC40-PLIF-FC100-PLIF-APk10s10"
    )
    model = tmp_path / "model.pt"
    plif_train.save(net, model)
    assert run(["export", str(model), option, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert Path(result["path"]).name == f"model_{precision}.onnx"
    report = json.loads(Path(result["path"] + ".report.json").read_text())
    assert report["verify"] == result["verify"] and result["verify"]["precision"] == precision
    card = read_card(result["path"])
    assert card["precision"] == precision
    assert card["parity"]["decisions_changed"] == result["verify"]["decisions_changed"]
    flips = {layer["name"]: layer["free_running_mismatches"] for layer in result["verify"]["layers"]}
    assert card["parity"]["flips"] == flips and flips["conv1"] == 0
    assert run(["eval", result["path"], "--data", "digits:20", "--against", str(model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == 20 and 0 <= found["against"]["decisions_changed"] <= 20
    assert run(["verify", result["path"], "--against", str(model), "--data", "digits:2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions"] == 2


@pytest.mark.parametrize("precision", REDUCED)
def test_step_and_unrolled_agree_in_every_spike_and_rows_do_not_touch(tmp_path: Path, precision: str) -> None:
    net = firing()
    step = export(net, tmp_path / "s.onnx", precision=precision).path
    unrolled = export(net, tmp_path / "u.onnx", precision=precision, form="unrolled", T=4).path
    x = frames(net, np.random.default_rng(5), T=8, streams=3)
    together = runtime.load(step).session(3).run(x)
    np.testing.assert_array_equal(together, runtime.load(unrolled).session(3).run(x))
    for b in range(3):
        np.testing.assert_array_equal(runtime.load(step).session(1).run(x[:, b : b + 1]), together[:, b : b + 1])
    assert verify(step, net, x).passed


def test_int8_is_a_quarter_of_the_size_fp16_half_and_fewer_bits_half_of_int8(tmp_path: Path) -> None:
    net = scaled(plif_train.build("nmnist", channels=16, hidden=400))
    size = {p: export(net, tmp_path / f"{p}.onnx", precision=p, verify=False).bytes for p in ("fp32", *REDUCED)}
    assert size["int8"] < 0.3 * size["fp32"] and size["fp16"] < 0.55 * size["fp32"]
    assert size["int4"] < 0.55 * size["int8"] and size["ternary"] < 0.55 * size["int8"]


@pytest.mark.parametrize("precision", REDUCED)
def test_a_rounded_file_is_plain_onnx_and_the_same_bytes_each_time(tmp_path: Path, precision: str) -> None:
    net = firing()
    first, second = (export(net, tmp_path / f"{i}.onnx", precision=precision) for i in range(2))
    assert first.sha256 == second.sha256
    model = onnx.load(first.path)
    onnx.checker.check_model(model, full_check=True)
    kinds = {node.op_type for node in model.graph.node}
    assert ({"ConvInteger", "MatMulInteger"} <= kinds) == (precision != "fp16")


@pytest.mark.parametrize("precision", GRIDS)
@pytest.mark.parametrize("form", FORM_NAMES)
def test_counts_as_uint8_give_the_same_bits_for_runtimes_that_convolve_no_int8(
    tmp_path: Path, form: str, precision: str
) -> None:
    """Before 1.24 ONNX Runtime has a kernel for uint8 alone; `make jetson` and `make oldest` run it."""
    fp32, int8 = (
        export(firing(), tmp_path / "m.onnx", precision=p, form=form, verify=False).path.read_bytes()
        for p in ("fp32", precision)
    )
    unsigned = adapt_types(int8, "1.23.2")
    assert adapt_types(fp32, "1.23.2") == fp32 and adapt_types(int8, "1.24.0") == int8
    graph = onnx.load_model_from_string(unsigned).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {node.output[0]: node.attribute[0].i for node in graph.node if node.op_type == "Cast"}
    read = [name for node in graph.node if node.op_type == "ConvInteger" for name in (node.input[0], node.input[2])]
    assert read and {types[name] for name in read} == {TensorProto.UINT8}
    rng, here = np.random.default_rng(6), adapt_types(int8, ort.__version__)
    sessions = [ort.InferenceSession(model) for model in (unsigned, here)]
    shapes = {one.name: [2 if isinstance(n, str) else n for n in one.shape] for one in sessions[0].get_inputs()}
    feed = {name: rng.poisson(0.7, shape).astype(np.float32) for name, shape in shapes.items()}
    for found, expected in zip(*(session.run(None, feed) for session in sessions), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weights_of_four_bits_name_the_onnx_runtime_that_they_need(tmp_path: Path) -> None:
    whole = {p: export(firing(), tmp_path / f"{p}.onnx", precision=p, verify=False).path.read_bytes() for p in GRIDS}
    assert adapt_types(whole["int8"], "1.22.0")
    for precision in ("int4", "ternary"):
        with pytest.raises(
            PlifError, match=r"ONNX Runtime 1\.23 or later, and this is 1\.22\.0: update it, use --engine event"
        ):
            adapt_types(whole[precision], "1.22.0")


def test_what_an_onnx_runtime_has_no_kernel_for_is_not_to_be_exported_again(tmp_path: Path) -> None:
    """A bfloat16 rounded down, which ONNX allows and ONNX Runtime does not have."""
    path = export(firing(), tmp_path / "m.onnx", verify=False).path
    model = onnx.load(path)
    (made,) = (node for node in model.graph.node if node.output[0] == "y")
    made.output[0] = "y.float"
    for op, inputs, output, attributes in (
        ("Cast", ["y.float"], "y.bfloat16", {"to": TensorProto.BFLOAT16}),
        ("Floor", ["y.bfloat16"], "y.less", {}),
        ("Cast", ["y.less"], "y", {"to": TensorProto.FLOAT}),
    ):
        model.graph.node.append(onnx.helper.make_node(op, inputs, [output], **attributes))
    onnx.save(model, path)
    with pytest.raises(PlifError, match="NOT_IMPLEMENTED") as raised:
        open_unverified(path, read_card(path), "onnxruntime", EngineOptions())
    said = str(raised.value)
    assert f"ONNX Runtime {ort.__version__} has no kernel" in said and "--engine event" in said
    assert "export it again" not in said and "\n" not in said
