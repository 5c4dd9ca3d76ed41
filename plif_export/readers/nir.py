"""A NIR file (neuromorphic intermediate representation, github.com/neuromorphs/NIR) -> SNN graph.

NIR's neurons are differential equations. A network of time-steps needs a step dt, which NIR files do not hold. With
forward Euler and k = dt / tau (runtime/model/neurons.py: NIR-IF, NIR-LIF, NIR-CubaLIF):

    LIF      h = v + k (v_leak - v + R x)        s = h > v_threshold        v = v_reset where s

dt     1e-4, what snnTorch and SpikingJelly write with; Norse 1e-3; sinabs counts in steps: 1
fire   ">" as NIR says, or ">=" as SpikingJelly means it: they differ where a membrane lands on the threshold exactly
reset  "value" (v_reset) as NIR says, or "subtract": NIR cannot express it, and a library that subtracts writes v_reset 0

Edges into one node add up. Recurrent connections, delays, nodes without spikes (LI, I, CubaLI, Threshold) and nested
graphs are refused. There is no module to compare with, so the artifact is proved against the NumPy interpreter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from plif_export.options import CallerFacts
from plif_export.proof.reference import GraphReference
from plif_export.readers.facts import ModelFacts, TrainedModel
from plif_export.readers.layers import conv_attrs, one_number, padding_sizes, plain
from plif_export.readers.rules import Problem, Unsupported, require
from runtime.base.errors import MissingExtra, PlifError
from runtime.model.card import Card, read_card
from runtime.model.graph import Graph, Node, Shape, spatial

DT = 1e-4
NODES = "Affine, Linear, Scale, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten, IF, LIF, CubaLIF"


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
    return TrainedModel(graph, GraphReference(graph), ModelFacts.from_caller(caller, graph), sha256, notes=[note])


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
    return _Reader(_open(path), float(dt), fire, reset, path).read()


def _number(value: Any) -> float:
    return float(value) if isinstance(value, float | int) else 0.0


def _open(path: Path) -> Any:
    try:
        import nir
    except ImportError:
        raise MissingExtra("reading a NIR file", "nir") from None
    try:
        return nir.read(path, type_check=False)
    except Exception as error:  # h5py and nir raise many kinds
        reason = " ".join(str(error).split())[:160]
        raise PlifError(f"{path}: not a NIR file, or damaged ({reason}); expected one of nir.write") from None


class _Reader:
    def __init__(self, source: Any, dt: float, fire: str, reset: str, path: Path) -> None:
        self.source, self.dt, self.fire, self.reset, self.path = source, dt, fire, reset, path
        self.problems: list[Problem] = []
        self.nodes: list[Node] = []
        self.outputs: dict[str, tuple[str, Shape]] = {}  # NIR name -> our node, shape without the batch

    def read(self) -> tuple[Graph | None, list[Problem]]:
        inputs = [name for name, node in self.source.nodes.items() if _kind(node) == "Input"]
        outputs = [name for name, node in self.source.nodes.items() if _kind(node) == "Output"]
        if len(inputs) != 1 or len(outputs) != 1:
            raise PlifError(f"{self.path}: {len(inputs)} inputs and {len(outputs)} outputs; expected one of each")
        shape = self._input_shape(inputs[0])
        self.outputs[inputs[0]] = ("x", shape)
        for name in self._order():
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
        found = next(iter(self.source.nodes[name].input_type.values()))
        if found is None or not np.size(found):
            raise PlifError(f"{self.path}: its input has no shape; write it again with one")
        return tuple(int(n) for n in np.asarray(found).ravel())

    def _order(self) -> list[str]:
        """The names of the nodes, each after its inputs. Nodes in a loop, or behind one, are entered as problems."""
        before: dict[str, list[str]] = {name: [] for name in self.source.nodes}
        for a, b in self.source.edges:
            before[b].append(a)
        self.before = before
        order: list[str] = []
        todo = dict(before)
        while todo:
            ready = [name for name, needs in todo.items() if all(need in order for need in needs)]
            if not ready:
                for name in todo:
                    rule = "it is part of a recurrent connection"
                    self.problems.append(Problem(name, _kind(self.source.nodes[name]), rule, "use feed-forward layers"))
                break
            for name in ready:
                order.append(name)
                del todo[name]
        return order

    def _read(self, name: str) -> None:
        node = self.source.nodes[name]
        try:
            sources = [self.outputs[need] for need in self.before[name]]
            require(bool(sources), "nothing leads to it", "connect it, or leave it out")
            x, shape = sources[0]
            if len(sources) > 1:
                require(all(s == shape for _, s in sources), "inputs of different shapes", "give them one shape")
                x = self._add(f"{name}_sum", "Add", tuple(s for s, _ in sources), shape)
            if _kind(node) == "Output":
                self.outputs[name] = (x, shape)
                return
            reader = getattr(self, f"_{_kind(node).lower()}", None)
            if reader is None:
                raise Unsupported("this node is not exported", f"use {NODES}")
            self.outputs[name] = reader(name.replace(".", "_"), node, x, shape)
        except Unsupported as problem:
            self.problems.append(Problem(name, _kind(node), problem.rule, problem.advice))
            self.outputs[name] = self.outputs[self.before[name][0]] if self.before[name] else ("x", ())

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
        scale = _collapsed(node.scale, shape, "scale")
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

    def _neuron(
        self, name: str, node: Any, x: str, shape: Shape, kind: str, params: dict[str, Any], **attrs: Any
    ) -> tuple[str, Shape]:
        arrays = {key: _collapsed(value, shape, key) for key, value in params.items() if value is not None}
        v_reset = None if self.reset == "subtract" else one_number(node.v_reset, "v_reset")
        threshold = one_number(node.v_threshold, "v_threshold")
        common = {"kind": kind, "layer": name, "v_threshold": threshold, "v_reset": v_reset, "fire": self.fire}
        return self._add(f"{name}_neuron", "Neuron", (x,), shape, {**common, **attrs}, arrays), shape

    def _if(self, name: str, node: Any, x: str, shape: Shape) -> tuple[str, Shape]:
        gain = _unless_one(np.asarray(node.r, np.float64) * self.dt)
        return self._neuron(name, node, x, shape, "NIR-IF", {"gain": gain})

    def _lif(self, name: str, node: Any, x: str, shape: Shape) -> tuple[str, Shape]:
        params = {"k": self._k(node.tau, "tau"), "r": _unless_one(node.r)}
        return self._neuron(name, node, x, shape, "NIR-LIF", params, v_leak=one_number(node.v_leak, "v_leak"))

    def _cubalif(self, name: str, node: Any, x: str, shape: Shape) -> tuple[str, Shape]:
        k_syn = self._k(node.tau_syn, "tau_syn")
        params = {
            "k": self._k(node.tau_mem, "tau_mem"),
            "k_syn": k_syn,
            "r": _unless_one(node.r),
            "gain": _unless_one(k_syn * np.asarray(node.w_in, np.float64)),
        }
        return self._neuron(name, node, x, shape, "NIR-CubaLIF", params, v_leak=one_number(node.v_leak, "v_leak"))

    def _k(self, tau: Any, name: str) -> np.ndarray:
        k = self.dt / np.asarray(tau, np.float64)
        fits = bool(np.all((k > 0) & (k <= 1 + 1e-6)))
        require(fits, f"{name} is below the time-step dt={self.dt:g}", "say the dt of the network: --neuron dt=...")
        return k


def _kind(node: Any) -> str:
    return type(node).__name__


def _sizes(value: Any, dims: int) -> tuple[int, ...]:
    flat = [int(v) for v in np.asarray(value).ravel()]
    return spatial(flat[0] if len(flat) == 1 else flat, dims)


def _unless_one(value: Any) -> np.ndarray | None:
    """None for a factor of 1, up to the rounding of a quotient."""
    values = np.asarray(value, np.float64)
    return None if np.allclose(values, 1, rtol=1e-6, atol=0) else values


def _collapsed(value: Any, shape: Shape, name: str) -> np.ndarray:
    """float32: [] where all values are equal, [C] where they differ by channel only, else one per neuron."""
    values = np.asarray(value, np.float64)
    if values.size and np.all(values == values.flat[0]):
        return np.array(values.flat[0], np.float32)
    if values.shape == shape and len(shape) > 1:
        flat = values.reshape(shape[0], -1)
        if np.all(flat == flat[:, :1]):
            return flat[:, 0].astype(np.float32)
    fits = values.shape in (shape, shape[:1])
    require(fits, f"its {name} has shape {list(values.shape)} for neurons {list(shape)}", "give one per neuron")
    return values.astype(np.float32)
