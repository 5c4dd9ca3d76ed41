"""Traced neurons for tests: programs, and small graphs around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from plif_export.core.cards import make_card, set_card
from plif_export.core.options import CallerFacts
from plif_export.core.passes import run_passes
from plif_export.core.proof.reference import GraphReference
from plif_export.core.proof.report import Report
from plif_export.core.prove import prove
from plif_export.core.readers.facts import ModelFacts, TrainedModel
from plif_export.core.writers import FORMS
from runtime import load
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph, Node
from runtime.neurons.traced_program.program import EXACT, OPS, input_names

# SpikingJelly's PLIF, h = v + (x - (v - v_reset)) * alpha, in the order of its equation
PLIF: dict[str, Any] = {
    "states": {"v": 0.25},
    "program": [
        ["above", "Sub", "v", 0.25],
        ["drive", "Sub", "x", "above"],
        ["moved", "Mul", "drive", "alpha"],
        ["h", "Add", "v", "moved"],
        ["fires", "GreaterOrEqual", "h", 1.0],
        ["s", "Cast", "fires"],
        ["after", "Where", "fires", 0.25, "h"],
    ],
    "h": "h",
    "s": "s",
    "next": {"v": "after"},
}
# An adaptive threshold, a refractory time, and a current: four states
ADAPTIVE: dict[str, Any] = {
    "states": {"v": 0.0, "i": 0.0, "theta": 1.0, "rest": 0.0},
    "program": [
        ["i_leaked", "Mul", "i", 0.8],
        ["i1", "Add", "i_leaked", "x"],
        ["v_leaked", "Mul", "v", "beta"],
        ["charged", "Add", "v_leaked", "i1"],
        ["resting", "Greater", "rest", 0.0],
        ["v1", "Where", "resting", "v", "charged"],
        ["above", "Sub", "v1", "theta"],
        ["over", "Greater", "above", 0.0],
        ["awake", "Not", "resting"],
        ["fires", "And", "over", "awake"],
        ["s", "Cast", "fires"],
        ["v2", "Where", "fires", 0.0, "v1"],
        ["toward", "Sub", "theta", 1.0],
        ["decayed", "Mul", "toward", 0.9],
        ["theta1", "Add", "decayed", 1.0],
        ["jump", "Mul", "s", 0.5],
        ["theta2", "Add", "theta1", "jump"],
        ["less", "Sub", "rest", 1.0],
        ["rest1", "Max", "less", 0.0],
        ["rest2", "Where", "fires", 2.0, "rest1"],
    ],
    "h": "above",
    "s": "s",
    "next": {"v": "v2", "i": "i1", "theta": "theta2", "rest": "rest2"},
}
# Several spikes a step (as sinabs' IAF), by rounding down; s is also kept, so that the layer can read it in the next step
GRADED: dict[str, Any] = {
    "states": {"v": 0.0, "last": 0.0},
    "program": [
        ["h", "Add", "v", "x"],
        ["ratio", "Div", "h", 0.5],
        ["whole", "Floor", "ratio"],
        ["s", "Relu", "whole"],
        ["down", "Mul", "s", 0.5],
        ["after", "Sub", "h", "down"],
    ],
    "h": "h",
    "s": "s",
    "next": {"v": "after", "last": "s"},
    "graded": True,
}
# A leaky integrator without spikes
LEAKY: dict[str, Any] = {
    "states": {"v": 0.0},
    "program": [["leaked", "Mul", "v", 0.9], ["after", "Add", "leaked", "x"]],
    "h": "after",
    "s": "after",
    "next": {"v": "after"},
    "spiking": False,
}


def traced(
    name: str,
    inputs: tuple[str, ...],
    shape: tuple[int, ...],
    program: dict[str, Any],
    v_threshold: float = 0.0,
    **params: Any,
) -> Node:
    attrs = {"kind": "Traced", "layer": name, "v_threshold": v_threshold, "v_reset": None, **program}
    arrays = {key: np.asarray(value, np.float32) for key, value in params.items()}
    return Node(f"{name}_neuron", "Neuron", inputs, shape, attrs, arrays)


def linear(
    name: str, source: str, inputs: int, outputs: int, seed: int = 0, gain: float = 1.0, shape: tuple[int, ...] = ()
) -> Node:
    """A Linear with weights around gain / inputs; shape: of its output where it has more axes than one."""
    weight = (
        np.random.default_rng(seed).normal(gain / inputs, abs(gain) / inputs**0.5, (outputs, inputs)).astype(np.float32)
    )
    return Node(name, "Linear", (source,), shape or (outputs,), {}, {"weight": weight})


def recurrent() -> Graph:
    """Graded spikes that come back through a Linear, an adaptive layer, and the membrane of a leaky integrator as output."""
    shape = (6,)
    nodes = (
        linear("fc1", "x", 4, 6, 1),
        Node("last", "State", (), shape, {"layer": "first", "variable": "last", "when": "before"}),
        linear("back", "last", 6, 6, 2, gain=0.3),
        Node("sum", "Add", ("fc1", "back"), shape),
        traced("first", ("sum",), shape, GRADED, 0.5),
        linear("fc2", "first_neuron", 6, 5, 3),
        traced("second", ("fc2",), (5,), ADAPTIVE, beta=np.linspace(0.5, 0.9, 5)),
        linear("fc3", "second_neuron", 5, 3, 4),
        traced("readout", ("fc3",), (3,), LEAKY),
        Node("membrane", "State", ("readout_neuron",), (3,), {"layer": "readout", "variable": "v", "when": "after"}),
    )
    return Graph((4,), nodes, "membrane")


def trained(graph: Graph) -> TrainedModel:
    """A graph as a reader leaves a model, with the interpreter as its reference."""
    return TrainedModel(graph, GraphReference(graph), ModelFacts.from_caller(CallerFacts(T=4), graph))


def written(graph: Graph, path: Path, form: str = "step", precision: str = "fp32") -> tuple[onnx.ModelProto, Card]:
    """The graph through passes and writer, as an export does it, without a proof."""
    made = run_passes(graph, "folded", False, precision)
    kept: dict[str, Any] = {"form": form, "precision": precision, "math": "folded", "batch": None}
    card = make_card(trained(graph).facts, made, T=4, source_sha256=None, **kept)
    proto = FORMS[form](made, 4, None, "integer")
    set_card(proto, card)
    path.write_bytes(proto.SerializeToString())
    return proto, card


def proved(graph: Graph, path: Path, form: str = "step", precision: str = "fp32", engine: str | None = None) -> Report:
    """What the gate says of that file, and of an engine that opens it."""
    proto, card = written(graph, path, form, precision)
    return prove(proto, card, trained(graph), opened=None if engine is None else load(path, engine))


def plif_file_of(graph: Graph, folder: Path) -> Path:
    """The graph as a .plif file in that folder, as an export writes it, without a proof."""
    from plif_export.core.targets import find_target
    from plif_export.core.targets.target import ExportJob

    proto, card = written(graph, folder / "m.onnx")
    find_target("plif").write(ExportJob(graph, proto, card, {}, [], "", None, name="m"), folder / "m.plif")
    return folder / "m.plif"


def random_program(
    seed: int, inputs: int = 1, states: tuple[str, ...] = (), params: tuple[str, ...] = (), graded: bool = False
) -> dict[str, Any]:
    """A program of drawn operations whose values are the same bits everywhere, and stay small; many are read more than once.

    states: beside v;  graded: what comes out is any number, else 0 or 1
    """
    rng = np.random.default_rng(seed)
    lines: list[list[Any]] = []
    names = ["v", *states]
    numbers: list[Any] = [*input_names(inputs), *names, *params]
    truths: list[str] = []

    def draw(op: str, *operands: Any) -> str:
        lines.append([f"a{len(lines)}", op, *operands])
        (truths if OPS[op][1] == "a truth value" else numbers).append(lines[-1][0])
        return str(lines[-1][0])

    def number() -> Any:
        return float(np.round(rng.normal(), 3)) if rng.random() < 0.15 else str(rng.choice(numbers))

    def bounded(name: Any) -> str:
        return draw("Clip", name, -2.0, 3.0)

    ops = [op for op in OPS if op in EXACT and op not in ("Clip", "Identity")]
    for _ in range(2):
        draw("Greater", number(), 0.25)
    for op in rng.permutation([*ops, *ops]):
        wanted, _ = OPS[op]
        operands = [str(rng.choice(truths)) if kind == "a truth value" else number() for kind in wanted]
        if op == "Div":
            operands[1] = draw("Max", draw("Abs", operands[1]), 0.5)
        made = draw(str(op), *operands)
        if op in ("Mul", "Div"):
            numbers.remove(made)
            bounded(made)
    charge = draw("Add", draw("Add", "v", "x"), bounded(numbers[-1]))
    fires = draw("And", draw("Or", truths[0], draw("And", truths[-1], truths[3])), draw("Greater", charge, 0.75))
    s = bounded(charge) if graded else draw("Cast", fires)
    h = draw("Neg", charge) if graded else charge  # which nothing else reads
    after = {name: bounded(draw("Where", fires, number(), number())) for name in names}
    start = {name: float(np.round(rng.normal(), 2)) for name in names}
    return {"states": start, "program": lines, "h": h, "s": s, "next": after, "graded": graded}
