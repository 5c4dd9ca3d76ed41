"""The builder of programs for the event engine: weights, offsets in the arena, and operations.

Card and weights are checked here and in the files that use this one, so that an error names its layer. Whether the
operations are safe to run is checked in C (plif_program_check), which trusts none of this.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from runtime import native
from runtime.core.base.errors import PlifError
from runtime.core.model.ops.operation import Counts
from runtime.core.model.records import NodeRecord
from runtime.engines.event_program.forms import DEFAULT_FORMS, Forms
from runtime.engines.event_program.layout import (
    LayerOutput,
    Layout,
    Shape3,
    allocate_aligned,
    count_blocks,
    count_lanes,
)
from runtime.native import FROM_FLOATS, FROM_SPIKES, FROM_X, Op

Field = int | float | np.ndarray  # of an operation; an array is kept, and the operation gets its address
Fields = dict[str, Field]

# Share of spikes in a row of a map from which multiplying all of it is faster (docs/event-engine-inside.md). Adding up runs
# nearly as fast as the processor can load, so this share is high: with AVX2 the two ways are equal only where nearly all fire.
DENSE_FROM = {"scalar": 2.0, "avx2": 0.95, "avx512": 0.7, "neon": 0.95, "amx": 0.7}

MOST_ARENA = 1 << 30  # bytes of working memory of one thread


class Builder:
    """A builder that collects the operations of one event-engine program in `out`.

    weights  the artifact's initializers by name
    context  begins every error message
    threads  how many will share an operation's pieces of work
    path     the CPU path of the kernels that will run it
    forms    how they sum int8 weights; None: as on other processors
    """

    def __init__(
        self, weights: Mapping[str, np.ndarray], context: str, threads: int, path: str, forms: Forms | None = None
    ) -> None:
        self.weights, self.context, self.threads, self.path = weights, context, threads, path
        self.forms = forms or DEFAULT_FORMS[path]
        # zero times infinity is no zero: a file with such a weight is only ever added up
        finite = all(np.isfinite(w).all() for w in weights.values() if w.dtype == np.float32)
        self.dense_from = DENSE_FROM[path] if finite else 2.0
        self.out = Layout()
        self.maps: list[tuple[int, int]] = []  # (offset of floats, number of the operation that writes them)
        self.rooms: dict[int, Shape3] = {}  # offset of a room for floats in the arena -> shape of its map
        self.active: dict[tuple[int, ...], tuple[int, Fields]] = {}  # active lists that were emitted already

    def refuse(self, node: NodeRecord, why: str) -> PlifError:
        """Create the error for a valid file that this engine cannot run."""
        return PlifError(f"{self.context}: layer {node['name']}: {why}; use --engine onnxruntime")

    def damaged(self, problem: str) -> PlifError:
        """Create the error for a file that contradicts its card."""
        return PlifError(f"{self.context}: {problem}; export it again")

    # --- weights ----------------------------------------------------------------------------------------------------

    def tensor(self, node: NodeRecord, key: str) -> tuple[str, np.ndarray]:
        """Find an initializer of the ONNX file: (name, array), a weight [O, I, ...] or numbers [n], of any dtype."""
        name = node["params"][key]
        if key == "alpha" and node["attrs"].get("charge") == "folded":
            name = f"{node['name']}.one_minus_alpha"  # the file holds 1 - alpha instead
        if name not in self.weights:
            raise self.damaged(f"layer {node['name']}: the file has no tensor {name}")
        return name, self.weights[name]

    def parameter(self, node: NodeRecord, key: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Find a float32 initializer of the ONNX file, [n] or [O, I, ...]; with `shape`, exactly of that shape."""
        name, value = self.tensor(node, key)
        if value.dtype != np.float32:
            raise self.refuse(node, f"{name} is {value.dtype}; this engine computes in float32")
        if shape is not None and value.shape != shape:
            raise self.damaged(f"layer {node['name']}: {name} is {list(value.shape)}; expected {list(shape)}")
        return value

    def per_lane(self, node: NodeRecord, key: str, channels: int) -> np.ndarray:
        """Expand a scalar or one number per channel to one for each vector lane, float32 [lanes(channels)]."""
        value = self.parameter(node, key).reshape(-1)
        if value.size not in (1, channels):
            raise self.damaged(f"layer {node['name']}: {key} has {value.size} numbers; expected 1 or {channels}")
        return self.in_lanes(value, channels)

    def in_lanes(self, value: np.ndarray, channels: int) -> np.ndarray:
        """Copy one number, or one per channel, to vector lanes, float32 [lanes(channels)], zeros in unused ones."""
        out = allocate_aligned((count_lanes(channels),))
        out[:channels] = value
        return out

    def find_producer(self, offset: int) -> int:
        """Find the number of the operation that writes the floats at `offset` bytes of the working memory (arena)."""
        return self.maps[bisect(self.maps, (offset, len(self.out.ops))) - 1][1]

    # --- places and operations ----------------------------------------------------------------------------------------

    def reserve(self, size: int) -> int:
        """Reserve `size` bytes in the working memory (arena) of a program and return their offset."""
        offset = self.out.arena
        self.out.arena += -(-(size + 64) // 64) * 64
        if self.out.arena > MOST_ARENA:
            raise PlifError(
                f"{self.context}: a step of one stream needs over {MOST_ARENA >> 20} MiB of working memory, the most in "
                "this engine; use --engine onnxruntime"
            )
        return offset

    def reserve_spikes(self, shape: Shape3) -> LayerOutput:
        c, h, w = shape
        return LayerOutput(FROM_SPIKES, shape, self.reserve(h * w * count_blocks(c) * 8), counts=Counts())

    def reserve_floats(self, shape: Shape3, counts: Counts | None = None) -> LayerOutput:
        c, h, w = shape
        return LayerOutput(FROM_FLOATS, shape, self.reserve(h * w * count_lanes(c) * 4), counts=counts)

    def as_floats(self, source: LayerOutput) -> LayerOutput:
        """Return a layer's output as floats in the order of its shape; add a conversion operation if necessary."""
        if source.kind == FROM_SPIKES or source.kind == FROM_X:
            target = self.reserve_floats(source.map)
            self.emit("UNPACK" if source.kind == FROM_SPIKES else "LOAD", source, target)
            source = replace(source, kind=FROM_FLOATS, offset=target.offset)
        if source.flat:
            target = self.reserve_floats((math.prod(source.map), 1, 1), source.counts)
            self.emit("FLATTEN", source, target, items=1)
            source = target
        return source

    def emit(self, kind: str, source: LayerOutput, target: LayerOutput | None, **fields: Field) -> None:
        """Add an operation to the event-engine program."""
        op = Op(kind=native.KINDS.index(kind), from_=source.kind, in_=source.offset, stride=1)
        op.in2 = op.values = op.dense = op.state = -1
        op.ic, op.ih, op.iw = source.map
        if target is not None:
            op.oc, op.oh, op.ow = target.map
            op.out = target.offset
        op.items = op.oh if target is not None else 1
        op.stride_y = op.dilation = op.dilation_y = 1
        for key, value in fields.items():
            if isinstance(value, np.ndarray):
                self.out.keep.append(value)
                value = value.ctypes.data
            setattr(op, key, value)
            if (
                isinstance(value, int) and getattr(op, key) != value
            ):  # ctypes cuts a number down to the size of its field
                raise self.damaged(f"an operation {kind} with {key} {value}, which is too large")
        # sharing out costs about a microsecond; what is done in less stays with one thread
        shared = kind in ("CONV", "TENSOR", "REDUCE", "PRODUCT")
        op.parallel = int(op.items > 1 and (shared or op.items * op.ow * count_lanes(op.oc) > 1 << 15))
        self.out.ops.append(op)
        if kind != "ACTIVE" and target is not None and target.kind == FROM_FLOATS and target.offset >= 0:
            self.maps.append((target.offset, len(self.out.ops) - 1))
