"""The event engine computes what the graph says: every layer, any shape, on every CPU path, for any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import runtime
from plif_export import export
from plif_export.core.cards import make_card, set_card
from plif_export.core.passes import run_passes
from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.arrays import NumpyBackend
from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.proof.compare import MEMBRANE
from plif_export.core.readers.ours import read_network
from plif_export.core.writers import FORMS
from plif_train.core.network.network import Network
from runtime import native
from runtime.core.api import Model
from runtime.core.model.graph import Graph, Node
from runtime.engines.event.engine import EventEngine
from runtime.engines.event_program import builder as event_builder
from tests.networks import firing, frames
from tests.plif_export.core.test_passes import VARIANTS

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]

PATHS = native.cpu_paths() if native.is_built() else ()
SHAPES: list[tuple[str, tuple[int, int, int]]] = [
    ("c3k3s1-PLIF-FC30-PLIF-APk10s10", (1, 7, 9)),
    ("c17k5s2-BN-PLIF-c40k3s2-PLIF-FC30-PLIF-APk10s10", (2, 18, 11)),
    ("c20k2s2-PLIF-c65k4s1-BN-PLIF-FC30-PLIF-APk10s10", (3, 12, 13)),
    ("c80k1s1-PLIF-c130k3s3-PLIF-MPk3s2-c16k3s1-PLIF-FC3-PLIF", (2, 17, 17)),
    ("c12k3s1-PLIF-MPk3s1-c12k7s3-PLIF-FC200-PLIF-FC3", (2, 15, 20)),
    ("BN-c8k3s1-BN-IF-APk3s2-c70k3s1-LIF-APk2s2-FC150-PLIF-FC30-PLIF-APk10s10", (2, 16, 16)),
    ("MPk2s2-c8k3s1-PLIF-FC30-PLIF-APk10s10", (2, 16, 16)),
    ("FC40-PLIF-FC30-PLIF-APk10s10", (2, 6, 5)),
    ("BN-PLIF-c8k3s1-BN-APk2s2-PLIF-FC30-PLIF-APk10s10", (2, 16, 16)),
]


def written(net: Network, path: Path, change: Callable[[Graph], Graph] = lambda g: g, math: str = "folded") -> Graph:
    """Writes a network whose graph was changed; returns the graph as written."""
    graph = run_passes(change(read_network(net)), math, static=False)
    card = make_card(net, graph, form="step", T=net.T, precision="fp32", math=math, batch=None, source_sha256=None)
    card["classes"] = [str(k) for k in range(graph[graph.output].shape[0])]
    proto = FORMS["step"](graph, net.T, None)
    set_card(proto, card)
    onnx.save(proto, path)
    return graph


def gate(graph: Graph, path: Path, x: np.ndarray, threads: int = 1) -> tuple[int, int]:
    """Teacher-forced: each step from the interpreter's state, which starts anywhere below the threshold.

    A layer after an excused flip saw other spikes, so it is not looked at in that step. Returns (spikes, excused flips).
    """
    session = runtime.load(path, "event", threads=threads).session(streams=x.shape[1])
    rng = np.random.default_rng(0)
    state = {
        n: v + rng.uniform(-0.5, 0.4, v.shape).astype(np.float32)
        for n, v in interpret.initial_state(graph, x.shape[1]).items()
    }
    spikes, excused, measured = 0, 0, Bounds(graph)
    for x_t in x:
        session.restore([state[s["layer"]] for s in session.model.card["states"]])
        y = session.step(x_t)
        before = state
        expected, state, layers = interpret.step(graph, x_t, state)
        bounds = measured.step(x_t, {layer: fired.s for layer, fired in layers.items()})
        flipped = False
        for node in graph.neurons:
            fired, found = layers[node.layer], session.state[f"v.{node.layer}"]
            spikes += int(fired.s.sum())
            bound = bounds.neuron_bound(node.layer, {"v": before[node.layer]})
            off = np.abs(found - fired.v) > MEMBRANE * bound.after["v"]
            edge = off & (np.abs(fired.h - np.float32(node.attrs["v_threshold"])) < bound.h)
            assert not np.any(off & ~edge), f"{node.layer}: {np.abs(found - fired.v).max()}"
            excused += int(edge.sum())
            if flipped := bool(edge.any()):
                break
        if not flipped:
            np.testing.assert_allclose(y, expected, atol=1e-4)
    return spikes, excused


@pytest.mark.parametrize("math", ("exact", "folded"))
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_kind_of_neuron_passes_the_gate(variant: dict[str, Any], math: str, tmp_path: Path) -> None:
    net = firing(**variant)
    graph = written(net, tmp_path / "a.onnx", math=math)
    spikes, excused = gate(graph, tmp_path / "a.onnx", frames(net, np.random.default_rng(1), T=8, streams=3))
    assert spikes > 500
    assert excused <= 2


@pytest.mark.parametrize(("notation", "shape"), SHAPES)
def test_every_kernel_stride_pool_and_channel_count_passes_the_gate(
    notation: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    net = firing(notation, shape=shape)
    for math in ("exact", "folded"):
        graph = written(net, tmp_path / "a.onnx", math=math)
        spikes, excused = gate(graph, tmp_path / "a.onnx", frames(net, np.random.default_rng(2), T=6), threads=2)
        assert spikes > 50
        assert excused <= 2


@pytest.mark.parametrize("groups", (2, 8))
def test_grouped_and_depthwise_convolutions_pass_the_gate(groups: int, tmp_path: Path) -> None:
    def grouped(graph: Graph) -> Graph:
        conv = graph["conv2"]
        weight = np.ascontiguousarray(conv.params["weight"][:, : 8 // groups] * np.float32(groups**0.5))
        return graph.replace_nodes(
            {"conv2": conv.with_(attrs={**conv.attrs, "groups": groups}, params={**conv.params, "weight": weight})}
        )

    net = firing()
    graph = written(net, tmp_path / "a.onnx", grouped)
    spikes, _ = gate(graph, tmp_path / "a.onnx", frames(net, np.random.default_rng(3)))
    assert spikes > 500


def test_a_hard_reset_of_any_value_and_an_input_that_is_not_whole_pass_the_gate(tmp_path: Path) -> None:
    net = firing(v_reset=0.375)
    graph = written(net, tmp_path / "a.onnx", math="exact")
    x = frames(net, np.random.default_rng(4)) * np.float32(0.731) - np.float32(0.1)
    assert (x != 0).all()
    spikes, _ = gate(graph, tmp_path / "a.onnx", x)
    assert spikes > 500


def test_a_static_image_network_answers_as_onnx_runtime(tmp_path: Path) -> None:
    meta: dict[str, Any] = {"kind": "static", "framing": None, "normalisation": {"mean": [0.3], "std": [0.4]}}
    net = firing(shape=(1, 14, 14), **meta)
    export(net, tmp_path / "a.onnx", verify=False)
    export(net, tmp_path / "u.onnx", form="unrolled", verify=False)
    x = frames(net, np.random.default_rng(5), streams=4)[0]
    expected = runtime.load(tmp_path / "a.onnx", "onnxruntime", threads=1).session(4).run(x)
    assert expected.sum() > 1
    for name in ("a", "u"):
        np.testing.assert_array_equal(runtime.load(tmp_path / f"{name}.onnx", "event").session(4).run(x), expected)


@pytest.fixture(scope="module")
def net() -> Network:
    return firing("c24k3s1-BN-PLIF-MPk2s2-c80k3s1-BN-PLIF-MPk2s2-FC70-PLIF-FC30-PLIF-APk10s10")


@pytest.fixture(scope="module")
def files(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("event")
    export(net, folder / "step.onnx", verify=False)
    export(net, folder / "unrolled.onnx", form="unrolled", verify=False)
    export(net, folder / "three.onnx", batch=3, verify=False)
    return folder


@pytest.fixture(scope="module")
def x(net: Network) -> np.ndarray:
    return frames(net, np.random.default_rng(6), T=20, streams=7)


def outcome(model: Model, x: np.ndarray) -> list[np.ndarray]:
    session = model.session(streams=x.shape[1])
    return [session.run(x), *session.snapshot()]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_spike_is_that_of_onnx_runtime(files: Path, x: np.ndarray) -> None:
    event = runtime.load(files / "step.onnx", "event", rates=True).session(7)
    peer = runtime.load(files / "step.onnx", "onnxruntime", threads=1, rates=True).session(7)
    fired = {state["layer"]: 0.0 for state in event.model.card["states"]}
    for x_t in x:
        np.testing.assert_array_equal(event.step(x_t), peer.step(x_t))
        assert event.last_rates.keys() == peer.last_rates.keys()
        for layer, rates in event.last_rates.items():
            fired[layer] += rates.mean()
            np.testing.assert_allclose(rates, peer.last_rates[layer], rtol=1e-6)
    assert min(fired.values()) > 0.1
    for name, v in peer.state.items():
        np.testing.assert_allclose(event.state[name], v, atol=1e-5)
        np.testing.assert_array_equal(event.state[name] == 0, v == 0)


@pytest.mark.parametrize("path", PATHS)
def test_every_cpu_path_gives_the_same_bits(
    path: str, files: Path, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    fastest = outcome(runtime.load(files / "step.onnx", "event", threads=1), x)
    monkeypatch.setenv(native.PATH_VARIABLE, path)
    model = runtime.load(files / "step.onnx", "event", threads=1)
    assert isinstance(model.engine, EventEngine) and model.engine.path == path
    same(outcome(model, x), fastest)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("notation", "shape"), SHAPES[:5])
def test_the_sparse_and_the_dense_kernels_give_the_same_bits(
    path: str, notation: str, shape: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(native.PATH_VARIABLE, path)
    net = firing(notation, shape=shape)
    written(net, tmp_path / "a.onnx")
    x = frames(net, np.random.default_rng(9), T=5)
    found = []
    for dense_from in (2.0, 0.0, 0.1):  # never, always, some rows
        monkeypatch.setitem(event_builder.DENSE_FROM, path, dense_from)
        found.append(outcome(runtime.load(tmp_path / "a.onnx", "event", threads=1), x))
    same(found[0], found[1])
    same(found[0], found[2])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("variant", VARIANTS[1:6], ids=str)
def test_every_cpu_path_passes_the_gate(
    path: str, variant: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(native.PATH_VARIABLE, path)
    net = firing(**variant)
    graph = written(net, tmp_path / "a.onnx", math="exact")
    spikes, _ = gate(graph, tmp_path / "a.onnx", frames(net, np.random.default_rng(7), T=4))
    assert spikes > 200


def test_any_number_of_threads_gives_the_same_bits(files: Path, x: np.ndarray) -> None:
    """One stream: threads share the tiles of a layer. More streams than threads: each thread takes whole streams."""
    for rows in (1, 2, 7):
        one = outcome(runtime.load(files / "step.onnx", "event", threads=1), x[:, :rows])
        for threads in (2, 3, 8):
            same(outcome(runtime.load(files / "step.onnx", "event", threads=threads), x[:, :rows]), one)


def test_streams_answer_as_they_do_alone_and_rows_touch_no_other(files: Path, x: np.ndarray) -> None:
    model = runtime.load(files / "step.onnx", "event", threads=2)
    together = outcome(model, x)
    for i in range(7):
        alone = outcome(model, x[:, i : i + 1])
        same([together[0][:, i : i + 1], *(v[i : i + 1] for v in together[1:])], alone)
    session = model.session(7)
    for t in range(20):
        for rows in ([5, 0], [1, 2, 3, 4], [6]):
            np.testing.assert_array_equal(session.step(x[t, rows], rows), together[0][t, rows])
    same(session.snapshot(), together[1:])


def test_reset_snapshot_and_restore_are_seen_by_the_next_step(files: Path, x: np.ndarray) -> None:
    session = runtime.load(files / "step.onnx", "event").session(7)
    first = session.run(x[:5])
    saved = session.snapshot()
    assert all(v.flags.c_contiguous for v in saved)
    after = session.run(x[5:9])
    session.restore(saved)
    np.testing.assert_array_equal(session.run(x[5:9]), after)
    session.reset()
    np.testing.assert_array_equal(session.run(x[:5]), first)
    session.reset(rows=[3])
    fresh = runtime.load(files / "step.onnx", "event").session()
    np.testing.assert_array_equal(session.step(x[0])[3:4], fresh.step(x[0, 3:4]))
    assert [v.shape for v in session.state.values()] == [(7, *s["shape"]) for s in session.model.card["states"]]


def test_buffers_of_any_caller_can_be_bound_both_ways(files: Path, x: np.ndarray) -> None:
    """The protocol as every engine has it: plain [rows, C, H, W] arrays, v is read and v_next is written."""
    model = runtime.load(files / "step.onnx", "event")
    expected = outcome(model, x)
    states = model.card["states"]
    v = [[np.zeros((7, *s["shape"]), np.float32) for s in states] for _ in range(2)]
    x_in, y = np.zeros_like(x[0]), np.zeros((7, 3), np.float32)
    runs = [model.engine.bind(x_in, v[0], y, v[1]), model.engine.bind(x_in, v[1], y, v[0])]
    for t in range(20):
        x_in[...] = x[t]
        before = [a.copy() for a in v[t % 2]]
        runs[t % 2]()
        same(v[t % 2], before)
        np.testing.assert_array_equal(y, expected[0][t])
    same(v[0], expected[1:])


def test_membranes_of_its_own_layout_can_be_read_here_and_written_there(files: Path, x: np.ndarray) -> None:
    model = runtime.load(files / "unrolled.onnx", "event")
    engine = model.engine
    assert isinstance(engine, EventEngine)
    v, v_next = engine.membranes(7)[0], engine.membranes(7)[0]
    y = np.zeros((5, 7, 3), np.float32)
    for state in v:
        state[...] = 0.25
    engine.bind(np.ascontiguousarray(x[:5]), v, y, v_next)()
    assert all((state == 0.25).all() for state in v)
    session = model.session(7)
    session.restore(v)
    np.testing.assert_array_equal(session.run(x[:5]), y)
    same(session.snapshot(), v_next)


def test_the_unrolled_form_and_a_fixed_batch_answer_as_the_step_form(files: Path, x: np.ndarray) -> None:
    expected = outcome(runtime.load(files / "step.onnx", "event"), x)
    rated = runtime.load(files / "step.onnx", "event", rates=True).session(7)
    unrolled = runtime.load(files / "unrolled.onnx", "event", threads=2, rates=True)
    same(outcome(unrolled, x), expected)
    session = unrolled.session(7)
    session.run(x[:5])
    for t in range(5):
        rated.step(x[t])
        for layer, rates in session.last_rates.items():
            np.testing.assert_array_equal(rates.reshape(5, 7)[t], rated.last_rates[layer])
    three = runtime.load(files / "three.onnx", "event").session(3)
    np.testing.assert_array_equal(three.run(x[:, :3]), expected[0][:, :3])


def test_a_residual_sum_is_added_up(tmp_path: Path) -> None:
    """No writer makes one yet; the engine reads the graph of a card, so a card by hand is enough."""
    rng = np.random.default_rng(8)
    weight = {f"conv{i}.weight": rng.normal(0, 0.4, (6, c, 3, 3)).astype(np.float32) for i, c in ((1, 2), (2, 6))}
    fc = rng.normal(0, 0.3, (3, 6 * 25)).astype(np.float32)
    card, net = (
        _card(tmp_path),
        {"conv1.weight": weight["conv1.weight"], "conv2.weight": weight["conv2.weight"], "fc1.weight": fc},
    )
    _save(tmp_path / "r.onnx", card, net)
    x = rng.poisson(0.4, (1, 1, 2, 5, 5)).astype(np.float32)
    session = runtime.load(tmp_path / "r.onnx", "event").session()
    y = session.step(x[0])
    conv = {"stride": 1, "padding": 1, "groups": 1}
    first, second = (Node("a", "Conv", ("x",), (6, 5, 5), conv, {"weight": weight[f"conv{i}.weight"]}) for i in (1, 2))
    m = NumpyBackend(np.float32)
    s1 = (interpret.apply_node(m, first, x[0]) >= 1).astype(np.float32)
    s2 = (interpret.apply_node(m, second, s1) + s1 >= 1).astype(np.float32)
    assert 0 < s1.mean() < 1 and 0 < s2.mean() < 1
    np.testing.assert_allclose(y, s2.reshape(1, -1) @ fc.T, atol=1e-5)


def _card(folder: Path) -> dict[str, Any]:
    export(firing("c6k3s1-IF-FC3", shape=(2, 5, 5)), folder / "a.onnx", verify=False)
    card = runtime.load(folder / "a.onnx", "event").card
    conv1, neuron1, flatten, fc1 = card["graph"]["nodes"]
    conv2 = {**conv1, "name": "conv2", "inputs": [neuron1["name"]], "params": {"weight": "conv2.weight"}}
    total = {
        "name": "sum",
        "op": "Add",
        "inputs": ["conv2", neuron1["name"]],
        "shape": [6, 5, 5],
        "attrs": {},
        "params": {},
    }
    neuron2 = {**neuron1, "name": "n2", "inputs": ["sum"], "attrs": {**neuron1["attrs"], "layer": "conv2"}}
    card["states"].append(
        {**card["states"][0], "name": "v.conv2", "input": "v.conv2", "output": "v.conv2.next", "layer": "conv2"}
    )
    card["graph"]["nodes"] = [conv1, neuron1, conv2, total, neuron2, {**flatten, "inputs": ["n2"]}, fc1]
    return card


def _save(path: Path, card: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    proto = onnx.helper.make_model(
        onnx.helper.make_graph([], "by_hand", [], [], [onnx.numpy_helper.from_array(w, n) for n, w in weights.items()])
    )
    set_card(proto, card)
    onnx.save(proto, path)


def test_a_small_network_takes_one_thread_unless_told_otherwise(tmp_path: Path) -> None:
    path = export(firing(), tmp_path / "m.onnx", verify=False).path
    for asked, used in ((None, 1), (2, 2)):
        engine = runtime.load(path, "event", threads=asked).engine
        assert isinstance(engine, EventEngine) and engine.threads == used
