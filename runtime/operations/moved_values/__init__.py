"""Operations that move values without changing them: reshape, permute, slice, concatenate and pad.

Reshape   to the node's shape
Permute   by `axes`;  Slice: start, stop and step of one axis;  Concat: along an axis
Pad       `before` and `after` each axis, with zeros, with the value at the edge, or with a reflection
PixelShuffle   moves channels to pixels: `factor` times as many along each axis
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from runtime.core.model.ops.convolution import conv_attrs
from runtime.core.model.ops.operation import (
    Backend,
    Counts,
    GraphTensor,
    NewNode,
    Node,
    Params,
    Shape,
    Value,
    first,
    make_pad_node,
    names,
    register,
)
from runtime.core.model.ops.ports import OnnxEmitter, RecordedNode, TorchCall
from runtime.core.model.ops.shape import int64_weight, reshape, reshape_onnx
from runtime.core.model.refusals import require

MAX_PAD = 4096  # values that a Pad may add on one side of an axis
MODES = {"zeros": "constant", "edge": "edge", "reflect": "reflect"}  # of a Pad: their names in ONNX
INT64_MAX = np.iinfo(np.int64).max  # a Slice to the end


def _slice(m: Backend, node: Node, p: Params, x: Value) -> Value:
    a = node.attrs
    return m.slice_axis(x, a["axis"], a["start"], a["stop"], a["step"])


def _pad(m: Backend, node: Node, p: Params, x: Value) -> Value:
    sides, shape = list(zip(node.attrs["before"], node.attrs["after"], strict=True)), list(node.shape)
    for axis, (before, after) in enumerate(sides):
        shape[axis] -= before + after
    for axis, (before, after) in enumerate(sides):
        n, mode = shape[axis], node.attrs["mode"]
        if mode == "zeros":
            low, high = (_zeros(m, [*shape[:axis], size, *shape[axis + 1 :]]) for size in (before, after))
        elif mode == "edge":
            low, high = ([m.slice_axis(x, axis + 1, i, i + 1, 1)] * size for i, size in ((0, before), (n - 1, after)))
        else:
            low, high = (
                _reversed_slice(m, x, axis + 1, first, size) for first, size in ((before, before), (n - 2, after))
            )
        x = m.concat([*low, x, *high], axis + 1) if before + after else x
        shape[axis] += before + after
    return x


def _check_pad(node: Node, shapes: Sequence[Shape]) -> str | None:
    a, shape = node.attrs, shapes[0]
    before, after = sides = a["before"], a["after"]
    most = [n - 1 if a["mode"] == "reflect" else MAX_PAD for n in shape]
    fits = a["mode"] in list(MODES) and all(
        isinstance(side, list | tuple)
        and len(side) == len(shape)
        and all(type(n) is int and 0 <= n <= m for n, m in zip(side, most, strict=True))
        for side in sides
    )
    expected = f"{' or '.join(MODES)} of 0 to {MAX_PAD} places for each axis, and a reflection of fewer than it has"
    return None if fits else f"pads {list(shape)} by {before} and {after} ({a['mode']}); expected {expected}"


def _zeros(m: Backend, shape: Sequence[int]) -> list[Value]:
    return [m.broadcast_like(m.parameter(np.broadcast_to(np.float32(0), shape)), shape)] if all(shape) else []


def _reversed_slice(m: Backend, x: Value, axis: int, first: int, size: int) -> list[Value]:
    """Return the slice of x with indices first, first - 1, ... of an axis, in a list: empty if size is 0."""
    return [m.slice_axis(x, axis, first, first - size if first >= size else None, -1)] if size else []


def _concat_counts(node: Node, shapes: Sequence[Shape], of: Sequence[Counts]) -> Counts | None:
    return Counts(max(c.most for c in of), of[0].area) if len({c.area for c in of}) == 1 else None


def _shuffle(m: Backend, node: Node, p: Params, x: Value) -> Value:
    r, (c, h, w) = node.attrs["factor"], node.shape
    parts = m.permute(m.reshape(x, (c, r, r, h // r, w // r)), (0, 1, 4, 2, 5, 3))
    return m.reshape(parts, node.shape)


# --- ONNX ------------------------------------------------------------------------------------------------------------------


def _slice_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    a, name = node.attrs, node.name
    stop = a["stop"] if a["stop"] is not None else INT64_MAX if a["step"] > 0 else -INT64_MAX
    values = {"start": a["start"], "stop": stop, "axis": a["axis"], "step": a["step"]}
    return str(e.op("Slice", [x, *(int64_weight(e, f"{name}.{key}", value) for key, value in values.items())], name))


def _pad_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    a, name = node.attrs, node.name
    sides = int64_weight(e, f"{name}.sides", 0, *a["before"], 0, *a["after"])
    return str(e.op("Pad", [x, sides], name, mode=MODES[a["mode"]]))


def _concat_onnx(e: OnnxEmitter, node: Node, *inputs: str) -> str:
    varying = next(name for name in inputs if name not in e.initializers)
    parts = [_expand_constant(e, node, name, varying) for name in inputs]
    return str(e.op("Concat", parts, node.name, axis=node.attrs["axis"]))


def _expand_constant(e: OnnxEmitter, node: Node, name: str, varying: str) -> str:
    """Expand a Constant node to the batch size of the tensor `varying`; return any other tensor unchanged."""
    if name not in e.initializers:
        return name
    rows = e.op("Shape", [varying], f"{node.name}.rows", start=0, end=1)
    dims = e.weight(f"{name}.rest", np.array(e.initializers[name].dims[1:], np.int64))
    shape = e.op("Concat", [rows, dims], f"{name}.whole", axis=0)
    return str(e.op("Expand", [name, shape], f"{name}.repeated"))


# --- PyTorch ---------------------------------------------------------------------------------------------------------------


def _read_permute(c: TorchCall) -> NewNode:
    axes = [int(i) for i in c.get(1)]
    require(axes[0] == 0, "it moves the batch from the first axis", "keep the batch first")
    return NewNode("Permute", (c.tensor(0),), {"axes": axes})


def _read_concat(c: TorchCall) -> NewNode:
    parts = c.get(0)
    axis = c.get(1, 0) % len(c.node.shape)
    rule = "it joins something that is not a tensor of the network"
    require(all(p.moves for p in parts), rule, "join spikes or currents")
    require(axis != 0, "it joins along the batch", "join channels: dim=1")
    return NewNode("Concat", tuple(c.shaped(p) for p in parts), {"axis": axis})


def _read_slice(c: TorchCall) -> NewNode:
    source = c.get(0)
    axis = c.get(1, 0) % len(source.shape)
    size = source.shape[axis]
    if c.node.name == "select":
        return _slice_node(c, source, axis, c.get(2) % size, c.get(2) % size + 1)
    return _slice_node(c, source, axis, *slice(c.get(2), c.get(3), c.get(4, 1)).indices(size))


def _slice_node(c: TorchCall, source: RecordedNode, axis: int, start: int, stop: int, step: int = 1) -> NewNode:
    require(axis != 0, "it takes rows of the batch", "keep the batch whole")
    x = c.shaped(source)
    shape = list(x.shape)
    shape[axis - 1] = len(range(start, stop, step))
    return NewNode("Slice", (x,), {"axis": axis, "start": start, "stop": stop, "step": step}, shape=tuple(shape))


def _cut(x: GraphTensor, axis: int, start: int, stop: int) -> list[NewNode]:
    """Return the slice start:stop of an axis of a tensor, in a list: empty if it holds nothing."""
    shape = (*x.shape[: axis - 1], stop - start, *x.shape[axis:])
    return [NewNode("Slice", (x,), {"axis": axis, "start": start, "stop": stop, "step": 1}, shape=shape)] * (
        stop > start
    )


def _read_roll(c: TorchCall) -> NewNode | GraphTensor:
    """Read torch.roll, of one axis or of several: the end of the axis, and what is before it."""
    x, shifts, axes = c.tensor(0), c.get(1), c.get(2, ())
    require(len(shifts) == len(axes) == 1, "it rolls several axes at once", "roll one axis at a time: dims=1")
    axis = axes[0] % len(c.node.shape)
    require(axis != 0, "it rolls the rows of the batch", "keep the batch as it is")
    size = x.shape[axis - 1]
    start = -shifts[0] % size
    parts = [*_cut(x, axis, start, size), *_cut(x, axis, 0, start)]
    return NewNode("Concat", tuple(parts), {"axis": axis}) if len(parts) > 1 else x


def _read_scatter(c: TorchCall) -> NewNode | GraphTensor:
    """Read a write into a part of a tensor (y[:, 0] = s): what is before the part, the part, and what is behind."""
    source, axis = c.get(0), c.get(2, 0) % len(c.node.shape)
    require(c.moves(0) and c.moves(1), "it writes numbers into a part of a tensor", "use torch.cat")
    require(axis != 0, "it writes rows of the batch", "keep the batch whole")
    size = source.shape[axis]
    if c.node.name == "select_scatter":
        start = c.get(3) % size
        stop, step = start + 1, 1
    else:
        start, stop, step = slice(c.get(3), c.get(4), c.get(5, 1)).indices(size)
    require(step == 1, "it writes into every second place", "use torch.cat")
    x, part = c.tensor(0), c.tensor(1)
    shape = (*x.shape[: axis - 1], stop - start, *x.shape[axis:])
    written: GraphTensor | NewNode = part if part.shape == shape else NewNode("Reshape", (part,), shape=shape)
    parts = [*_cut(x, axis, 0, start), written, *_cut(x, axis, stop, size)]
    return NewNode("Concat", tuple(parts), {"axis": axis}) if len(parts) > 1 else part


def _read_output(c: TorchCall) -> NewNode | GraphTensor:
    """Read one output of a PyTorch operation with several: split, chunk, unbind, or max or pooling with indices."""
    output, i = c.get(0), int(c.node.op)
    inner = c.for_node(output)
    if output.name in ("max", "topk") or output.name.endswith("_with_indices"):
        advice = "compare with its values: h >= h.amax(1, keepdim=True)"
        require(i == 0, f"it uses the indices of {output.name}()", advice)
        lowered: NewNode | GraphTensor = inner.lowered()
        return lowered
    is_supported = output.name in ("unbind", "split", "split_with_sizes")
    require(is_supported, f"{output.name}() is not exported", "use layers of the list")
    source = output.args[0]
    axis = (inner.get(2, 0) if output.name != "unbind" else inner.get(1, 0)) % len(source.shape)
    if output.name == "unbind":
        return _slice_node(c, source, axis, i, i + 1)
    sizes = inner.get(1)
    sizes = [sizes] * (i + 1) if isinstance(sizes, int) else sizes
    return _slice_node(c, source, axis, sum(sizes[:i]), min(sum(sizes[: i + 1]), source.shape[axis]))


def _read_expand(c: TorchCall) -> NewNode | GraphTensor:
    """Read expand as a product with ones, which repeats the axes of size 1."""
    x: GraphTensor = c.tensor(0)
    if x.shape == c.out:
        return x
    require(len(x.shape) == len(c.out), f"it repeats {list(x.shape)} to {list(c.out)}", "give both as many axes")
    ones = NewNode("Constant", (), {}, {"value": np.ones(c.out, np.float32)}, c.out)
    return NewNode("Mul", (x, ones))


def _read_pad(c: TorchCall) -> NewNode:
    x, sizes = c.tensor(0), list(c.get(1))
    zeros, sides = c.node.name == "constant_pad_nd", len(x.shape) - len(sizes) // 2
    require(min(sizes) >= 0 and sides >= 0, f"it pads by {sizes}", "take a part with a slice, and pad no batch")
    require(not zeros or not c.get(2, 0), f"it pads with {c.get(2)}", "pad with zeros")
    before, after = ([0] * sides + sizes[i::2][::-1] for i in (0, 1))
    return make_pad_node(x, before, after, "zeros" if zeros else "edge" if "replication" in c.node.name else "reflect")


def _read_unfold(c: TorchCall) -> NewNode:
    """Read unfold, [B, C, H, W] -> [B, C kh kw, places]: output (c, i, j) picks the value at (i, j) of each patch."""
    x, (kernel, dilation, padding, stride) = c.tensor(0), (list(c.get(i)) for i in range(1, 5))
    channels, area = x.shape[0], prod(kernel)
    weight = np.tile(np.eye(area, dtype=np.float32).reshape(area, 1, *kernel), (channels, 1, 1, 1))
    reach = [n + 2 * p - d * (k - 1) - 1 for n, k, d, p in zip(x.shape[1:], kernel, dilation, padding, strict=True)]
    places = [r // s + 1 for r, s in zip(reach, stride, strict=True)]
    attrs = conv_attrs(stride, padding, channels, dilation, 2)
    picked = NewNode("Conv", (x,), attrs, {"weight": weight}, (channels * area, *places))
    return NewNode("Reshape", (picked,), shape=c.out)


register(
    "Reshape",
    reshape,
    onnx=reshape_onnx,
    torch={
        **names("reshape", lambda c: c.lower_node(c.get(0))),  # reshaped where it is read in another shape
        **names("expand", _read_expand),
        **names("im2col", _read_unfold),
    },
    counts=first,
)
register(
    "Permute",
    lambda m, node, p, x: m.permute(x, node.attrs["axes"]),
    attrs=("axes",),
    onnx=lambda e, node, x: e.op("Transpose", [x], node.name, perm=list(node.attrs["axes"])),
    torch=names("permute", _read_permute),
    counts=first,
)
register(
    "Slice",
    _slice,
    attrs=("axis", "start", "stop", "step"),
    onnx=_slice_onnx,
    torch={**names("slice select", _read_slice), **names("part", _read_output)},
    counts=first,
)
register(
    "Concat",
    lambda m, node, p, *values: m.concat(values, node.attrs["axis"]),
    attrs=("axis",),
    reads_constants=True,
    onnx=_concat_onnx,
    torch={
        **names("cat", _read_concat),
        **names("roll", _read_roll),
        **names("select_scatter slice_scatter", _read_scatter),
    },
    counts=_concat_counts,
)
register(
    "Pad",
    _pad,
    attrs=("before", "after", "mode"),
    fits=_check_pad,
    onnx=_pad_onnx,
    torch=names("constant_pad_nd reflection_pad?d replication_pad?d", _read_pad),
    counts=first,
)
register(
    "PixelShuffle",
    _shuffle,
    attrs=("factor",),
    torch=names("pixel_shuffle", lambda c: NewNode("PixelShuffle", (c.tensor(0),), {"factor": c.get(1)})),
    counts=first,
)
