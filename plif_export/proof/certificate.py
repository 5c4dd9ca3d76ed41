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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from plif_export.proof.arithmetic import interpret
from plif_export.proof.arithmetic.bounds import Bounds, Step
from plif_export.proof.arithmetic.interpret import Array, State
from plif_export.proof.compare import MEMBRANE, distance, on_edge
from plif_export.proof.probe import with_h
from plif_export.proof.report import Report
from plif_export.proof.subjects.sliced_file import SlicedFile
from plif_export.proof.subjects.subject import HALF, Case
from runtime.events.framing import Framing
from runtime.model.card import Card
from runtime.model.graph import Graph, Node, spikes, state_in, state_out

SAMPLES = 3  # each layer fires in a third of its neurons, in each sample another: every weight is used
MARGIN = 2  # bounds; between evaluators there is less than one
LEFT = 128  # values of a tensor, but
PART = 1 / 16  # of them at most
FINEST = 20  # k of a tensor that is exact
COUNTS = tuple(2**16 - 2**k for k in range(15, 3, -1))  # half of the counts are 1, half of the others 2, ... up to 13
HOW = (
    "Each of the `samples` is one step; they may be rows of one batch. u(NAME, n) is the first 2 n bytes of SHAKE-128 (FIPS 202) "
    "of the ASCII text SEED/NAME, read as n little-endian unsigned 16-bit numbers. A tensor of `given` is float32 [samples, "
    "...shape] in C order: with `low` and `width` it is float32(low + width u / 65536), computed in float64, of u(tensor, all "
    "elements); with `levels`, of u(tensor, the elements of one sample), it is in sample i = 0, 1, ... 1 + the number of levels "
    "<= u where u mod `one_in` = i, else 0. Run each layer of `made` by itself: what its tensors need of the file, cut off at "
    "all given tensors, which are fed, but not at those that it makes. For a tensor that was made, cell = floor(value 2^k + u / "
    "65536) in float64, of u(tensor, all elements), samples first; where rounding could change it the cell is 0: `left_out` has "
    "the first such place and then the distance to each next one. `cells` is the SHA-256 of all cells as little-endian signed "
    "64-bit numbers. `weights` has the SHA-256 of each parameter of the model before any folding or rounding, as little-endian "
    "float32. The metadata of the file are not covered. `sha256` in the last line is of all bytes before that line."
)


def drawn(seed: int, name: str, *shape: int) -> Array:
    """uint16 [*shape], from the seed and a tensor's name."""
    return np.frombuffer(hashlib.shake_128(f"{seed}/{name}".encode()).digest(2 * int(np.prod(shape))), "<u2").reshape(
        shape
    )


@dataclass
class Given:
    """A tensor that layers are given: spikes or counts by `levels`, other numbers from `low` on (HOW has the rule)."""

    tensor: str
    shape: tuple[int, ...]
    rule: dict[str, Any]

    def values(self, seed: int) -> Array:
        """float32 [samples, *shape]"""
        if "low" in self.rule:
            u = drawn(seed, self.tensor, SAMPLES, *self.shape)
            return np.asarray(self.rule["low"] + self.rule["width"] * (u / 65536), np.float32)
        u = drawn(seed, self.tensor, *self.shape)
        counts = 1 + np.searchsorted(np.array(self.rule["levels"], np.int64), u, side="right")
        return np.stack([np.where(u % self.rule["one_in"] == i, counts, 0) for i in range(SAMPLES)]).astype(np.float32)


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


def certify(
    proto: onnx.ModelProto, card: Card, graph: Graph, weights: Graph, report: Report, seed: int, **file: str
) -> str:
    """The text of the certificate of a file of the step form that has passed the gate.

    graph    what judges it: the model as read, or with rounded weights after all passes
    weights  the model as read, whose parameters are hashed
    report   fails where the file itself does not do what is written down here
    file     what the certificate says of it: name, sha256
    """
    given = {one.tensor: one for one in _given(graph, card)}
    fed = {name: one.values(seed) for name, one in given.items()}
    subject = SlicedFile(proto, card, [n.layer for n in graph.neurons])
    bounds = Bounds(
        graph, HALF if card["precision"] == "fp16" else 0.0
    )  # evaluators have float16 kernels, or have none
    steps = [_step(bounds, fed, i) for i in range(SAMPLES)]
    read = {(n.attrs["layer"], n.attrs["variable"]) for n in graph if n.op == "State"}
    for node in graph.neurons:
        if (node.layer, "v") not in read:  # what follows a membrane that others read was drawn for this one
            name = state_in(node.layer)
            given[name].rule = _until_it_fires(node, steps[0], given[name].rule)
            fed[name] = given[name].values(seed)
    samples = [list(_sample(step, subject, {t: v[i : i + 1] for t, v in fed.items()})) for i, step in enumerate(steps)]
    made: dict[str, list[dict[str, Any]]] = {}
    for of_samples in zip(*samples, strict=True):
        made.setdefault(of_samples[0].layer, []).append(_record(of_samples, seed, report))
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
            "made": [{"layer": layer, "tensors": tensors} for layer, tensors in made.items()],
            "weights": {name: hashlib.sha256(v.tobytes()).hexdigest() for name, v in params.items()},
        }
    )


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


def _step(bounds: Bounds, fed: dict[str, Array], i: int) -> Step:
    """Sample i of the tensors that are given."""

    def held(layer: str, variable: str, when: str) -> Array:
        return fed[(state_in if when == "before" else state_out)(layer, variable)][i : i + 1]

    fired = {layer: fed[spikes(layer)][i : i + 1] for layer in bounds.neurons}
    return bounds.step(fed[bounds.input][i : i + 1], fired, held)


def _before(node: Node, step: Step) -> State:
    return {name: step.held(node.layer, name, "before") for name in node.initial}


def _until_it_fires(node: Node, step: Step, rule: dict[str, Any]) -> dict[str, Any]:
    """The rule, so wide that the membranes of this step put most neurons above the threshold or below it as they are drawn."""
    top = np.full((1, *node.shape), float(node.attrs["v_threshold"]))
    needed = with_h(node, step.current(node), _before(node, step), top)["v"]
    ends = [float(f"{end:.3g}") for end in np.quantile(needed, (0.1, 0.9))]
    low, high = min(rule["low"], ends[0]), max(rule["low"] + rule["width"], ends[1])
    return {"low": low, "width": high - low}


def _sample(step: Step, subject: SlicedFile, fed: dict[str, Array]) -> Iterator[Made]:
    """One step on the tensors that are given, layer by layer, and y."""
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


def _record(samples: tuple[Made, ...], seed: int, report: Report) -> dict[str, Any]:
    """What the certificate says of one tensor. Fails the report where the file makes something else."""
    value, bound, undecided, found = (
        np.concatenate([np.broadcast_to(getattr(one, part), one.value.shape) for one in samples])
        for part in ("value", "bound", "undecided", "found")
    )
    # what the gate allowed this very file is rounding, too
    reach = np.clip(2 * distance(found, value), MARGIN * bound, MEMBRANE * bound).astype(np.float64)
    total, first = 2 * float(reach.sum()), samples[0]
    k = min(FINEST, int(np.log2(min(LEFT, PART * value.size) / total))) if total else FINEST
    u = drawn(seed, first.tensor, *value.shape) / 65536
    place = value.astype(np.float64) * 2.0**k + u
    cells = np.floor(place)
    left_out = undecided | (np.minimum(place - cells, cells + 1 - place) < reach * 2.0**k)
    off = int(np.sum(~left_out & (np.floor(found.astype(np.float64) * 2.0**k + u) != cells)))
    if off:
        report.fail(first.layer, 0, f"{off} of {value.size} values of {first.tensor} are not those of a certificate")
    return {
        "tensor": first.tensor,
        "k": k,
        "left_out": np.diff(np.flatnonzero(left_out), prepend=0).tolist(),
        "cells": hashlib.sha256(np.where(left_out, 0, cells).astype("<i8").tobytes()).hexdigest(),
    }


def _text(record: dict[str, Any]) -> str:
    """JSON, with a line for each member of a list and of an object; the last line is of the bytes before it."""
    text = json.dumps(record, separators=(",", ":"))
    for mark in ('{"tensor":', '{"layer":', '"how":', '"file":', '"given":', '"made":', '"weights":'):
        text = text.replace(mark, "\n" + mark)
    head = text[:-1] + ",\n"
    return f'{head}"sha256":"{hashlib.sha256(head.encode()).hexdigest()}"}}\n'
