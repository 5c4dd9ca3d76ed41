"""The card's graph -> the list of operations that the native kernels run (runtime/native/event.h).

Values between layers are either spikes, packed as bits, or floats; both keep the channels of a pixel together. A
convolution or linear layer reads a *stream* (lists of nonzero inputs), made once for all its readers. The neuron that alone
reads a convolution is fused with it; everything else is an operation of its own, right for any order of layers. Every
shape is checked here, since the kernels check nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from runtime import native
from runtime.base.errors import PlifError
from runtime.engines.event import conv as event_conv
from runtime.engines.event.layout import Layout, Shape3, Value, aligned, as_map, blocks, lanes
from runtime.native import FROM_FLOATS, FROM_SPIKES, FROM_X, Op

Record = Mapping[str, Any]

# Share of spikes in a row of a map from which multiplying all of it is faster (measured: docs/event-engine.md). Adding up is
# close to what the load ports can do, so this is late: with AVX2 the two meet only where nearly everything fires.
DENSE_FROM = {"scalar": 2.0, "avx2": 0.95, "avx512": 0.7, "neon": 0.95, "amx": 0.7}


class Compiler:
    """Compiles one graph. `where` begins every error; `weights` are the artifact's initializers by name."""

    def __init__(
        self, card: Record, weights: Mapping[str, np.ndarray], where: str, rates: bool, threads: int, path: str
    ) -> None:
        self.card, self.weights, self.where, self.rates, self.threads = card, weights, where, rates, threads
        # zero times infinity is no zero: a file with such a weight is only ever added up
        finite = all(np.isfinite(w).all() for w in weights.values() if w.dtype == np.float32)
        self.dense_from = DENSE_FROM[path] if finite else 2.0
        self.path = path
        self.out = Layout()
        self.values: dict[str, Value] = {}
        self.waiting: dict[str, Record] = {}  # convolutions whose neuron is still to come
        self.streams: dict[tuple[int, ...], dict[str, Any]] = {}
        self.states = {state["layer"]: i for i, state in enumerate(card["states"])}
        self.nodes: list[Record] = card["graph"]["nodes"]

    def compile(self) -> Layout:
        graph = self.card["graph"]
        for node in self.nodes:
            if (foreign := not_here(node)) is not None:
                raise self.refuse(node, f"{foreign} is not in this engine")
        self.values[graph["input"]] = Value(FROM_X, as_map(self.card["input"]["shape"]))
        for node in self.nodes:
            make = MAKERS.get(node["op"])
            if make is None:
                raise self.refuse(node, f"operation {node['op']} is not in this engine")
            strangers = [name for name in node["inputs"] if name not in self.values and name not in self.waiting]
            if strangers or not node["inputs"]:
                raise PlifError(f"{self.where}: layer {node['name']} reads {strangers or 'nothing'}; export it again")
            made = make(self, node)
            if made is not None:
                self.values[node["name"]] = made
                if not made.flat and made.map != as_map(node["shape"]):
                    raise PlifError(
                        f"{self.where}: layer {node['name']} gives {list(made.map)}, its card says {node['shape']}; "
                        "export it again"
                    )
        self.finish(graph["output"])
        return self.out

    # --- helpers --------------------------------------------------------------------------------------------------

    def refuse(self, node: Record, why: str) -> PlifError:
        return PlifError(f"{self.where}: layer {node['name']}: {why}; use --engine onnxruntime")

    def consumers(self, name: str) -> list[Record]:
        return [node for node in self.nodes if name in node["inputs"]]

    def tensor(self, node: Record, key: str) -> tuple[str, np.ndarray]:
        """An initializer of the file, of any type, and its name."""
        name = node["params"][key]
        if key == "alpha" and node["attrs"]["charge"] == "folded":
            name = f"{node['name']}.one_minus_alpha"  # what the file holds in its place
        if name not in self.weights:
            raise PlifError(f"{self.where}: layer {node['name']}: the file has no tensor {name}; export it again")
        return name, self.weights[name]

    def parameter(self, node: Record, key: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """A float32 initializer; with `shape`, exactly of that shape."""
        name, value = self.tensor(node, key)
        if value.dtype != np.float32:
            raise self.refuse(node, f"{name} is {value.dtype}; this engine computes in float32")
        if shape is not None and value.shape != shape:
            raise PlifError(
                f"{self.where}: layer {node['name']}: {name} is {list(value.shape)}; expected {list(shape)}; "
                "export it again"
            )
        return value

    def per_lane(self, node: Record, key: str, channels: int, fill: float = 0.0) -> np.ndarray:
        """A scalar or one number per channel -> one number per lane."""
        value = self.parameter(node, key).reshape(-1)
        if value.size not in (1, channels):
            raise PlifError(
                f"{self.where}: layer {node['name']}: {key} has {value.size} numbers; expected 1 or {channels}; export it again"
            )
        out = aligned((lanes(channels),))
        out[:] = fill
        out[:channels] = value
        return out

    def place(self, size: int) -> int:
        """Room in the arena, in bytes."""
        at = self.out.arena
        self.out.arena += -(-(size + 64) // 64) * 64
        return at

    def spikes_at(self, shape: Shape3) -> Value:
        c, h, w = shape
        return Value(FROM_SPIKES, shape, self.place(h * w * blocks(c) * 8), most=1)

    def floats_at(self, shape: Shape3, most: int | None = None, area: int = 1) -> Value:
        c, h, w = shape
        return Value(FROM_FLOATS, shape, self.place(h * w * lanes(c) * 4), most=most, area=area)

    def emit(self, kind: str, source: Value, target: Value | None, **fields: Any) -> None:
        op = Op(
            kind=native.KINDS.index(kind),
            from_=source.kind,
            in_=source.at,
            in2=-1,
            values=-1,
            dense=-1,
            state=-1,
            stride=1,
        )
        op.ic, op.ih, op.iw = source.map
        if target is not None:
            op.oc, op.oh, op.ow = target.map
            op.out = target.at
        op.items = op.oh if target is not None else 1
        for key, value in fields.items():
            if isinstance(value, np.ndarray):
                self.out.keep.append(value)
                value = value.ctypes.data
            setattr(op, key, value)
        # sharing out costs about a microsecond; what is done in less stays with one thread
        op.parallel = int(op.items > 1 and (kind == "CONV" or op.items * op.ow * lanes(op.oc) > 1 << 15))
        self.out.ops.append(op)

    def value(self, node: Record, which: int = 0) -> Value:
        return self.values[node["inputs"][which]]

    def floats(self, source: Value) -> Value:
        """The value as floats that lie as their shape says."""
        if source.kind == FROM_SPIKES or source.kind == FROM_X:
            target = self.floats_at(source.map)
            self.emit("UNPACK" if source.kind == FROM_SPIKES else "LOAD", source, target)
            source = Value(FROM_FLOATS, source.map, target.at, source.flat, source.most, source.area)
        if source.flat:
            target = self.floats_at((int(np.prod(source.map)), 1, 1), source.most, source.area)
            self.emit("FLATTEN", source, target, items=1)
            source = target
        return source

    # --- layers ---------------------------------------------------------------------------------------------------

    def conv(self, node: Record) -> Value | None:
        readers = self.consumers(node["name"])
        if len(readers) == 1 and readers[0]["op"] == "Neuron" and node["name"] != self.card["graph"]["output"]:
            self.waiting[node["name"]] = node
            return None
        return self.convolution(node, None)

    def convolution(self, node: Record, neuron: Record | None) -> Value:
        return event_conv.convolution(self, node, neuron)

    def neuron(self, node: Record) -> Value:
        before = self.waiting.pop(node["inputs"][0], None)
        if before is not None:
            return self.convolution(before, node)
        source = self.floats(self.value(node))
        return self.fire(node, "NEURON", source, {})

    def fire(self, node: Record, kind: str, source: Value, common: dict[str, Any]) -> Value:
        a, layer = node["attrs"], node["attrs"]["layer"]
        shape = as_map(node["shape"])
        if layer not in self.states or as_map(self.card["states"][self.states[layer]]["shape"]) != shape:
            raise PlifError(f"{self.where}: layer {node['name']}: no state of shape {node['shape']}; export it again")
        if kind == "NEURON" and source.map != shape:
            raise PlifError(
                f"{self.where}: layer {node['name']} reads {list(source.map)}, its card says {node['shape']}; export it again"
            )
        if a["charge"] not in ("exact", "folded"):
            raise self.refuse(node, f"charge '{a['charge']}' is not in this engine")
        if "alpha" not in node["params"]:
            charge, alpha = native.CHARGE_IF, aligned((lanes(shape[0]),))
        else:
            alpha = self.per_lane(node, "alpha", shape[0])
            charge = native.CHARGE_EXACT if a["decay_input"] else native.CHARGE_NO_DECAY_INPUT
            if a["charge"] == "folded":
                charge = native.CHARGE_FOLDED
        target = self.spikes_at(shape)
        self.emit(
            kind,
            source,
            target,
            charge=charge,
            alpha=alpha,
            soft=int(a["v_reset"] is None),
            state=self.states[layer],
            v_threshold=float(a["v_threshold"]),
            v_reset=0.0 if a["v_reset"] is None else float(a["v_reset"]),
            **common,
        )
        self.out.spikes[layer] = (target.at, shape)
        if self.rates:
            self.emit("RATE", target, None, state=self.states[layer])
        return target

    def pool(self, node: Record) -> Value:
        source = self.value(node)
        kernel, stride = int(node["attrs"]["kernel"]), int(node["attrs"]["stride"])
        c, h, w = source.map
        if not (0 < kernel <= min(h, w)) or stride < 1 or source.flat:
            raise PlifError(
                f"{self.where}: layer {node['name']}: kernel {kernel}, stride {stride} on a map {[c, h, w]}; export it again"
            )
        shape = (c, (h - kernel) // stride + 1, (w - kernel) // stride + 1)
        if node["op"] == "MaxPool" and source.kind == FROM_SPIKES:
            target, kind = self.spikes_at(shape), "SPIKE_POOL"
        else:
            kind = "MAX_POOL" if node["op"] == "MaxPool" else "AVG_POOL"
            source = self.floats(source)
            size = kernel * kernel if kind == "AVG_POOL" else 1
            target = self.floats_at(shape, source.most and source.most * size, source.area * size)
        self.emit(kind, source, target, kh=kernel, kw=kernel, stride=stride)
        return target

    def affine(self, node: Record) -> Value:
        source = self.floats(self.value(node))
        channels = source.map[0]
        target = self.floats_at(source.map)
        self.emit(
            "AFFINE",
            source,
            target,
            weight=self.per_lane(node, "scale", channels),
            bias=self.per_lane(node, "shift", channels),
        )
        return target

    def add(self, node: Record) -> Value:
        parts = [self.floats(self.value(node, i)) for i in range(len(node["inputs"]))]
        if len({part.map for part in parts}) != 1:
            raise self.refuse(node, f"adds maps of different shapes {[list(part.map) for part in parts]}")
        total = parts[0]
        for part in parts[1:]:
            most = total.most + part.most if total.most and part.most and total.area == part.area else None
            target = self.floats_at(total.map, most, total.area)
            self.emit("ADD", total, target, in2=part.at)
            total = target
        return total

    def flatten(self, node: Record) -> Value:
        source = self.value(node)
        size = int(np.prod(source.map))
        if list(node["shape"]) != [size]:
            raise PlifError(
                f"{self.where}: layer {node['name']} gives [{size}], its card says {node['shape']}; export it again"
            )
        flat = Value(source.kind, source.map, source.at, source.map[1:] != (1, 1), source.most, source.area)
        if all(reader["op"] == "Linear" for reader in self.consumers(node["name"])):
            return flat if self.card["graph"]["output"] != node["name"] else self.floats(flat)
        return self.floats(flat)

    def vote(self, node: Record) -> Value:
        source = self.readable(self.value(node))
        voters, classes = int(node["attrs"]["voters"]), int(node["shape"][0])
        if voters < 1 or source.map != (classes * voters, 1, 1):
            raise PlifError(
                f"{self.where}: layer {node['name']}: {voters} voters for {classes} classes, from {list(source.map)}; "
                "export it again"
            )
        if self.card["graph"]["output"] == node["name"]:
            self.emit("VOTE", source, Value(FROM_FLOATS, (classes, 1, 1), -1), voters=voters, items=1)
            return Value(FROM_FLOATS, (classes, 1, 1), -1)
        target = self.floats_at((classes, 1, 1))
        self.emit("VOTE", source, target, voters=voters, items=1)
        return target

    def readable(self, source: Value) -> Value:
        """Spikes or floats in the order of their shape, for a layer that reads either."""
        return self.floats(source) if source.kind == FROM_X or source.flat else source

    def dropout(self, node: Record) -> Value:
        return self.value(node)  # identity after training

    def finish(self, name: str) -> None:
        if self.waiting:
            raise PlifError(
                f"{self.where}: layer {next(iter(self.waiting))} feeds a neuron that never comes; export it again"
            )
        if name not in self.values:
            raise PlifError(f"{self.where}: its output '{name}' is not one of its layers; export it again")
        value = self.values[name]
        classes = len(self.card["classes"])
        if value.map != (classes, 1, 1):
            raise PlifError(
                f"{self.where}: its output is {list(value.map)} for {classes} classes; use --engine onnxruntime"
            )
        if value.at >= 0:
            self.emit("OUTPUT", value, Value(FROM_FLOATS, value.map, -1), items=1)


MAKERS: dict[str, Callable[[Compiler, Record], Value | None]] = {
    "Conv": Compiler.conv,
    "Linear": Compiler.conv,
    "Neuron": Compiler.neuron,
    "MaxPool": Compiler.pool,
    "AvgPool": Compiler.pool,
    "Affine": Compiler.affine,
    "Add": Compiler.add,
    "Flatten": Compiler.flatten,
    "Dropout": Compiler.dropout,
    "Vote": Compiler.vote,
}


def not_here(node: Record) -> str | None:
    """What a node of an operation that is known asks for beyond what the kernels do; other libraries' networks may."""
    op, a = node["op"], node["attrs"]
    if op == "Neuron" and a.get("kind") not in ("IF", "LIF", "PLIF"):
        return f"neuron kind {a.get('kind')}"
    for key in ("kernel", "stride", "padding", "dilation"):
        if isinstance(a.get(key), list):
            return f"{key} {a[key]}, one for each axis,"
    if a.get("dilation", 1) != 1:
        return f"dilation {a['dilation']}"
    if op in ("MaxPool", "AvgPool") and a.get("padding", 0) != 0:
        return f"a pool with padding {a['padding']}"
    if op in ("Conv", "MaxPool", "AvgPool") and len(node["shape"]) != 3:
        return f"{op} over one axis"
    return None
