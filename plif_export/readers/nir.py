"""A NIR file (neuromorphic intermediate representation, github.com/neuromorphs/NIR) -> SNN graph.

NIR's neurons are differential equations. A network of time-steps needs a step dt, which NIR files do not hold. With
forward Euler and k = dt / tau (runtime/model/neurons.py: NIR-IF, NIR-LIF, NIR-CubaLIF):

    LIF      h = v + k (v_leak - v + R x)        s = h > v_threshold        v = v_reset where s

dt     1e-4, what snnTorch and SpikingJelly write with; Norse 1e-3; sinabs counts in steps: 1
fire   ">" as NIR says, or ">=" as SpikingJelly means it: they differ where a membrane lands on the threshold exactly
reset  "value" (v_reset) as NIR says, or "subtract": NIR cannot express it, and a library that subtracts writes v_reset 0

Edges into one node add up. Nested graphs are opened, and spikes that come back arrive one step later (nir_order.py); all kinds
of neurons are in nir_neurons.py. There is no module to compare with, so the artifact is proved against the NumPy interpreter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from plif_export.options import CallerFacts
from plif_export.proof.reference import GraphReference
from plif_export.readers.facts import ModelFacts, TrainedModel
from plif_export.readers.layers import conv_attrs, padding_sizes, plain
from plif_export.readers.nir_neurons import NEURONS, Settings, collapsed, neuron
from plif_export.readers.nir_order import opened, ordered
from plif_export.readers.rules import Problem, Unsupported, require
from runtime.base.errors import MissingExtra, PlifError
from runtime.base.hdf5 import open_hdf5
from runtime.model.card import Card, read_card
from runtime.model.graph import Graph, Node, Shape, spatial

DT = 1e-4
NODES = f"Affine, Linear, Scale, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten, {', '.join(NEURONS)}"


def read_nir(path: Path, caller: CallerFacts, sha256: str | None) -> TrainedModel:
    """The graph of a NIR file. Raises PlifError with the first problem."""
    options = caller.neuron
    card = own_card(path)
    graph, problems = examine_nir(path, **options)
    if problems:
        error = problems[0].error(len(problems) - 1)
        raise PlifError(f"{path}: {error}")
    assert graph is not None
    said = {**card.get("nir", {}), **options}
    whose = "is what its card says" if "dt" in card.get("nir", {}) and "dt" not in options else "was taken"
    note = f"NIR has no time-step: dt={_number(said.get('dt', DT)):g} s {whose}; --neuron dt=... says another"
    if card:  # plif wrote the file: what the caller does not say, its card does
        caller = CallerFacts(
            classes=caller.classes or (tuple(card["classes"]) if card.get("classes_named", True) else None),
            framing=caller.framing or card["framing"],
            kind=caller.kind or card["input"]["kind"],
            T=caller.T or card["T"],
        )
    silent = (
        f"dt={_number(said.get('dt', DT)):g} s and reset {said.get('reset', 'value')} {whose.removeprefix('was ')} for this NIR "
        "file: SpikingJelly and snnTorch write for dt=1e-4, Norse for 1e-3, sinabs for 1 and for reset=subtract; say which: "
        "--neuron dt=...,reset=..."
    )
    facts = ModelFacts.from_caller(caller, graph)
    return TrainedModel(graph, GraphReference(graph), facts, sha256, notes=[note], if_silent=silent)


def own_card(path: Path) -> Card:
    """The card of a file that plif wrote; empty for those of others."""
    try:
        return read_card(path)
    except PlifError:
        return {}


def examine_nir(path: Path, **options: Any) -> tuple[Graph | None, list[Problem]]:
    """The graph, None where a problem was found, and every problem.

    options  dt, fire, reset; where one is left out, the file's plif card says it, or else NIR's own meaning holds
    """
    said = own_card(path).get("nir", {})
    said = {**(said if isinstance(said, dict) else {}), **options}
    dt, fire, reset = said.pop("dt", DT), said.pop("fire", ">"), said.pop("reset", "value")
    if said:
        raise PlifError(f"--neuron {next(iter(said))}: for a NIR file expected some of dt, fire, reset")
    fire = {"gt": ">", "ge": ">="}.get(str(fire), str(fire))
    if fire not in (">", ">=") or reset not in ("value", "subtract") or not _number(dt) > 0:
        raise PlifError("--neuron: expected dt=SECONDS, fire=gt or ge, reset=value or subtract")
    try:
        return _Reader(_open(path), float(dt), fire, reset, path).read()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        what = " ".join(str(error).split())[:100]
        raise PlifError(f"{path}: its nodes cannot be read ({type(error).__name__}: {what}); damaged?") from None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, float | int) else 0.0


def _open(path: Path) -> Any:
    try:
        import nir
    except ImportError:
        raise MissingExtra("reading a NIR file", "nir") from None
    with open_hdf5(path, "a NIR file") as file:
        graph = nir.read(file.id, type_check=False)  # the file that was looked at, opened once
    strangers = sorted({end for edge in graph.edges for end in edge} - set(graph.nodes))
    if strangers:
        raise PlifError(f"{path}: an edge leads to {strangers[0]}, which is none of its nodes; the file was damaged")
    return graph


class _Reader:
    def __init__(self, source: Any, dt: float, fire: str, reset: str, path: Path) -> None:
        self.graph, self.path = source, path
        self.settings = Settings(dt, fire, reset)
        self.problems: list[Problem] = []
        self.nodes: list[Node] = []
        self.kept: dict[str, tuple[str, Shape]] = {}  # layer -> the State node of what it fired last
        self.outputs: dict[str, tuple[str, Shape]] = {}  # NIR name -> our node, shape without the batch

    def read(self) -> tuple[Graph | None, list[Problem]]:
        inputs = [name for name, node in self.graph.nodes.items() if _kind(node) == "Input"]
        outputs = [name for name, node in self.graph.nodes.items() if _kind(node) == "Output"]
        if len(inputs) != 1 or len(outputs) != 1:
            raise PlifError(f"{self.path}: {len(inputs)} inputs and {len(outputs)} outputs; expected one of each")
        shape = self._input_shape(inputs[0])
        try:
            self.source, edges = opened(self.graph.nodes, self.graph.edges)
        except Unsupported as problem:
            return None, [Problem(str(self.path), "NIRGraph", problem.rule, problem.advice)]
        for name, node in self.source.items():
            for key, value in vars(node).items():
                if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
                    raise PlifError(f"{self.path}: {key} of {name} has numbers that are NaN or infinite")
        self.order = ordered(self.source, edges, inputs[0])
        if self.order.problems:
            return None, self.order.problems
        self.outputs[inputs[0]] = ("x", shape)
        for a, _ in sorted(self.order.delayed):
            self._one_step_before(a)
        for name in self.order.names:
            if name not in self.outputs:
                self._read(name)
        if self.problems:
            return None, self.problems
        output = self.outputs[outputs[0]][0]
        if len(self.outputs[outputs[0]][1]) != 1:
            rule = f"the network ends with a map {list(self.outputs[outputs[0]][1])}"
            return None, [Problem(outputs[0], "Output", rule, "end with a vector: a Flatten and an Affine")]
        return Graph(shape, tuple(self.nodes), output), []

    def _input_shape(self, name: str) -> Shape:
        found = next(iter(self.graph.nodes[name].input_type.values()))
        if found is None or not np.size(found):
            raise PlifError(f"{self.path}: its input has no shape; write it again with one")
        return tuple(int(n) for n in np.asarray(found).ravel())

    def _read(self, name: str) -> None:
        node, before = self.source[name], self.order.before[name]
        try:
            delayed = [(need, name) in self.order.delayed for need in before]
            sources = [
                self._one_step_before(need) if late else self.outputs[need]
                for need, late in zip(before, delayed, strict=True)
            ]
            require(bool(sources), "nothing leads to it", "connect it, or leave it out")
            x, shape = sources[0]
            if len(sources) > 1:
                require(all(s == shape for _, s in sources), "inputs of different shapes", "give them one shape")
                x = self._add(f"{name.replace('.', '_')}_sum", "Add", tuple(s for s, _ in sources), shape)
            if _kind(node) in ("Input", "Output"):  # those of a nested graph, too
                self.outputs[name] = (x, shape)
                return
            reader = getattr(self, f"_{_kind(node).lower()}", None)
            if reader is None:
                raise Unsupported("this node is not exported", f"use {NODES}")
            self.outputs[name] = reader(name.replace(".", "_"), node, x, shape)
        except Unsupported as problem:
            self.problems.append(Problem(name, _kind(node), problem.rule, problem.advice))
            self.outputs[name] = self.outputs.get(before[0], ("x", ())) if before else ("x", ())

    def _add(
        self,
        name: str,
        op: str,
        inputs: tuple[str, ...],
        shape: Shape,
        attrs: dict[str, Any] | None = None,
        params: dict[str, np.ndarray] | None = None,
    ) -> str:
        name = {"x": "x_1", "y": "y_1"}.get(name, name)  # those are the graph's own
        self.nodes.append(Node(name, op, inputs, shape, attrs or {}, params or {}))
        return name

    # --- layers ---------------------------------------------------------------------------------------------------------

    def _affine(self, name: str, node: Any, x: str, shape: Shape) -> tuple[str, Shape]:
        weight = np.asarray(node.weight, np.float32)
        require(len(shape) == 1, f"a {_kind(node)} over a map {list(shape)}", "put a Flatten before it")
        require(
            weight.ndim == 2 and weight.shape[1] == shape[0],
            f"weights {list(weight.shape)} over {list(shape)}",
            "check it",
        )
        params = {"weight": weight}
        if getattr(node, "bias", None) is not None:
            params["bias"] = np.asarray(node.bias, np.float32).reshape(-1)
        out: Shape = (weight.shape[0],)
        return self._add(name, "Linear", (x,), out, {}, params), out

    _linear = _affine

    def _scale(self, name: str, node: Any, x: str, shape: Shape) -> tuple[str, Shape]:
        scale = collapsed(node.scale, shape, "scale")
        return self._add(name, "Affine", (x,), shape, {}, {"scale": scale, "shift": np.zeros_like(scale)}), shape

    def _conv2d(self, name: str, node: Any, x: str, shape: Shape) -> tuple[str, Shape]:
        weight = np.asarray(node.weight, np.float32)
        dims = weight.ndim - 2
        require(len(shape) == dims + 1, f"a {_kind(node)} over {list(shape)}", "give it an input of channels and space")
        stride, dilation = (_sizes(value, dims) for value in (node.stride, node.dilation))
        padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
        pads = _sizes(padding_sizes(padding, dilation, weight.shape[2:]), dims)
        out = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, p, s, d in zip(shape[1:], weight.shape[2:], pads, stride, dilation, strict=True)
        )
        attrs = conv_attrs(stride, pads, node.groups, dilation, dims)
        params = {"weight": weight}
        if node.bias is not None and np.any(node.bias):
            params["bias"] = np.asarray(node.bias, np.float32).reshape(-1)
        whole = (weight.shape[0], *out)
        return self._add(name, "Conv", (x,), whole, attrs, params), whole

    _conv1d = _conv2d

    def _avgpool2d(self, name: str, node: Any, x: str, shape: Shape) -> tuple[str, Shape]:
        require(len(shape) == 3, f"a {_kind(node)} over {list(shape)}", "give it an input of channels and space")
        kernel, stride, padding = (_sizes(value, 2) for value in (node.kernel_size, node.stride, node.padding))
        out = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True))
        attrs = {"kernel": plain(kernel, 2), "stride": plain(stride, 2)}
        if any(padding):
            attrs["padding"] = plain(padding, 2)
        whole = (shape[0], *out)
        return self._add(name, "AvgPool", (x,), whole, attrs), whole

    def _sumpool2d(self, name: str, node: Any, x: str, shape: Shape) -> tuple[str, Shape]:
        """The mean times the window's size."""
        mean, out = self._avgpool2d(f"{name}_mean", node, x, shape)
        size = np.array(np.prod(_sizes(node.kernel_size, 2)), np.float32)
        return self._add(name, "Affine", (mean,), out, {}, {"scale": size, "shift": np.zeros_like(size)}), out

    def _flatten(self, name: str, node: Any, x: str, shape: Shape) -> tuple[str, Shape]:
        start, end = int(node.start_dim), int(node.end_dim)
        whole = start in (0, -len(shape)) and end in (-1, len(shape) - 1)
        require(whole or len(shape) == 1, f"it flattens axes {start} to {end} of {list(shape)}", "flatten all axes")
        out: Shape = (int(np.prod(shape)),)
        return (x, shape) if len(shape) == 1 else (self._add(name, "Flatten", (x,), out), out)

    # --- neurons --------------------------------------------------------------------------------------------------------

    def _neuron(self, name: str, node: Any, x: str, shape: Shape) -> tuple[str, Shape]:
        attrs, params = neuron(node, shape, self.settings, keeps=name in self.kept)
        return self._add(f"{name}_neuron", "Neuron", (x,), shape, {**attrs, "layer": name}, params), shape

    _i = _if = _li = _lif = _cubali = _cubalif = _threshold = _delay = _neuron

    def _one_step_before(self, name: str) -> tuple[str, Shape]:
        """What a neuron fired in the step before, as a node of its own; its shape is that of its thresholds."""
        node, layer = self.source[name], name.replace(".", "_")
        shape = np.shape(node.threshold if _kind(node) == "Threshold" else node.v_threshold)
        attrs = {"layer": layer, "variable": "last", "when": "before"}
        if layer not in self.kept:
            self.kept[layer] = self._add(f"{layer}_last", "State", (), shape, attrs), shape
        return self.kept[layer]


def _kind(node: Any) -> str:
    return type(node).__name__


def _sizes(value: Any, dims: int) -> tuple[int, ...]:
    flat = [int(v) for v in np.asarray(value).ravel()]
    return spatial(flat[0] if len(flat) == 1 else flat, dims)
