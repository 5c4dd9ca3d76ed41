"""The certificate of an ONNX file: the data to repeat the numeric proof without plif (examples/recheck.py does).

It checks each layer as the gate does: one step from given states on given spikes, so that a flip in one evaluator
ends with its own neuron. Spikes, states and inputs come from a seed, and the results of a layer are stored as a hash
of whole numbers:

    cell = floor(value 2^k + u)        u in 0..1, drawn for each value, so that cell borders differ

A value that rounding can move into the next cell is left out, by its place; so is a neuron that it can make decide
otherwise. So an evaluator with another order of sums gets the same hash. The rounding is that of bounds.py, twice
over. k is the largest with which about LEFT values of a tensor are left out: the finer the cells, the smaller a
visible difference.
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
from plif_export.core.proof.arithmetic.bounds import Bounds, StepBounds
from plif_export.core.proof.arithmetic.interpret import Array, State, solve_v_for_h
from plif_export.core.proof.compare import MEMBRANE, absolute_error, near_threshold
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.sliced_file import SlicedFile
from plif_export.core.proof.subjects.subject import HALF, Case
from runtime.core.events.framing import Framing
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph, Node, spikes_name, state_input, state_output

SAMPLES = 3  # in each sample another third of each layer's neurons fires: every weight is used
MARGIN = 2  # bounds; between evaluators there is less than one
LEFT, PART = 128, 1 / 8  # values of a tensor, and at most this part of a small one
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
    "all cells as little-endian signed 64-bit numbers. A layer of `made` is a layer of neurons with all that its input needs of "
    "given spikes, or `output`; of neurons it has the spikes (.s), the charge before the reset (.h) and each state after it "
    "(.next). `share` has the part of all values that is not left out, and the least part of a given tensor that is not 0 in "
    "some sample: the part of the weights that count. `weights` has the SHA-256 of each parameter as plif read it from the "
    "model, before anything is folded into weights or rounded, as little-endian float32 in C order. alpha is no parameter that "
    "was trained, but 1 / tau in float32: of a PLIF neuron the sigmoid of its w, which is not hashed. The metadata are not "
    "covered. `sha256` in the last line is of all bytes before that line."
)
Record = dict[str, Any]


def draw_uint16(seed: int, name: str, shape: tuple[int, ...]) -> Array:
    """Return pseudorandom uint16 numbers [*shape] that follow from a seed and a name."""
    data = hashlib.shake_128(f"{seed}/{name}".encode()).digest(2 * int(np.prod(shape)))
    return np.asarray(np.frombuffer(data, "<u2").reshape(shape))


@dataclass
class CertificateInput:
    """An input tensor in a certificate's test: spikes or counts by `levels`, other numbers from `low` on.

    HOW has the rule.
    """

    tensor: str
    shape: tuple[int, ...]
    rule: Record

    def sample(self, seed: int, i: int) -> Array:
        """Return the float32 values [1, *shape] of one random sample of an input tensor."""
        if "low" in self.rule:
            u = draw_uint16(seed, f"{self.tensor}/{i}", (1, *self.shape))
            return np.asarray(self.rule["low"] + self.rule["width"] * (u / 65536), np.float32)
        u = draw_uint16(seed, self.tensor, (1, *self.shape))
        counts = 1 + np.searchsorted(np.array(self.rule["levels"], np.int64), u, side="right")
        return np.where(u % self.rule["one_in"] == i, counts, 0).astype(np.float32)

    def used(self, seed: int) -> Array:
        """Return where an input tensor is not 0 in some sample: bool [1, *shape]."""
        return np.asarray(np.any([self.sample(seed, i) != 0 for i in range(SAMPLES)], axis=0))


@dataclass
class JudgedOutput:
    """A layer's output tensor in one sample of a certificate, expected and actual, arrays [1, ...].

    value: by the graph;  bound: its rounding error;  undecided: where rounding may change it;  actual: by the file
    """

    layer: str
    tensor: str
    value: Array
    bound: Array
    undecided: Array
    actual: Array


@dataclass
class TensorHash:
    """The hash of one tensor's values, rounded to a grid of cells, over all samples of a certificate."""

    k: int
    left_out: list[Array] = field(default_factory=list)
    cells: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add_sample(self, output: JudgedOutput, reach: Array, u: Array) -> int:
        """Add a tensor's values in the next sample to its hash; return how many differ in the ONNX file.

        reach: how far its values may be off
        """
        place = output.value.astype(np.float64) * 2.0**self.k + u
        cells = np.floor(place)
        left_out = output.undecided | (np.minimum(place - cells, cells + 1 - place) < reach * 2.0**self.k)
        self.left_out.append(left_out)
        self.cells.update(np.where(left_out, 0, cells).astype("<i8").tobytes())
        return int(np.sum(~left_out & (np.floor(output.actual.astype(np.float64) * 2.0**self.k + u) != cells)))

    def hashed(self) -> Array:
        """Return which values of all samples the hash covers: bool [values]."""
        return ~np.concatenate(self.left_out).ravel()

    def record(self, tensor: str) -> Record:
        places = np.flatnonzero(np.concatenate(self.left_out))
        left_out = np.diff(places, prepend=0).tolist()
        return {"tensor": tensor, "k": self.k, "left_out": left_out, "cells": self.cells.hexdigest()}


def certify(
    proto: onnx.ModelProto, card: Card, graph: Graph, weights: Graph, report: Report, seed: int, **file: str
) -> str:
    """Return the text of the certificate of an ONNX file (one time-step a call) that has passed its parity proof.

    graph    the judging graph: the model as read, or with rounded weights after all passes
    weights  the model as read, with the parameters to hash
    report   fails if the file itself does not give the certified values
    file     the file's name and sha256
    """
    subject = SlicedFile(proto, card, [n.layer for n in graph.neurons])
    bounds = Bounds(graph, HALF if card["precision"] == "fp16" else 0.0)  # some evaluators have kernels of float16
    inputs = {tensor.tensor: tensor for tensor in _input_tensors(graph, card)}
    values = {name: tensor.sample(seed, 0) for name, tensor in inputs.items()}
    step = _bound_step(bounds, values)
    read = {(n.attrs["layer"], n.attrs["variable"]) for n in graph if n.op == "State"}
    for node in graph.neurons:
        if (node.layer, "v") not in read:  # a membrane that other layers read keeps its range
            name = state_input(node.layer)
            inputs[name].rule = _widen_range(node, step, inputs[name].rule)
            values[name] = inputs[name].sample(seed, 0)
    hashes: dict[str, dict[str, TensorHash]] = {}
    for i in range(SAMPLES):
        if i:
            values = {name: tensor.sample(seed, i) for name, tensor in inputs.items()}
            step = _bound_step(bounds, values)
        for output in _output_tensors(step, subject, values):
            # the deviation that the gate allowed this file counts as rounding, too
            reach = np.clip(
                2 * absolute_error(output.actual, output.value), MARGIN * output.bound, MEMBRANE * output.bound
            )
            tensors = hashes.setdefault(output.layer, {})
            tensor_hash = tensors.setdefault(output.tensor, TensorHash(_fraction_bits(reach, output.value.size)))
            if mismatches := tensor_hash.add_sample(
                output, reach, draw_uint16(seed, f"{output.tensor}/{i}", output.value.shape) / 65536
            ):
                problem = (
                    f"{mismatches} of {output.value.size} values of {output.tensor} are not those of a certificate"
                )
                report.fail(output.layer, i, problem)
    params = {f"{n.name}.{key}": np.asarray(v, "<f4") for n in weights for key, v in n.params.items()}
    return _format_json(
        {
            "format": "plif certificate 2",
            "how": HOW,
            "file": file,
            "precision": card["precision"],
            "seed": seed,
            "samples": SAMPLES,
            "given": [{"tensor": t.tensor, "shape": t.shape, **t.rule} for t in inputs.values()],
            "made": [
                {"layer": layer, "tensors": [tensor_hash.record(name) for name, tensor_hash in tensors.items()]}
                for layer, tensors in hashes.items()
            ],
            "share": {
                "values": _round_down(
                    np.concatenate([t.hashed() for tensors in hashes.values() for t in tensors.values()])
                ),
                "weights": min(_round_down(tensor.used(seed)) for tensor in inputs.values()),
            },
            "weights": {name: hashlib.sha256(v.tobytes()).hexdigest() for name, v in params.items()},
        }
    )


def _round_down(covered: Array) -> float:
    """Return the part of an array's values that are true, to four digits."""
    return float(np.floor(1e4 * covered.mean()) / 1e4)


def _fraction_bits(reach: Array, size: int) -> int:
    """Choose the number of fraction bits k to which a certificate rounds a tensor's values before hashing.

    With u drawn, 2 reach 2^k is the probability that a value is left out.
    """
    expected = 2 * SAMPLES * float(reach.sum(dtype=np.float64))
    return min(FINEST, int(np.floor(np.log2(min(LEFT, PART * SAMPLES * size) / expected)))) if expected else FINEST


def _input_tensors(graph: Graph, card: Card) -> Iterator[CertificateInput]:
    """Yield the input tensors of a certificate's test: the input, and the states and spikes of each layer.

    A state after the step is included if another layer reads it.
    """
    anything = {"low": -2.0, "width": 4.0}
    binary = card["framing"] is not None and Framing.parse(card["framing"]).value == "binary"
    counts = {"levels": () if binary else COUNTS, "one_in": SAMPLES - 1}  # the last sample is an empty frame
    yield CertificateInput(graph.input, graph.input_shape, anything if card["input"]["kind"] == "static" else counts)
    read = {(n.attrs["layer"], n.attrs["variable"]) for n in graph if n.op == "State" and n.attrs["when"] == "after"}
    for node in graph.neurons:
        top = float(node.attrs["v_threshold"])
        for variable, start in node.initial.items():
            span = abs(top - start) or 1.0
            rule = {"low": start - 0.5 * span, "width": span * (1.5 if start < top else 2.0)}
            yield CertificateInput(state_input(node.layer, variable), node.shape, rule)
            if (node.layer, variable) in read:
                yield CertificateInput(state_output(node.layer, variable), node.shape, rule)
        spiking = {"levels": (), "one_in": SAMPLES}
        yield CertificateInput(spikes_name(node.layer), node.shape, spiking if node.values == "spikes" else anything)


def _bound_step(bounds: Bounds, fed: dict[str, Array]) -> StepBounds:
    """Return the rounding error bounds of one network step on the given input tensors."""

    def state_at(layer: str, variable: str, when: str) -> Array:
        return fed[(state_input if when == "before" else state_output)(layer, variable)]

    return bounds.step(fed[bounds.input], {layer: fed[spikes_name(layer)] for layer in bounds.neurons}, state_at)


def _states_before(node: Node, step: StepBounds) -> State:
    return {name: step.state_at(node.layer, name, "before") for name in node.initial}


def _widen_range(node: Node, step: StepBounds, rule: Record) -> Record:
    """Widen the range of random membranes so that it has values that make most neurons spike, and stay silent."""
    top = np.full((1, *node.shape), float(node.attrs["v_threshold"]))
    needed = solve_v_for_h(node, step.input_current(node), _states_before(node, step), top)["v"]
    ends = [float(f"{end:.3g}") for end in np.quantile(needed, (0.1, 0.9))]
    low, high = min(rule["low"], ends[0]), max(rule["low"] + rule["width"], ends[1])
    return {"low": low, "width": high - low}


def _output_tensors(step: StepBounds, subject: SlicedFile, fed: dict[str, Array]) -> Iterator[JudgedOutput]:
    """Yield the output tensors of each layer of a network in one step, and its output y."""
    bounds, nodes = step.bounds, step.bounds.neurons
    before = {layer: _states_before(node, step) for layer, node in nodes.items()}
    layer_steps = {
        layer: interpret.step_neuron(node, step.input_current(node), before[layer]) for layer, node in nodes.items()
    }
    expected = {  # other layers read the given state after the step
        layer: {
            0: replace(
                layer_step, after={name: fed.get(state_output(layer, name), v) for name, v in layer_step.after.items()}
            )
        }
        for layer, layer_step in layer_steps.items()
    }
    y = step.value(bounds.output)
    fired, states = {layer: [s] for layer, s in step.fired.items()}, {layer: [state] for layer, state in before.items()}
    answer = subject.run_forced(Case(step.x[None], fired, states, expected, y[None]))
    for layer, node in nodes.items():
        layer_step, observed, bound = (
            layer_steps[layer],
            answer.layers[layer][0],
            step.neuron_bound(layer, before[layer]),
        )
        edge = near_threshold(layer_step, float(node.attrs["v_threshold"]), replace(bound, h=MARGIN * bound.h))
        s_bound = np.zeros(1) if node.values == "spikes" else step.measure(node.name).bound()
        assert observed.s is not None and observed.h is not None, "a file shows both"
        yield JudgedOutput(
            layer, spikes_name(layer), layer_step.s, s_bound, edge, observed.s.reshape(layer_step.s.shape)
        )
        yield JudgedOutput(layer, subject.h_tensor(layer, 0), layer_step.h, bound.h, np.zeros(1, bool), observed.h)
        for name, v in layer_step.after.items():
            yield JudgedOutput(layer, state_output(layer, name), v, bound.after[name], edge, observed.after[name])
    yield JudgedOutput("output", "y", y, step.output_bound(), np.zeros(1, bool), answer.y[0])


def _format_json(record: Record) -> str:
    """Format a certificate as JSON, one line per member; the last line is the hash of the bytes before it."""
    text = json.dumps(record, separators=(",", ":"))
    for mark in ('{"tensor":', '{"layer":', '"how":', '"file":', '"given":', '"made":', '"share":', '"weights":{"'):
        text = text.replace(mark, "\n" + mark)
    head = text[:-1] + ",\n"
    return f'{head}"sha256":"{hashlib.sha256(head.encode()).hexdigest()}"}}\n'
