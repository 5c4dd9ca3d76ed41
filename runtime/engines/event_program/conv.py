"""Convolutions and linear layers of the event engine: active lists, weights, and the type of the sums.

float32 weights are summed in float32. int8 weights (`scale` among a layer's parameters) are summed in whole numbers
and multiplied by the scale of each output afterwards:

    current = float32(sum) * scale + bias          two roundings, as in the other engines (runtime/core/model/graph.py)

The sum of an output lies between minus the sum of its negative weights and the sum of its positive ones, since an
input is a spike or none. Where int16 holds both for every output, int16 sums are right whatever the input; else int32
sums are. Other whole numbers (a sum of two branches of spikes, the counts behind an average) are summed in float32,
which is exact below 2^24.
"""

from __future__ import annotations

import numpy as np

from runtime import native
from runtime.core.model.grids import center_weights, count_bits
from runtime.core.model.records import NodeRecord, require_integer, to_map_shape
from runtime.engines.event_program.builder import Builder, Fields
from runtime.engines.event_program.forms import NEVER
from runtime.engines.event_program.layout import (
    LayerOutput,
    choose_tile,
    count_lanes,
    expand_groups,
    pack_blocks,
    pack_bytes,
    pack_nibbles,
    pack_pairs,
    pixel_bytes,
    read_yx,
    split_segments,
)
from runtime.native import BLOCK, FROM_SPIKES, SEGMENT, WIDE_BLOCK

SLACK = 64  # entries that may be written past the end of a row's list
MOST_WEIGHTS = 1 << 28  # numbers in one packed weight; a grouped convolution is stored with its zeros
MOST_INT16, MOST_EXACT, MOST_INT32 = (1 << 15) - 1, (1 << 24) - 1, (1 << 31) - 1
BYTES_FROM_WIDTH = 8  # output pixels of a row, so that rows that are multiplied as bytes fill registers
WIDE_FROM = 64  # inputs of one output up to which float32 weights, too, are taken 128 outputs at a time


Place = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def compile_convolution(b: Builder, node: NodeRecord, source: LayerOutput) -> tuple[LayerOutput, Fields, int]:
    """Compile a convolution or linear layer that reads `source` for the event engine.

    Return the input of the operation CONV, its fields, and the floats of its tile. This emits the active lists; the
    caller emits CONV, with a neuron or without.
    """
    outputs = to_map_shape(node["shape"])
    quantised = "scale" in node["params"]
    weight, (strides, pads, dilations) = _read_placed_weight(b, node, source, quantised)
    stride, pad = strides[1], pads[1]
    channels, h, w = source.map
    kh, kw = weight.shape[2:]
    sizes = zip((h, w), (kh, kw), strides, pads, dilations, strict=True)
    sizes_out = (outputs[0], *((n + 2 * p - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in sizes))
    if sizes_out != outputs:
        raise b.damaged(f"layer {node['name']} gives {list(sizes_out)}, its card says {node['shape']}")
    bias = b.parameter(node, "bias", (outputs[0],)) if "bias" in node["params"] else np.zeros(1, np.float32)
    fields: Fields = {"kh": kh, "kw": kw, "bias": b.in_lanes(bias, outputs[0])}
    fields |= {"stride_y": strides[0], "stride": stride, "pad_y": pads[0], "pad": pad}
    fields |= {"dilation_y": dilations[0], "dilation": dilations[1]}
    block = WIDE_BLOCK if kh * kw * channels <= WIDE_FROM else BLOCK
    as_bytes = False
    if quantised:
        fields |= {"scale": _read_scale(b, node, source, outputs[0]), "sums": _choose_sums(b, node, source, weight)}
        if fields["sums"] == native.SUM_EXACT:
            weight = weight.astype(np.float32)
        else:
            block = WIDE_BLOCK
            few = b.forms.nibbles and count_lanes(outputs[0]) % WIDE_BLOCK == 0 and count_bits(weight) <= 4
            as_bytes = b.forms.bytes_from < NEVER and outputs[2] >= BYTES_FROM_WIDTH and dilations[1] == 1 and not few
            fields["pairs"] = native.NIBBLES if few else int(b.forms.pairs and count_lanes(outputs[0]) % BLOCK == 0)
            if as_bytes:
                fields["weight_bytes"] = pack_bytes(weight)
            if not fields["pairs"]:
                weight = weight.astype(np.int16)
    offset, active = _emit_active(b, source, stride, (pad, kw, quantised) if as_bytes else (0, 0, quantised))
    # one piece of work is a tile of output pixels and a block of outputs; rows of bytes are multiplied 16 pixels at a time
    tile_h, tile_w = choose_tile(outputs, b.threads, block)
    across = -(-tile_w // 16) * 16 if as_bytes else tile_w
    b.out.need_registers(0, tile_h * across * block)
    items = -(-outputs[1] // tile_h) * -(-outputs[2] // tile_w) * -(-outputs[0] // block)
    form = fields.get("pairs", 0)
    packed = (
        pack_nibbles(weight) if form == native.NIBBLES else pack_pairs(weight) if form else pack_blocks(weight, block)
    )
    fields |= {"weight": packed, "block": block, "tile_h": tile_h, "tile_w": tile_w, "items": items}
    return LayerOutput(source.kind, source.map, offset), fields | active, tile_h * across * block


def _read_placed_weight(b: Builder, node: NodeRecord, source: LayerOutput, quantised: bool) -> tuple[np.ndarray, Place]:
    """Read a layer's weight, float32 or int8, as a full one [O, I, kh, kw] that is zero outside the groups.

    Also return stride, padding and dilation, (y, x) each.
    """
    channels, h, w = source.map
    outputs = to_map_shape(node["shape"])[0]
    weight, transposed = read_weight(b, node)
    if node["op"] == "Linear":
        expected = (outputs, channels * h * w)
        if weight.shape != expected:
            file_shape = list(weight.T.shape if transposed else weight.shape)
            expected_shape = list(expected[::-1] if transposed else expected)
            raise b.damaged(
                f"layer {node['name']}: {node['params']['weight']} is {file_shape}; expected {expected_shape}"
            )
        if not source.flat and (h, w) != (1, 1):
            raise b.refuse(node, f"a linear layer over the last axis of a map {list(source.map)}")
        _check_size(b, node, (outputs, channels, h, w))
        return np.ascontiguousarray(weight).reshape(outputs, channels, h, w), ((1, 1), (0, 0), (1, 1))
    a = node["attrs"]
    place = read_yx(node, "stride", 1), read_yx(node, "padding", 0), read_yx(node, "dilation", 1)
    groups = require_integer(a["groups"])
    if weight.ndim == 3:  # over one axis
        weight = weight[:, :, None]
    fits = weight.ndim == 4 and groups >= 1 and channels % groups == 0 and not source.flat
    if not fits or weight.shape[:2] != (outputs, channels // groups):
        raise b.damaged(
            f"layer {node['name']}: weight is {list(weight.shape)}; expected "
            f"[{outputs}, {channels // max(groups, 1)}, k, k] for {channels} channels in {groups} groups"
        )
    if min(*place[0], *place[2]) < 1:
        raise b.damaged(f"layer {node['name']}: stride {a['stride']}, padding {a['padding']}")
    _check_size(b, node, (outputs, channels, *weight.shape[2:]))
    return expand_groups(weight, groups), place


def read_weight(b: Builder, node: NodeRecord) -> tuple[np.ndarray, bool]:
    """Read a layer's weight [O, I, ...], float32 or int8; also return whether the file has it transposed.

    Only linear layers are transposed.
    """
    if "scale" not in node["params"]:
        return b.parameter(node, "weight"), False
    transposed = node["op"] == "Linear" and f"{node['name']}.zero_points" not in b.weights  # as MatMulInteger reads it
    weight = _read_int8(b, node)
    return (weight.T if transposed else weight), transposed


def _check_size(b: Builder, node: NodeRecord, shape: tuple[int, ...]) -> None:
    """Refuse a weight [O, I, kh, kw] that is too large, before the zeros that fill it up are stored."""
    outputs, channels, kh, kw = shape
    if kh * kw * pixel_bytes(channels) * count_lanes(outputs) > MOST_WEIGHTS:
        raise b.refuse(node, f"a weight {list(shape)} is too large for this engine")


def _read_int8(b: Builder, node: NodeRecord) -> np.ndarray:
    """Read a layer's quantised weight [O, I, ...] as int8."""
    name, weight = b.tensor(node, "weight")
    if weight.dtype not in (np.int8, np.uint8):
        raise b.damaged(
            f"layer {node['name']}: {name} is {weight.dtype}; a layer with a scale has int8 or uint8 weights"
        )
    return center_weights(weight, node["attrs"].get("bits", 8))


def _read_scale(b: Builder, node: NodeRecord, source: LayerOutput, outputs: int) -> np.ndarray:
    """Read the factor that converts a layer's integer sums to currents, float32 [lanes(outputs)].

    Inputs that are averages are summed as counts.
    """
    scale, area = b.parameter(node, "scale", (outputs,)), node["attrs"].get("area", 1)
    if source.counts is not None and area != source.counts.area:
        raise b.damaged(f"layer {node['name']} reads counts over {source.counts.area}, its card says {area}")
    if not (np.isfinite(scale) & (scale >= 0)).all():
        raise b.damaged(f"layer {node['name']}: scale has numbers that are no scale")
    return b.in_lanes(scale if area == 1 else scale * np.float32(1 / area), outputs)


def _choose_sums(b: Builder, node: NodeRecord, source: LayerOutput, weight: np.ndarray) -> int:
    """Choose the integer type that sums a layer's int8 weights, so that no input can overflow a sum."""
    if source.counts is None:
        raise b.refuse(node, "int8 weights on an input that is no count of spikes are not in this engine")
    rows = weight.reshape(len(weight), -1).astype(np.int64)
    largest = int(max(np.maximum(rows, 0).sum(1).max(), np.maximum(-rows, 0).sum(1).max())) * source.counts.most
    if source.kind != FROM_SPIKES:
        if largest > MOST_EXACT:
            raise b.refuse(node, f"its sums reach {largest}, which is past 2^24")
        return native.SUM_EXACT
    if largest > MOST_INT32:
        raise b.refuse(node, f"its sums reach {largest}, which is past 2^31")
    return native.SUM_INT16 if largest <= MOST_INT16 else native.SUM_INT32


def _emit_active(b: Builder, source: LayerOutput, stride: int, form: tuple[int, int, bool]) -> tuple[int, Fields]:
    """Emit the lists of a value's active (nonzero) inputs; return their offset and the further fields of CONV.

    They are emitted once for all readers with that stride and form.

    form  padding and kernel width for rows as bytes (0, 0 for none), and whether the weights are int8
    """
    pad, kw, quantised = form
    key = (source.kind, source.offset, stride, *form)
    if key not in b.active:
        channels, h, w = source.map
        rows = h * len(split_segments(channels))
        capacity = w * min(channels, SEGMENT) + SLACK
        spikes = source.kind == FROM_SPIKES
        # a tap may read 16 pixels from the last one on, in steps of the stride
        row_bytes = (w + 2 * pad + kw + 16 * stride) * pixel_bytes(channels) if kw else 0
        dense = h * row_bytes if kw else rows * w * SEGMENT * 4 if spikes and not quantised else 0
        parts: Fields = {
            "index": b.reserve(rows * (3 * (w + 1) + 1) * 4),
            "values": -1 if spikes else b.reserve(rows * capacity * 4),
            "dense": b.reserve(dense) if dense else -1,
            "dense_row": row_bytes,
            "row_capacity": capacity,
        }
        target = LayerOutput(source.kind, source.map, b.reserve(rows * capacity * 2))
        limit = b.forms.bytes_from if kw else b.dense_from
        area = source.counts.area if quantised and source.counts is not None and source.counts.area > 1 else 0
        b.emit("ACTIVE", source, target, stride=stride, pad=pad, items=rows, dense_from=limit, area=area, **parts)
        b.active[key] = target.offset, parts
    return b.active[key]
