"""The certificate beside an ONNX file: what anybody needs to repeat the numeric proof without plif (examples/recheck.py does).

It asks each layer what the gate asks it: one step from given states on given spikes, so that a flip that one evaluator may
have and another not ends with its own neuron. Spikes, states and inputs come from a seed, and what a layer makes of them is
written down as a hash of whole numbers:

    cell = floor(value 2^k + u)        u in 0..1, drawn for each value: where one cell ends, another does not

A value that rounding can move into the next cell is left out, by its place; so is a neuron that it can make decide otherwise.
So whoever adds in another order gets the same hash. Rounding is what bounds.py says, twice over. k is the largest with which
about LEFT values of a tensor are left out: the finer the cells, the smaller a difference that is seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.bounds import Bounds, Step
from plif_export.core.proof.arithmetic.interpret import Array, State, with_h
from plif_export.core.proof.compare import MEMBRANE, distance, on_edge
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.sliced_file import SlicedFile
from plif_export.core.proof.subjects.subject import HALF, Case
from runtime.core.events.framing import Framing
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph, Node, spikes, state_in, state_out

SAMPLES = 3  # each layer fires in a third of its neurons, in each sample another: every weight is used
MARGIN = 2  # bounds; between evaluators there is less than one
LEFT, PART = 128, 1 / 8  # values of a tensor, and of a small one at most this part
FINEST = 20  # k of a tensor that is exact
COUNTS = tuple(2**16 - 2**k for k in range(15, 3, -1))  # half of the counts are 1, half of the others 2, ... up to 13
HOW = (
    "Each of the `samples` is one step; they may be rows of one batch. u(NAME, n) is the first 2 n bytes of SHAKE-128 (FIPS 202) "
    "of the ASCII text SEED/NAME, read as n little-endian unsigned 16-bit numbers. A tensor of `given` is float32 [samples, "
    "...shape] in C order. With `levels` it is in sample i (0, 1, ...) 1 + the number of levels <= u where u mod `one_in` = i, "
    "else 0, of u(tensor, elements of a sample). With `low` and `width` it is float32(low + width u / 65536), computed in "
    "float64, of u(tensor/i, elements of a sample). Run each layer of `made` by itself: what its tensors need of the file, cut "
    "off at all given tensors, which are fed, but not at those that it makes. For a tensor that was made, cell = floor(value 2^k "
    "+ u / 65536) in float64, of u(tensor/i, elements of a sample); where rounding could change it the cell is 0: of all cells, "
    "sample after sample, `left_out` has the first such place and then the distance to each next one. `cells` is the SHA-256 of "
    "all cells as little-endian signed 64-bit numbers. `weights` has the SHA-256 of each parameter of the model before any "
    "folding or rounding, as little-endian float32. The metadata of the file are not covered. `sha256` in the last line is of "
    "all bytes before that line."
)
Record = dict[str, Any]


def drawn(seed: int, name: str, shape: tuple[int, ...]) -> Array:
    """uint16 [*shape], from the seed and a name."""
    data = hashlib.shake_128(f"{seed}/{name}".encode()).digest(2 * int(np.prod(shape)))
    return np.asarray(np.frombuffer(data, "<u2").reshape(shape))


@dataclass
class Given:
    """A tensor that layers are given: spikes or counts by `levels`, other numbers from `low` on (HOW has the rule)."""

    tensor: str
    shape: tuple[int, ...]
    rule: Record

    def sample(self, seed: int, i: int) -> Array:
        """float32 [1, *shape]"""
        if "low" in self.rule:
            u = drawn(seed, f"{self.tensor}/{i}", (1, *self.shape))
            return np.asarray(self.rule["low"] + self.rule["width"] * (u / 65536), np.float32)
        u = drawn(seed, self.tensor, (1, *self.shape))
        counts = 1 + np.searchsorted(np.array(self.rule["levels"], np.int64), u, side="right")
        return np.where(u % self.rule["one_in"] == i, counts, 0).astype(np.float32)


@dataclass
class Made:
    """What a layer makes in one sample, [1, ...] each: by the graph, how far rounding can move it, where it says nothing, and
    by the file."""

    layer: str
    tensor: str
    value: Array
    bound: Array
    undecided: Array
    found: Array


@dataclass
class Hashed:
    """The cells of one tensor, sample after sample."""

    k: int
    left_out: list[Array] = field(default_factory=list)
    cells: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, one: Made, reach: Array, u: Array) -> int:
        """The next sample; reach: how far its values may be off. The number of cells that the file has otherwise."""
        place = one.value.astype(np.float64) * 2.0**self.k + u
        cells = np.floor(place)
        left_out = one.undecided | (np.minimum(place - cells, cells + 1 - place) < reach * 2.0**self.k)
        self.left_out.append(left_out)
        self.cells.update(np.where(left_out, 0, cells).astype("<i8").tobytes())
        return int(np.sum(~left_out & (np.floor(one.found.astype(np.float64) * 2.0**self.k + u) != cells)))

    def record(self, tensor: str) -> Record:
        places = np.flatnonzero(np.concatenate(self.left_out))
        left_out = np.diff(places, prepend=0).tolist()
        return {"tensor": tensor, "k": self.k, "left_out": left_out, "cells": self.cells.hexdigest()}


def certify(
    proto: onnx.ModelProto, card: Card, graph: Graph, weights: Graph, report: Report, seed: int, **file: str
) -> str:
    """The text of the certificate of a file of the step form that has passed the gate.

    graph    what judges it: the model as read, or with rounded weights after all passes
    weights  the model as read, whose parameters are hashed
    report   fails where the file itself does not do what is written down here
    file     what the certificate says of it: name, sha256
    """
    subject = SlicedFile(proto, card, [n.layer for n in graph.neurons])
    bounds = Bounds(graph, HALF if card["precision"] == "fp16" else 0.0)  # some evaluators have kernels of float16
    given = {one.tensor: one for one in _given(graph, card)}
    fed = {name: one.sample(seed, 0) for name, one in given.items()}
    step = _step(bounds, fed)
    read = {(n.attrs["layer"], n.attrs["variable"]) for n in graph if n.op == "State"}
    for node in graph.neurons:
        if (node.layer, "v") not in read:  # what follows a membrane that others read goes by this one
            name = state_in(node.layer)
            given[name].rule = _until_it_fires(node, step, given[name].rule)
            fed[name] = given[name].sample(seed, 0)
    made: dict[str, dict[str, Hashed]] = {}
    for i in range(SAMPLES):
        if i:
            fed = {name: one.sample(seed, i) for name, one in given.items()}
            step = _step(bounds, fed)
        for one in _sample(step, subject, fed):
            # what the gate allowed this very file is rounding, too
            reach = np.clip(2 * distance(one.found, one.value), MARGIN * one.bound, MEMBRANE * one.bound)
            tensors = made.setdefault(one.layer, {})
            hashed = tensors.setdefault(one.tensor, Hashed(_fineness(reach, one.value.size)))
            if off := hashed.add(one, reach, drawn(seed, f"{one.tensor}/{i}", one.value.shape) / 65536):
                what = f"{off} of {one.value.size} values of {one.tensor} are not those of a certificate"
                report.fail(one.layer, i, what)
    params = {f"{n.name}.{key}": np.asarray(v, "<f4") for n in weights for key, v in n.params.items()}
    return _text(
        {
            "format": "plif certificate 1",
            "how": HOW,
            "file": file,
            "precision": card["precision"],
            "seed": seed,
            "samples": SAMPLES,
            "given": [{"tensor": one.tensor, "shape": one.shape, **one.rule} for one in given.values()],
            "made": [
                {"layer": layer, "tensors": [one.record(tensor) for tensor, one in tensors.items()]}
                for layer, tensors in made.items()
            ],
            "weights": {name: hashlib.sha256(v.tobytes()).hexdigest() for name, v in params.items()},
        }
    )


def _fineness(reach: Array, size: int) -> int:
    """k by the first sample: with u drawn, 2 reach 2^k is how likely a value is left out."""
    expected = 2 * SAMPLES * float(reach.sum(dtype=np.float64))
    return min(FINEST, int(np.floor(np.log2(min(LEFT, PART * SAMPLES * size) / expected)))) if expected else FINEST


def _given(graph: Graph, card: Card) -> Iterator[Given]:
    """The input, and of each layer its states and its spikes; a state after the step where another layer reads it."""
    anything = {"low": -2.0, "width": 4.0}
    binary = card["framing"] is not None and Framing.parse(card["framing"]).value == "binary"
    counts = {"levels": () if binary else COUNTS, "one_in": SAMPLES - 1}  # the last sample is an empty frame
    yield Given(graph.input, graph.input_shape, anything if card["input"]["kind"] == "static" else counts)
    read = {(n.attrs["layer"], n.attrs["variable"]) for n in graph if n.op == "State" and n.attrs["when"] == "after"}
    for node in graph.neurons:
        top = float(node.attrs["v_threshold"])
        for variable, start in node.initial.items():
            span = abs(top - start) or 1.0
            rule = {"low": start - 0.5 * span, "width": span * (1.5 if start < top else 2.0)}
            yield Given(state_in(node.layer, variable), node.shape, rule)
            if (node.layer, variable) in read:
                yield Given(state_out(node.layer, variable), node.shape, rule)
        spiking = {"levels": (), "one_in": SAMPLES}
        yield Given(spikes(node.layer), node.shape, spiking if node.values == "spikes" else anything)


def _step(bounds: Bounds, fed: dict[str, Array]) -> Step:
    """One step on the tensors that are given."""

    def held(layer: str, variable: str, when: str) -> Array:
        return fed[(state_in if when == "before" else state_out)(layer, variable)]

    return bounds.step(fed[bounds.input], {layer: fed[spikes(layer)] for layer in bounds.neurons}, held)


def _before(node: Node, step: Step) -> State:
    return {name: step.held(node.layer, name, "before") for name in node.initial}


def _until_it_fires(node: Node, step: Step, rule: Record) -> Record:
    """The rule, so wide that the membranes of this step put most neurons above the threshold or below it as they are drawn."""
    top = np.full((1, *node.shape), float(node.attrs["v_threshold"]))
    needed = with_h(node, step.current(node), _before(node, step), top)["v"]
    ends = [float(f"{end:.3g}") for end in np.quantile(needed, (0.1, 0.9))]
    low, high = min(rule["low"], ends[0]), max(rule["low"] + rule["width"], ends[1])
    return {"low": low, "width": high - low}


def _sample(step: Step, subject: SlicedFile, fed: dict[str, Array]) -> Iterator[Made]:
    """What each layer makes in that step, and y."""
    bounds, nodes = step.of, step.of.neurons
    before = {layer: _before(node, step) for layer, node in nodes.items()}
    done = {layer: interpret.neuron(node, step.current(node), before[layer]) for layer, node in nodes.items()}
    shown = {  # other layers get the state after the step that is given, where they read it
        layer: {0: replace(one, after={name: fed.get(state_out(layer, name), v) for name, v in one.after.items()})}
        for layer, one in done.items()
    }
    y = step.value(bounds.output)
    fired, states = {layer: [s] for layer, s in step.fired.items()}, {layer: [state] for layer, state in before.items()}
    answer = subject.forced(Case(step.x[None], fired, states, shown, y[None]))
    for layer, node in nodes.items():
        one, seen, bound = done[layer], answer.layers[layer][0], step.neuron(layer, before[layer])
        edge = on_edge(one, float(node.attrs["v_threshold"]), replace(bound, h=MARGIN * bound.h))
        own = np.zeros(1) if node.values == "spikes" else step.measure(node.name).bound()
        assert seen.s is not None and seen.h is not None, "a file shows both"
        yield Made(layer, spikes(layer), one.s, own, edge, seen.s.reshape(one.s.shape))
        yield Made(layer, subject.h(layer, 0), one.h, bound.h, np.zeros(1, bool), seen.h)
        for name, v in one.after.items():
            yield Made(layer, state_out(layer, name), v, bound.after[name], edge, seen.after[name])
    yield Made("output", "y", y, step.output(), np.zeros(1, bool), answer.y[0])


def _text(record: Record) -> str:
    """JSON, with a line for each member of a list and of an object; the last line is of the bytes before it."""
    text = json.dumps(record, separators=(",", ":"))
    for mark in ('{"tensor":', '{"layer":', '"how":', '"file":', '"given":', '"made":', '"weights":'):
        text = text.replace(mark, "\n" + mark)
    head = text[:-1] + ",\n"
    return f'{head}"sha256":"{hashlib.sha256(head.encode()).hexdigest()}"}}\n'
