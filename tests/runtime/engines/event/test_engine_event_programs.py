"""Neurons that are programs in the event engine: the bits of the golden model, for every equation and on every CPU path."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import runtime
from plif_export.core.passes import run_passes
from plif_export.core.proof.arithmetic import interpret
from runtime import native
from runtime.artifacts.plif_file.file import KEPT
from runtime.core.model.graph import Graph, Node, record_key
from runtime.neurons.traced_program.program import EXACT, OPS
from tests.fuzz.traced import random_program
from tests.libplif import Handle
from tests.plif_export.core.exact_networks import NEURONS, exact_network
from tests.plif_export.core.exact_networks import written as exact_file
from tests.programs import GRADED, LEAKY, linear, plif_file_of, recurrent, traced, written

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)

PATHS = native.cpu_paths() if native.is_built() else ()
HEADER = Path(native.__file__).parent / "engine" / "machine.h"


def counts(T: int, B: int, *shape: int, mean: float = 0.4) -> np.ndarray:
    return np.random.default_rng(1).poisson(mean, (T, B, *shape)).astype(np.float32)


def differences(graph: Graph, path: Path, x: np.ndarray, **options: Any) -> tuple[int, float]:
    """(numbers that differ from the golden model's in x [T, B, ...] from reset, all that the layers gave)."""
    session = runtime.load(path, "event", rates=True, **options).session(x.shape[1])
    state, differ, given = interpret.initial_state(graph, x.shape[1]), 0, 0.0
    for x_t in x:
        y = session.step(x_t)
        expected, state, layers = interpret.step(graph, x_t, state)
        differ += int((y != expected).sum())
        for record in session.model.card["states"]:
            found = session.state[record["name"]]
            differ += int((found != state[record_key(record)]).sum())
        assert session.rates == pytest.approx(
            {name: (fired.s != 0).mean() for name, fired in layers.items() if fired.values != "membrane"}
        )
        given += sum(float(np.abs(fired.s).sum()) for fired in layers.values())
    return differ, given


def test_the_lines_in_python_are_those_of_c() -> None:
    text = HEADER.read_text()
    computing, others = (re.findall(pattern, text, re.M) for pattern in (r"^    X\((\w+),", r"^    LINE_(\w+),"))
    assert (*others, *computing) == native.LINES
    sizes = re.findall(r"MACHINE_FLOATS = (\d+), MOST_LINES = (\d+), MOST_REGISTERS = (\d+)", text)
    assert [int(n) for n in sizes[0]] == [native.MACHINE_FLOATS, native.MOST_LINES, native.MOST_REGISTERS]


# --- kinds, parameters and maps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("neuron", NEURONS)
def test_every_kind_of_neuron_gives_the_bits_of_the_golden_model(
    neuron: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks of whole numbers, in which sums are exact and membranes stand on their thresholds."""
    monkeypatch.setenv(native.PATH_VARIABLE, path)
    source = exact_network(neuron)
    onnx.save(exact_file(source, "step", "exact")[0], tmp_path / "m.onnx")
    differ, given = differences(run_passes(source.graph, "exact", False), tmp_path / "m.onnx", counts(9, 3, 2, 6, 6))
    assert differ == 0 and given > 300


def around(neuron: Callable[[str, tuple[int, ...]], Node], shape: tuple[int, int, int]) -> Graph:
    """Two layers of these neurons, the first behind a convolution of whole weights, the second behind what is none."""
    channels, h, w = shape
    weight = np.random.default_rng(0).integers(-2, 3, (channels, 2, 3, 3)).astype(np.float32)
    nodes = (
        Node("first", "Conv", ("x",), shape, {"stride": 1, "padding": 1, "groups": 1}, {"weight": weight}),
        neuron("first", shape),
        Node("sum", "Add", ("first_neuron", "first_neuron"), shape),
        neuron("sum", shape).with_(name="sum_neuron", inputs=("sum",)),
        Node("flatten", "Flatten", ("sum_neuron",), (channels * h * w,)),
        linear("fc", "flatten", channels * h * w, 3),
    )
    return Graph((2, h, w), nodes, "fc")


def last_is_near(graph: Graph) -> Graph:
    """The same up to its last neurons, whose spikes are the output: a float sum has no order of its own."""
    flat = next(node for node in graph if node.op == "Flatten")
    return Graph(graph.input_shape, tuple(node for node in graph if node.name != "fc"), flat.name)


@pytest.mark.parametrize("shape", [(3, 4, 5), (64, 3, 6), (80, 5, 70), (130, 2, 9), (600, 1, 3)], ids=str)
@pytest.mark.parametrize("size", ["one number", "one a channel", "one a neuron"])
def test_parameters_may_be_one_number_one_a_channel_or_one_a_neuron(
    shape: tuple[int, int, int], size: str, tmp_path: Path
) -> None:
    """On maps whose channels fill registers, blocks and pieces of work, and on others that do not."""
    rng = np.random.default_rng(2)
    of = {"one number": (), "one a channel": shape[:1], "one a neuron": shape}[size]

    def neuron(layer: str, shape: tuple[int, ...]) -> Node:
        attrs = {"kind": "LIFCell", "layer": layer, "v_threshold": 1.0, "v_reset": 0.0, "v_leak": 0.125}
        params = {key: np.asarray(rng.uniform(0.2, 0.8, of), np.float32) for key in ("k", "k_syn")}
        return Node(f"{layer}_neuron", "Neuron", (layer,), shape, attrs, params)

    graph = last_is_near(around(neuron, shape))
    written(graph, tmp_path / "m.onnx")
    differ, given = differences(graph, tmp_path / "m.onnx", counts(4, 2, 2, *shape[1:]), threads=2)
    assert differ == 0 and given > 10


# --- programs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_give_the_bits_of_the_golden_model_on_every_path(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of exact operations, in every order and of any number of states, inputs and parameters."""
    rng = random.Random(seed)
    shape = rng.choice([(3, 4, 5), (70, 3, 4), (128, 2, 5)])
    program, params = random_program(rng, sorted(EXACT), inputs=2)
    values = {key: np.asarray(rng.choice((0.5, 0.25, -1.0)), np.float32) for key in params}
    weight = np.random.default_rng(seed).integers(-2, 3, (shape[0], 2, 3, 3)).astype(np.float32)
    place = {"stride": 1, "padding": 1, "groups": 1}
    nodes = (
        Node("conv", "Conv", ("x",), shape, place, {"weight": weight}),
        Node("other", "Conv", ("x",), shape, place, {"weight": weight[::-1].copy()}),
        traced("n", ("conv", "other"), shape, program, 0.5, **values),
        Node("flatten", "Flatten", ("n_neuron",), (int(np.prod(shape)),)),
    )
    graph = Graph((2, *shape[1:]), nodes, "flatten")
    written(graph, tmp_path / "m.onnx")
    for path in PATHS:
        monkeypatch.setenv(native.PATH_VARIABLE, path)
        differ, _ = differences(graph, tmp_path / "m.onnx", counts(5, 2, 2, *shape[1:]))
        assert differ == 0, (path, program["program"])


def one_operation(op: str) -> tuple[Graph, np.ndarray]:
    """A neuron that gives op(v, x, 0.75), and x and v [2, 3000] of all sizes, with halves, zeros, and in v, which no step
    refuses, infinities and NaN."""
    rng = np.random.default_rng(0)
    x, v = (rng.normal(0, 1, 3000) * 10 ** rng.uniform(-3, 1, 3000) for _ in range(2))
    x[:900], v[:600] = np.round(x[:900] * 4) / 4, np.round(v[:600] * 4) / 4
    x[900:905], v[600:605] = (0.0, -0.0, 3e38, -3e38, 1e-44), (0.0, -0.0, np.inf, -np.inf, np.nan)
    v[1000:1010] = x[905:915] = 88.7, 88.8, -87.3, 1e-30, 1e30, 8388607.5, -8388609.0, 0.5, 1.5, -2.5
    wanted, gives = OPS[op]
    names = ["p", "q"] if wanted[0] == "a truth value" else ["v", "x", 0.75]
    operands = ["p", "x", "v"] if op == "Where" else ["v", -0.5, 0.75] if op == "Clip" else names[: len(wanted)]
    lines = [["p", "Greater", "x", "v"], ["q", "Less", "v", 0.5], ["made", op, *operands]]
    result = "made"
    if gives == "a truth value":
        lines.append(["result", "Cast", "made"])
        result = "result"
    attrs = {"states": {"v": 0.0}, "program": lines, "h": result, "s": result, "next": {"v": "v"}, "graded": True}
    return Graph((3000,), (traced("n", ("x",), (3000,), attrs),), "n_neuron"), np.stack([x, v]).astype(np.float32)


@pytest.mark.parametrize("op", OPS)
def test_an_operation_gives_the_bits_of_the_golden_model_or_of_every_path(
    op: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of EXACT, and the square root, which IEEE 754 rounds: the golden model's. The others are our own polynomials:
    within a few units in the last place of it, and the same bits everywhere."""
    graph, (x, v) = one_operation(op)
    card = written(graph, tmp_path / "m.onnx")[1]
    card["classes"] = [str(i) for i in range(3000)]
    expected = interpret.step(graph, x[None], {"n": v[None]})[0][0]
    found = set()
    for path in PATHS:
        monkeypatch.setenv(native.PATH_VARIABLE, path)
        session = runtime.load(tmp_path / "m.onnx", "event").session()
        session.restore([v[None]])
        y = session.step(x[None])[0]
        found.add(np.where(np.isnan(y), np.float32(np.nan), y).tobytes())
        if op in EXACT or op == "Sqrt":
            np.testing.assert_array_equal(y, expected)
        else:
            np.testing.assert_allclose(y, expected, rtol=3e-7, atol=1e-37)
    assert len(found) == 1


@pytest.mark.parametrize("network", ["graded", "membrane"])
def test_spikes_of_several_sizes_and_membranes_go_on_as_numbers(network: str, tmp_path: Path) -> None:
    program = {"graded": GRADED, "membrane": LEAKY}[network]

    def neuron(layer: str, shape: tuple[int, ...]) -> Node:
        return traced(layer, (layer,), shape, program, 0.5)

    graph = last_is_near(around(neuron, (5, 4, 6)))
    written(graph, tmp_path / "m.onnx")
    differ, given = differences(graph, tmp_path / "m.onnx", counts(6, 2, 2, 4, 6))
    assert differ == 0 and given > 100


# --- states --------------------------------------------------------------------------------------------------------------


def test_a_layer_that_another_looks_into_is_stepped_even_where_nothing_comes_in(tmp_path: Path) -> None:
    """Neurons without input wait; not those whose state is read."""
    kind = {"kind": "PLIF", "layer": "n", "v_threshold": 1.0, "v_reset": 0.0, "decay_input": True, "charge": "exact"}
    weight = np.random.default_rng(0).normal(0.2, 0.3, (4, 1, 3, 3)).astype(np.float32)
    shape = (4, 8, 8)
    nodes = (
        Node("old", "State", (), shape, {"layer": "n", "variable": "v", "when": "before"}),
        Node("conv", "Conv", ("x",), shape, {"stride": 1, "padding": 1, "groups": 1}, {"weight": weight}),
        Node("n_neuron", "Neuron", ("conv",), shape, kind, {"alpha": np.float32(0.5)}),
        Node("new", "State", ("n_neuron",), shape, {"layer": "n", "variable": "v", "when": "after"}),
        Node("both", "Add", ("new", "old"), shape),
        Node("flatten", "Flatten", ("both",), (256,)),
        linear("fc", "flatten", 256, 3),
    )
    graph = Graph((1, 8, 8), nodes, "fc")
    written(graph, tmp_path / "m.onnx")
    graph = run_passes(graph, "folded", False)
    session = runtime.load(tmp_path / "m.onnx", "event", threads=1).session()
    state = interpret.initial_state(graph, 1)
    x = counts(8, 1, 1, 8, 8)
    x[2:] = 0
    for x_t in x:
        expected, state, _ = interpret.step(graph, x_t, state)
        np.testing.assert_allclose(session.step(x_t), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected).max() > 1e-3


def test_a_plif_file_of_several_states_is_run_saved_and_restored_in_c(tmp_path: Path) -> None:
    """plif.h: a state for each variable, by its name; what a snapshot holds is all of them."""
    graph = recurrent()
    path = plif_file_of(graph, tmp_path)
    opened, library = Handle(path).at, native.library()
    names = [library.plif_state_name(opened, i).decode() for i in range(library.plif_states(opened))]
    assert names == [
        "v.first", "last.first", "v.second", "i.second", "theta.second", "rest.second", "v.readout",
    ]  # fmt: skip
    session = library.plif_session_new(opened, None)
    x, y = counts(9, 1, 4, mean=0.9)[:, 0].copy(), np.zeros((9, 3), np.float32)
    for t in range(4):
        assert library.plif_step(session, x[t].ctypes.data, y[t].ctypes.data) == 0
    saved = np.zeros(library.plif_snapshot_size(session), np.uint8)
    assert library.plif_snapshot(session, saved.ctypes.data, saved.nbytes) == 0
    runs = []
    for _ in range(2):
        for t in range(4, 9):
            assert library.plif_step(session, x[t].ctypes.data, y[t].ctypes.data) == 0
        runs.append(y.copy())
        assert library.plif_restore(session, saved.ctypes.data, saved.nbytes) == 0
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runtime.load(path).session().run(x[:, None])[:, 0])
    np.testing.assert_allclose(runs[0], interpret.run(graph, x[:, None])[0][:, 0], atol=1e-5)
    library.plif_session_free(session)
    library.plif_close(opened)


def test_a_file_of_before_there_were_programs_says_to_export_it_again(tmp_path: Path) -> None:
    path = plif_file_of(recurrent(), tmp_path)
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)
    with pytest.raises(
        runtime.PlifError, match=rf"version 2 of .plif files; this plif has version {KEPT}: export it again"
    ):
        runtime.load(path)
