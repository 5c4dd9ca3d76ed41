"""Neurons that carry their step as a program: the bits of PyTorch in the golden model and the file, and a proof that can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from plif_export.core.passes import run_passes
from plif_export.core.proof.arithmetic import interpret
from plif_export.core.prove import prove
from plif_export.core.targets import find_target
from plif_export.core.writers import FORMS
from runtime import load
from runtime.core.model.card import read_card
from runtime.core.model.graph import Graph, Node, state_input, state_key, state_output
from tests.conftest import crossed
from tests.programs import ADAPTIVE, GRADED, LEAKY, PLIF, linear, proved, recurrent, traced, trained, written


def in_onnx(graph: Graph, x: np.ndarray, form: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """x [T, B, ...] from reset in ONNX Runtime: y [T, B, ...], and the states after it by state_key."""
    made = FORMS[form](graph, len(x), None)
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    start = interpret.initial_state(graph, x.shape[1])
    names = [(n.layer, variable) for n in graph.neurons for variable in n.initial]
    state = {state_input(*name): start[state_key(*name)] for name in names}
    outputs, y = ["y", *(state_output(*name) for name in names)], []
    for part in x if form == "step" else [x]:
        y_t, *after = session.run(outputs, {"x": part, **state})
        y.append(y_t)
        state = dict(zip(state, after, strict=True))
    after_all = {state_key(*name): state[state_input(*name)] for name in names}
    return (np.stack(y) if form == "step" else y[0]), after_all


def counts(T: int, B: int, *shape: int, seed: int = 0, mean: float = 0.6) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean, (T, B, *shape)).astype(np.float32)


# --- numbers and bits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", (0.1, 1 / 3, 0.1234567, 0.12345671, 1e-8))
def test_a_number_of_a_program_is_that_number_in_the_file(number: float) -> None:
    """Two that differ in the seventh digit are two numbers."""
    attrs = {
        "states": {"v": 0.0},
        "program": [["a", "Mul", "x", number], ["b", "Mul", "v", number * 1.0000003], ["h", "Add", "a", "b"]],
        "h": "h", "s": "h", "next": {"v": "h"}, "spiking": False,
    }  # fmt: skip
    graph = Graph((4,), (traced("n", ("x",), (4,), attrs),), "n_neuron")
    x = counts(5, 2, 4)
    y, _ = in_onnx(graph, x, "step")
    np.testing.assert_array_equal(y, interpret.run(graph, x)[0])


@pytest.mark.parametrize("form", FORMS)
def test_a_plif_neuron_written_as_a_program_is_the_plif_kind_bit_for_bit(form: str) -> None:
    alpha = np.linspace(0.1, 0.9, 6, dtype=np.float32)
    kind = {"kind": "PLIF", "layer": "n", "v_threshold": 1.0, "v_reset": 0.25, "decay_input": True, "charge": "exact"}
    first = linear("fc", "x", 5, 6, gain=2.0)
    own = Graph((5,), (first, Node("n_neuron", "Neuron", ("fc",), (6,), kind, {"alpha": alpha})), "n_neuron")
    program = Graph((5,), (first, traced("n", ("fc",), (6,), PLIF, 1.0, alpha=alpha)), "n_neuron")
    x = counts(40, 3, 5)
    (y, state), (y2, state2) = interpret.run(own, x), interpret.run(program, x)
    assert 0.05 < y.mean() < 0.9
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(state["n"], state2["n"])
    (y, state), (y2, state2) = in_onnx(own, x, form), in_onnx(program, x, form)
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(state["n"], state2["n"])


# --- whole networks ----------------------------------------------------------------------------------------------------


def feedback() -> Graph:
    """The second layer's spikes come back to the first one step later, and its membrane decides with its own threshold."""
    kept = {**PLIF, "states": {"v": 0.25, "last": 0.0}, "next": {"v": "after", "last": "s"}}
    nodes = (
        Node("from_above", "State", (), (5,), {"layer": "second", "variable": "last", "when": "before"}),
        linear("down", "from_above", 5, 6, 1, gain=-0.5),
        linear("fc1", "x", 4, 6, 2, gain=2.0),
        Node("both", "Add", ("fc1", "down"), (6,)),
        traced("first", ("both",), (6,), PLIF, 1.0, alpha=0.5),
        linear("fc2", "first_neuron", 6, 5, 3, gain=3.0),
        traced("second", ("fc2",), (5,), kept, 1.0, alpha=0.7),
        linear("fc3", "second_neuron", 5, 3, 4, gain=2.0),
    )
    return Graph((4,), nodes, "fc3")


def two_inputs() -> Graph:
    """A neuron whose second input gates its leak, and whose third state counts the steps."""
    program = [
        ["gate", "Sigmoid", "x1"],
        ["kept", "Mul", "v", "gate"],
        ["h", "Add", "kept", "x"],
        ["fires", "Greater", "h", 0.8],
        ["s", "Cast", "fires"],
        ["rest", "Where", "fires", "floor", "h"],
        ["more", "Add", "age", 1.0],
        ["always", "Identity", 1.0],
    ]
    following = {"v": "rest", "age": "more", "begun": "always"}
    attrs = {"states": {"v": 0.0, "age": 0.0, "begun": 0.0}, "program": program, "h": "h", "s": "s", "next": following}
    nodes = (
        linear("fc", "x", 4, 6, 1, gain=2.0),
        linear("gates", "x", 4, 6, 2),
        traced("n", ("fc", "gates"), (6,), attrs, 0.8, floor=np.linspace(-0.5, 0, 6)),
        linear("fc2", "n_neuron", 6, 3, 3),
    )
    return Graph((4,), nodes, "fc2")


NETWORKS: dict[str, Callable[[], Graph]] = {"recurrent": recurrent, "feedback": feedback, "two inputs": two_inputs}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", NETWORKS)
def test_both_forms_do_what_the_golden_model_does(network: str, form: str) -> None:
    graph = NETWORKS[network]()
    for T in (12, 1):
        x = counts(T, 3, 4)
        (y, state), (y2, state2) = interpret.run(graph, x), in_onnx(graph, x, form)
        np.testing.assert_allclose(y2, y, atol=1e-5)
        for key, value in state.items():
            np.testing.assert_allclose(state2[key], value, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_still_image_goes_through_the_unrolled_form_once_and_its_loops_step_by_step(network: str) -> None:
    graph = run_passes(NETWORKS[network](), "folded", static=True)
    assert graph.hoisted and not any(graph[name].op == "State" for name in graph.hoisted)
    x = counts(1, 3, 4, mean=1.5)[0]
    still = np.broadcast_to(x, (6, *x.shape))
    session = ort.InferenceSession(
        FORMS["unrolled"](graph, 6, 3).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    start = interpret.initial_state(graph, 3)
    feed = {state_input(n.layer, v): start[state_key(n.layer, v)] for n in graph.neurons for v in n.initial}
    np.testing.assert_allclose(session.run(["y"], {"x": x, **feed})[0], interpret.run(graph, still)[0], atol=1e-5)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("network", "form", "precision"), crossed([*NETWORKS], [*FORMS], ["fp32", "fp16", "int8"]))
def test_networks_of_traced_neurons_pass_the_gate(tmp_path: Path, network: str, form: str, precision: str) -> None:
    for engine in ("onnxruntime", "event")[: 1 if precision == "fp16" else 2]:
        report = proved(NETWORKS[network](), tmp_path / "m.onnx", form, precision, engine=engine)
        assert report.passed, report.sentence()
        assert report.excused == 0 and not report.untested and report.spikes > 20
        assert report.engine == engine and report.engine_steps == 2 * report.steps


@pytest.mark.parametrize("network", NETWORKS)
def test_openvino_runs_them_and_passes_the_gate(tmp_path: Path, network: str) -> None:
    pytest.importorskip("openvino")
    from plif_export.core.targets.target import ExportJob

    source = trained(NETWORKS[network]())
    proto, card = written(source.graph, tmp_path / "m.onnx")
    job = ExportJob(source.graph, proto, card, {}, [], "", None, name="m")
    find_target("openvino").write(job, tmp_path / "m_openvino")
    report = prove(proto, card, source, opened=load(tmp_path / "m_openvino", rates=True))
    assert report.passed and report.engine == "openvino", report.sentence()


def test_layers_that_read_graded_spikes_or_membranes_keep_float32_weights() -> None:
    for precision in ("fp16", "int8"):
        graph = run_passes(recurrent(), "folded", False, precision)
        assert {n.name: str(n.params["weight"].dtype) for n in graph if n.op == "Linear"} == {
            "fc1": "float32",
            "back": "float32",
            "fc2": "float32",
            "fc3": "float16" if precision == "fp16" else "int8",
        }


def test_the_output_is_called_what_it_is(tmp_path: Path) -> None:
    found = {}
    for end in ("membrane", "readout_neuron", "second_neuron", "fc3"):
        graph = recurrent()
        graph = Graph(graph.input_shape, graph.nodes, end)
        found[end] = written(graph, tmp_path / "m.onnx")[1]["output"]["kind"]
    assert found == {"membrane": "membrane", "readout_neuron": "membrane", "second_neuron": "spikes", "fc3": "currents"}


def test_a_session_keeps_all_states_and_counts_spikes_of_any_size_as_one(tmp_path: Path) -> None:
    graph, x = recurrent(), counts(9, 2, 4)
    written(graph, tmp_path / "m.onnx")
    session = load(tmp_path / "m.onnx", rates=True).session(2)
    assert session.state["theta.second"].max() == session.state["theta.second"].min() == 1
    state = interpret.initial_state(graph, 2)
    for x_t in x:
        y = session.step(x_t)
        expected, state, layers = interpret.step(graph, x_t, state)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        assert session.rates == pytest.approx({name: (layers[name].s != 0).mean() for name in ("first", "second")})
    assert layers["first"].s.max() > 1
    for record in read_card(tmp_path / "m.onnx")["states"]:
        key = state_key(record["layer"], record["variable"])
        np.testing.assert_allclose(session.state[record["name"]], state[key], atol=1e-5)
    session.reset([1])
    assert np.all(session.state["theta.second"][1] == 1) and not np.all(session.state["theta.second"][0] == 1)


# --- a proof that can fail -----------------------------------------------------------------------------------------------


def changed(program: dict[str, Any], line: int, *to: Any, **more: Any) -> dict[str, Any]:
    lines = [list(one) for one in program["program"]]
    lines[line] = [lines[line][0], *to]
    return {**program, "program": lines, **more}


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "the threshold decays faster": ("second", changed(ADAPTIVE, 13, "Mul", "toward", 0.91)),
    "the threshold jumps less": ("second", changed(ADAPTIVE, 15, "Mul", "s", 0.49)),
    "it rests a step less": ("second", changed(ADAPTIVE, 19, "Where", "fires", 1.0, "rest1")),
    "the current leaks faster": ("second", changed(ADAPTIVE, 0, "Mul", "i", 0.79)),
    "the threshold is compared otherwise": ("second", changed(ADAPTIVE, 6, "Sub", "v1", 1.0)),
    "it fires a thousandth later": ("first", changed(GRADED, 1, "Div", "h", 0.5005)),
    "it rounds up": ("first", changed(GRADED, 2, "Ceil", "ratio")),
    "it fires negative spikes": ("first", changed(GRADED, 3, "Identity", "whole")),
    "a spike takes less away": ("first", changed(GRADED, 4, "Mul", "s", 0.499)),
    "what it did last is forgotten": (
        "first",
        changed(GRADED, 1, "Div", "h", 0.5, next={"v": "after", "last": "last"}),
    ),
    "its spikes are twice as large": (
        "first",
        {"program": [*GRADED["program"], ["twice", "Mul", "s", 2.0]], "s": "twice"},
    ),
    "the readout leaks faster": ("readout", changed(LEAKY, 0, "Mul", "v", 0.899)),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("wrong", "form"), crossed(list(WRONG), list(FORMS)))
def test_a_file_with_another_program_does_not_pass(tmp_path: Path, wrong: str, form: str) -> None:
    layer, program = WRONG[wrong]
    graph = recurrent()
    node = graph[f"{layer}_neuron"]
    other = graph.replace_nodes({node.name: node.with_(attrs={**node.attrs, **program})})
    _, card = written(graph, tmp_path / "m.onnx", form)
    report = prove(FORMS[form](other, 4, None), card, trained(graph))
    assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == layer, report.sentence()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_whose_loop_comes_back_from_another_place_does_not_pass(tmp_path: Path, form: str) -> None:
    """The weights of the recurrent connection, and what it reads, belong to the layer's current."""
    graph = recurrent()
    _, card = written(graph, tmp_path / "m.onnx", form)
    back, last = graph["back"], graph["last"]
    other_weight = back.with_(params={"weight": back.params["weight"] * np.float32(1.001)})
    other_state = last.with_(attrs={**last.attrs, "variable": "v"})
    for changed_node in (other_weight, other_state):
        proto = FORMS[form](graph.replace_nodes({changed_node.name: changed_node}), 4, None)
        report = prove(proto, card, trained(graph))
        assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == "first"


def test_what_reads_a_membrane_as_output_is_compared(tmp_path: Path) -> None:
    graph = recurrent()
    _, card = written(graph, tmp_path / "m.onnx")
    before = graph["membrane"].with_(inputs=(), attrs={**graph["membrane"].attrs, "when": "before"})
    report = prove(FORMS["step"](graph.replace_nodes({"membrane": before}), 4, None), card, trained(graph))
    assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == "output"


def test_a_graded_neuron_is_excused_at_each_of_its_steps_and_nowhere_else() -> None:
    """Floor jumps at every multiple of 0.5, although v_threshold names one of them."""
    node = traced("n", ("x",), (8,), GRADED, 0.5)
    x = np.array([[0.2, 0.5, 0.75, 1.0, 1.4999999, 1.5, -0.5, 2.2]], np.float32)
    fired = interpret.step_neuron(node, x, {"v": np.zeros_like(x), "last": np.zeros_like(x)})
    assert fired.flips_within is not None
    edge = fired.flips_within(np.full(x.shape, 1e-6))
    assert edge.tolist() == [[False, True, False, True, True, True, False, False]]
    assert not fired.flips_within(np.zeros(x.shape)).any()


# --- what cannot run them says so --------------------------------------------------------------------------------------


def test_nir_refuses_what_it_has_no_node_for() -> None:
    pytest.importorskip("nir")
    from plif_export.targets.nir_file.target import NirTarget

    said = {p.path: p.rule for p in NirTarget().problems(recurrent(), {})}
    assert said["last"] == said["membrane"] == "NIR has no word for it"
    assert said["first_neuron"] == "neurons of kind Traced are not written as NIR"


@pytest.mark.parametrize("form", FORMS)
def test_the_same_graph_gives_the_same_bytes(form: str) -> None:
    first, second = (FORMS[form](recurrent(), 4, None).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    onnx.checker.check_model(onnx.load_from_string(first), full_check=True)
