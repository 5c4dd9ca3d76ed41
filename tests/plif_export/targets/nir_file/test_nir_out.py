"""--to nir: other libraries read what is written and give the same spikes; what NIR cannot say is refused, with a way out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import runtime
from plif_export import check, check_file, export, verify
from plif_export.core.targets import find_target
from plif_export.readers.nir_file.reader import read_nir_graph
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import read_card
from runtime.core.model.graph import Graph, Node
from tests.conftest import crossed
from tests.foreign import Residual, scale_to_threshold
from tests.networks import firing, frames

nir = pytest.importorskip("nir")
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.usefixtures("warm_child")]

POOLED = "{c8k3s1-BN-PLIF-APk2s2}*2-DP-FC40-PLIF-DP-FC30-PLIF"
STRIDED = "{c8k3s2-BN-PLIF}*2-DP-FC40-PLIF-DP-FC30-PLIF"
VOTING = f"{POOLED}-APk10s10"
THIRTY = {"classes": tuple(map(str, range(30)))}
STEPS = 50


NEURONS: list[tuple[str, dict[str, Any]]] = [
    ("exact", {}),
    ("folded", {}),
    ("exact", {"tau": "channel", "v_reset": -0.25}),
    ("exact", {"decay_input": False}),
    ("folded", {"decay_input": False, "tau": "channel"}),
    ("exact", {"v_threshold": 0.5, "v_reset": 0.125}),
]


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("neuron", "dt"), crossed(NEURONS, ("1e-4", "1")))
def test_what_is_read_back_does_what_the_model_does(
    tmp_path: Path, neuron: tuple[str, dict[str, Any]], dt: str
) -> None:
    math, options = neuron
    net = firing(VOTING, **options)
    result = export(net, tmp_path / "m.nir", to="nir", math=math, options={"votes": "fold", "dt": dt})
    assert result.passed and result.verify is not None and result.verify.engine == "nir"
    report = verify(result.path, net)
    assert report.passed and report.untested == [] and report.engine_steps == 2 * report.steps and report.rows == 33
    assert report.spikes > 5000 and report.spike_mismatches == report.excused


def test_the_mapping_of_neurons_is_the_one_that_is_stated(tmp_path: Path) -> None:
    """tau = dt / alpha; R = 1 with decay_input, 1 / alpha without it and with folded math; v_leak = v_reset."""
    for options, math, leak in (
        ({"v_reset": -0.25}, "exact", -0.25),
        ({"decay_input": False}, "exact", 0.0),
        ({}, "folded", 0.0),
    ):
        net = firing(STRIDED, **THIRTY, **options)
        path = export(net, tmp_path / "m.nir", to="nir", math=math, options={"dt": "1e-3"}).path
        neuron = nir.read(path).nodes["conv1_neuron"]
        alpha = float(net.neurons()["conv1"].alpha())
        assert neuron.tau.shape == (8, 8, 8) and neuron.tau.dtype == np.float64
        np.testing.assert_allclose(neuron.tau, 1e-3 / alpha, rtol=1e-6)
        factor = 1.0 if math == "exact" and options.get("decay_input", True) else 1 / alpha
        np.testing.assert_allclose(neuron.r, factor, rtol=1e-6)
        assert set(neuron.v_leak.ravel()) == {leak} == set(neuron.v_reset.ravel())
        graph, _ = read_nir_graph(path)
        assert graph is not None and np.all(graph.neurons[0].params["k"] == np.float32(alpha))  # to the last bit


def test_a_membrane_on_the_threshold_fires_in_both_ways_of_writing_it(tmp_path: Path) -> None:
    """Ours is v >= 1, NIR's v > v_threshold."""
    spikingjelly = pytest.importorskip("spikingjelly.activation_based.neuron")
    net = nn.Sequential(nn.Linear(2, 3, bias=False), spikingjelly.IFNode()).eval()
    with torch.no_grad():
        net[0].weight.fill_(0.5)  # type: ignore[operator, union-attr]
    before = np.nextafter(np.float32(1), np.float32(0))
    for fire, written in (("gt", before), ("ge", np.float32(1))):
        path = export(net, tmp_path / f"{fire}.nir", torch.zeros(1, 2), to="nir", options={"fire": fire}).path
        neuron = nir.read(path).nodes["1"]
        assert set(neuron.v_threshold.ravel()) == {written}
        onnx = export(path, tmp_path / f"{fire}.onnx").path  # its card says how it is to be read
        session = runtime.load(onnx).session()
        ones = np.ones((1, 2), np.float32)
        assert [session.step(x).sum() for x in (ones, 0.5 * ones, 0.5 * ones)] == [3, 0, 3]


def spikes_of(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """A library's module step by step, batch 1: [T, 1, n]. Some keep their state, some take it and give it back."""
    out, state = [], None
    with torch.no_grad():
        for x_t in x:
            given = torch.from_numpy(x_t)
            y = module(given) if state is None else module(given, state)
            if isinstance(y, tuple):
                y, state = y
            out.append(y.numpy().reshape(1, -1))
    return np.stack(out)


def by_snntorch(path: Path) -> nn.Module:
    pytest.importorskip("snntorch")
    from snntorch.import_nir import import_from_nir

    return import_from_nir(nir.read(path))  # type: ignore[no-any-return]


def by_norse(path: Path) -> nn.Module:
    norse = pytest.importorskip("norse.torch")
    return norse.from_nir(nir.read(path), dt=1e-3)  # type: ignore[no-any-return]


def by_spikingjelly(path: Path) -> nn.Module:
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    return exchange.import_from_nir(nir.read(path), dt=1e-4)  # type: ignore[no-any-return]


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("reader", "notation", "math", "options"),
    [
        (by_snntorch, POOLED, "folded", {}),
        (by_snntorch, POOLED, "exact", {}),
        (by_spikingjelly, POOLED, "exact", {"fire": "ge"}),
        (by_spikingjelly, POOLED, "folded", {"fire": "ge"}),
        (by_norse, STRIDED, "exact", {"dt": "1e-3"}),  # it reads no average pooling, and takes R for 1
    ],
)
def test_other_libraries_read_it_and_give_the_same_spikes(
    tmp_path: Path, reader: Callable[[Path], nn.Module], notation: str, math: str, options: dict[str, str]
) -> None:
    net = firing(notation, **THIRTY)
    x = frames(net, np.random.default_rng(3), T=STEPS, streams=1)
    expected = runtime.load(export(net, tmp_path / "m.onnx").path).session().run(x)
    assert 0.02 < expected.mean() < 0.5
    path = export(net, tmp_path / "m.nir", to="nir", math=math, options=options).path
    found = spikes_of(reader(path).eval(), x)
    assert np.mean(found != expected) == 0


def test_a_residual_addition_is_two_edges(tmp_path: Path) -> None:
    pytest.importorskip("spikingjelly.activation_based.neuron")
    net = scale_to_threshold(Residual(), (2, 8, 8), gain=1.5)
    result = export(net, tmp_path / "m.nir", torch.zeros(1, 2, 8, 8), to="nir")
    assert result.passed and verify(result.path, net).passed
    edges = nir.read(result.path).edges
    flat = next(b for a, b in edges if a == "lif2")
    assert ("lif1", flat) in edges


def test_nir_goes_in_and_out_again(tmp_path: Path) -> None:
    """Its own kinds of neurons, a CubaLIF among them, with the same numbers."""
    full = np.ones(5)
    weight = np.random.default_rng(0).normal(0, 0.6, (5, 6))
    nodes = {
        "input": nir.Input(input_type={"input": np.array([6])}),
        "fc": nir.Linear(weight),
        "cuba": nir.CubaLIF(3e-4 * full, 2e-4 * full, 1.2 * full, 0 * full, 0.5 * full, 0.1 * full, 2.0 * full),
        "fc2": nir.Affine(weight[:, :5], 0.1 * full),
        "lif": nir.LIF(np.linspace(2e-4, 9e-4, 5), 1.5 * full, 0.1 * full, 0.8 * full, -0.2 * full),
        "output": nir.Output(output_type={"output": np.array([5])}),
    }
    chain = list(nodes)
    nir.write(tmp_path / "a.nir", nir.NIRGraph(nodes, list(pairwise(chain))))
    result = export(tmp_path / "a.nir", tmp_path / "b.nir", to="nir")
    assert result.passed and verify(result.path, tmp_path / "a.nir").passed
    again = nir.read(result.path).nodes
    for name in ("tau_syn", "tau_mem", "w_in", "r", "v_leak", "v_threshold"):
        np.testing.assert_allclose(getattr(again["cuba_neuron"], name), getattr(nodes["cuba"], name), rtol=1e-6)
    np.testing.assert_allclose(again["lif_neuron"].tau, nodes["lif"].tau, rtol=1e-6)


def test_a_file_with_a_card_says_itself_how_it_is_read(tmp_path: Path) -> None:
    net = firing(VOTING)
    path = export(net, tmp_path / "m.nir", to="nir", options={"votes": "fold", "dt": "1e-3", "fire": "ge"}).path
    result = export(path, tmp_path / "again.onnx")
    card = read_card(result.path)
    assert result.passed and (card["classes"], card["framing"], card["T"]) == (["a", "b", "c"], "count:T=5", 5)
    assert "dt=0.001 s is what its card says" in result.notes[0]
    assert result.verify is not None and result.verify.not_proved == []
    x = frames(net, np.random.default_rng(3), T=10, streams=1)
    expected = runtime.load(export(net, tmp_path / "m.onnx").path).session().run(x)
    np.testing.assert_allclose(runtime.load(result.path).session().run(x), expected, atol=1e-6)
    assert export(net, tmp_path / "n.nir", to="nir", options={"votes": "fold"}).sha256 != result.sha256
    with pytest.raises(PlifError, match="no engine runs it here; NIR is for other tools"):
        runtime.load(path)


# --- what must fail ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "change"),
    [
        ("conv2", lambda nodes: setattr(nodes["conv2_neuron"], "tau", nodes["conv2_neuron"].tau * 1.02)),
        ("fc1", lambda nodes: setattr(nodes["fc1_neuron"], "v_reset", nodes["fc1_neuron"].v_reset + 0.25)),
        ("conv1", lambda nodes: setattr(nodes["conv1_neuron"], "v_leak", nodes["conv1_neuron"].v_leak + 0.25)),
        ("fc2", lambda nodes: setattr(nodes["fc2_neuron"], "r", nodes["fc2_neuron"].r * 1.01)),
        ("fc2", lambda nodes: setattr(nodes["fc2_neuron"], "v_threshold", nodes["fc2_neuron"].v_threshold * 1.001)),
        ("conv1", lambda nodes: nodes["conv1"].weight.__setitem__((3, 1, 0, 0), nodes["conv1"].weight[3, 1, 0, 0] + 0.02)),
        ("output", lambda nodes: nodes["vote"].weight.__setitem__((0, 10), 0.1)),
    ],
    ids=("tau", "reset", "start", "scale", "threshold", "weight", "vote"),
)  # fmt: skip
def test_a_file_that_says_something_else_is_caught_and_the_layer_named(
    tmp_path: Path, layer: str, change: Callable[[dict[str, Any]], None]
) -> None:
    net = firing(VOTING, v_reset=-0.25)
    path = export(net, tmp_path / "m.nir", to="nir", options={"votes": "fold"}, verify=False).path
    graph = nir.read(path)
    change(graph.nodes)
    nir.write(path, graph)
    report = verify(path, net)
    assert not report.passed and report.failed_at is not None
    assert report.failed_at["layer"] == layer and "engine nir" in report.failed_at["what"]


def test_two_layers_in_each_others_place_are_caught(tmp_path: Path) -> None:
    net = firing("{c8k3s1-BN-PLIF}*2-APk4s4-FC30-PLIF", **THIRTY)
    path = export(net, tmp_path / "m.nir", to="nir").path
    graph = nir.read(path)
    nodes = graph.nodes
    nodes["conv1_neuron"], nodes["conv2_neuron"] = nodes["conv2_neuron"], nodes["conv1_neuron"]
    nir.write(path, graph)
    report = verify(path, net)
    assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == "conv1"


@pytest.mark.parametrize(
    ("notation", "options", "settings", "message"),
    [
        ("c8k3s1-BN-PLIF-MPk2s2-FC30-PLIF", {}, {}, r"conv1_pool \(MaxPool\): NIR has no max-pooling; .*APk2s2"),
        (VOTING, {}, {}, r"vote \(Vote\): NIR has no vote; --set votes=fold"),
        (POOLED, {"v_reset": None}, {}, "NIR cannot subtract v_threshold at a reset; train with v_reset=0.0"),
        ("c8k3s1-BN-IF-FC30-IF", {"v_reset": -0.25}, {}, "NIR starts an IF neuron at 0"),
        (POOLED, {"v_reset": -0.25}, {"math": "folded"}, "use --math exact"),
        (POOLED, {}, {"form": "unrolled"}, "--form unrolled: --to nir writes step"),
        (POOLED, {}, {"precision": "int8"}, "--precision int8: --to nir writes fp32"),
        (POOLED, {}, {"batch": 2}, "--batch: NIR has no word for a batch"),
        (POOLED, {}, {"options": {"dt": "0"}}, "--set dt=0: expected seconds"),
        (POOLED, {}, {"options": {"fire": "maybe"}}, "--set fire=maybe: expected gt or ge"),
        (VOTING, {}, {"options": {"votes": "count"}}, "--set votes=count: expected refuse or fold"),
    ],
)
def test_what_nir_cannot_say_is_refused_with_what_to_do(
    tmp_path: Path, notation: str, options: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    net = firing(notation, **options, **({} if notation == VOTING else THIRTY))
    with pytest.raises(PlifError, match=message) as refused:
        export(net, tmp_path / "m.nir", to="nir", **settings)
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []


def test_values_side_by_side_multiplied_or_doubled_are_refused() -> None:
    neuron = Node("a", "Neuron", ("x",), (3,), {"kind": "IF", "layer": "l", "v_threshold": 1.0, "v_reset": 0.0,
                                                "decay_input": True, "charge": "exact"})  # fmt: skip
    target: Any = find_target("nir")
    for op, inputs, attrs, shape, made, rule in (
        ("Concat", ("x", "a"), {"axis": 1}, (3,), (6,), "side by side"),
        ("Mul", ("x", "a"), {}, (3,), (3,), "cannot multiply"),
        ("Add", ("a", "a"), {}, (3,), (3,), "adds a value to itself"),
        ("AvgPool", ("a",), {"kernel": 2, "stride": 2}, (3, 4), (3, 2), "pools maps"),
    ):
        graph = Graph(shape, (neuron.with_(shape=shape), Node("b", op, inputs, made, attrs)), "b")
        (problem,) = target.problems(graph, {})
        assert rule in problem.rule and problem.path == "b" and problem.advice
    leaky = neuron.with_(
        attrs={"kind": "Leaky", "layer": "l", "v_threshold": 1.0, "v_reset": 0.0, "reset": "zero", "reset_delay": True},
        params={"beta": np.array(0.9, np.float32)},
    )
    (problem,) = target.problems(Graph((3,), (leaky,), "a"), {})
    assert "kind Leaky" in problem.rule and "snntorch.export_nir" in problem.advice


def test_check_says_all_of_it_with_the_exporters_own_words(tmp_path: Path, capsys: Any) -> None:
    import plif_train

    plif_train.save(firing(), tmp_path / "m.pt")
    report = check_file(tmp_path / "m.pt", to="nir")
    assert not report.supported and [layer.path for layer in report.layers if not layer.supported] == [
        "conv1_pool",
        "conv2_pool",
        "vote",
    ]
    with pytest.raises(PlifError) as refused:
        export(tmp_path / "m.pt", to="nir")
    assert report.problems[0] in str(refused.value) and "2 more" in str(refused.value)
    assert check(firing(VOTING), to="nir", options={"votes": "fold"}).supported
    assert run(["check", str(tmp_path / "m.pt"), "--to", "nir", "--set", "votes=fold", "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2
    assert run(["check", str(tmp_path / "m.pt"), "--to", "nir", "--set", "vote=fold"]) == 2
    for to in ("openvino", "triton", "onnx"):
        assert check_file(tmp_path / "m.pt", to=to).supported
    report = check_file(tmp_path / "m.pt", to="triton", options={"backend": "caffe"})
    assert report.problems == ["--set backend=caffe: expected onnxruntime or tensorrt or python"]


def test_the_card_of_a_nir_file_is_read_without_torch(tmp_path: Path) -> None:
    path = export(firing(VOTING), tmp_path / "m.nir", to="nir", options={"votes": "fold"}).path
    code = (
        "import sys; from runtime.core.cli.main import run; code = run(['info', sys.argv[1], '--json']); "
        "assert not {'torch', 'onnx', 'onnxruntime', 'nir'} & set(sys.modules), set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    assert card["target"] == "nir" and card["nir"] == {"dt": 1e-4, "fire": "gt", "reset": "value"}
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], data[:8] + b"\x00" * 64, data[:512] + bytes(len(data) - 512)):
        path.write_bytes(damaged)
        with pytest.raises(PlifError) as error:
            read_card(path)
        assert "\n" not in str(error.value)
