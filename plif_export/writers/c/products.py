"""The C code of Conv, ConvTranspose and Linear: sums of the weights of active inputs.

    x[o] = b[o] + sum W[o][c][ky][kx] over the spikes c at place (y * stride - padding + ky * dilation, ...)
    int8    x[o] = float32(sum W8 k) * scale[o] + b[o]        whole numbers k, the sum is int32

Weights of 4 and 2 bits are stored two and four in a byte, each plus 8 or 2, so that none is below zero; a row begins
with a byte. The weights have the order [ky][kx][c][o]: one spike adds one row. A linear layer is a convolution with a
kernel of the map's size. The order of a sum is b, then ky, kx and c, that of the event engine without vectors: the
same bits, wherever float32 is IEEE 754.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from plif_export.core.readers.rules import require
from plif_export.writers.c.names import format_number, no_fma
from plif_export.writers.c.program import (
    CProgram,
    CValue,
    Product,
    channels_last_strides,
    element_text,
    indent,
    index_type,
    nest_loops,
    offset_text,
)
from runtime.core.model.graph import Node
from runtime.core.model.grids import pack
from runtime.core.model.ops.operation import conv_geometry

MOST_ON_STACK = 256  # sums of one place on the stack; more sums are a static array
MOST_WHOLE = (1 << 31) - 1


def build_product(program: CProgram, node: Node) -> Product:
    source = program.values[node.inputs[0]]
    if node.op == "Linear":
        return _build_linear(program, node, source)
    dims = len(node.shape) - 1
    require(dims in (1, 2), f"a convolution over {dims} axes is not written", "use --to onnx")
    source = source if source.kind == "spikes" and not source.flattened else program.as_floats(source)
    flat = (0,) * (2 - dims)
    kernel = (1,) * (2 - dims) + node.params["weight"].shape[2:]
    ones = (1,) * (2 - dims)
    stride, padding, dilation = (a + b for a, b in zip((ones, flat, ones), conv_geometry(node, dims), strict=True))
    groups, outputs, inputs = int(node.attrs["groups"]), node.shape[0], source.shape[0]
    ih, iw = (1,) * (2 - dims) + source.shape[1:]
    oh, ow = (1,) * (2 - dims) + node.shape[1:]
    weight = node.params["weight"]  # [O, I / groups, k...], of a transposed one [I, O / groups, k...]
    per, share, transposed = outputs // groups, inputs // groups, node.op == "ConvTranspose"
    if transposed:
        rows = weight.reshape(groups, share, per, *kernel).transpose(3, 4, 0, 1, 2)
    else:
        rows = weight.reshape(groups, per, share, *kernel).transpose(3, 4, 0, 2, 1)  # [ky][kx][g][i][o]
    name = program.add_constant(
        f"{program.node_id(node)}_w",
        _pack_weights(node, rows),
        f"{node.name}: weights [ky][kx][c][o]{_describe_packing(node)}, {list(weight.shape)} before",
    )
    add = _add_statement(
        program,
        node,
        source,
        f"{name} + (ky * {kernel[1]} + kx) * {inputs * _row_elements(node, per)}",
        "iy",
        "ix",
        (ih, iw),
        groups,
    )
    index_of = transposed_tap_index if transposed else tap_index
    step = [
        index_of(a, s, p, k, d)
        for a, s, p, k, d in zip(("oy", "ox"), stride, padding, ("ky", "kx"), dilation, strict=True)
    ]
    loops = f"""    for (int oy = 0, p = 0; oy < {oh}; oy++)
        for (int ox = 0; ox < {ow}; ox++, p++) {{
            for (int o = 0; o < {outputs}; o++)
                sum[o] = @START@;
            for (int ky = 0; ky < {kernel[0]}; ky++) {{
                const int iy = {step[0]};
                if (iy < 0 || iy >= {ih})
                    continue;
                for (int kx = 0; kx < {kernel[1]}; kx++) {{
                    const int ix = {step[1]};
                    if (ix < 0 || ix >= {iw})
                        continue;
                    {add}
                }}
            }}
@FINISH@
        }}
"""
    return _finish_product(program, node, loops)


def tap_index(place: str, stride: int, padding: int, tap: str, dilation: int) -> str:
    """Return the C index of the input that a convolution weight reads: place * stride - padding + tap * dilation."""
    begin = place if stride == 1 else f"{place} * {stride}"
    return begin + (f" - {padding}" if padding else "") + f" + {tap}" + (f" * {dilation}" if dilation != 1 else "")


def transposed_tap_index(place: str, stride: int, padding: int, tap: str, dilation: int) -> str:
    """Return the C index of the input that a transposed convolution's weight adds to an output pixel.

    place = (that input) * stride - padding + tap * dilation; -1 if there is none
    """
    position = f"{place} + {padding} - {tap} * {dilation}"
    return position if stride == 1 else f"({position}) % {stride} ? -1 : ({position}) / {stride}"


def _build_linear(program: CProgram, node: Node, source: CValue) -> Product:
    if len(node.shape) > 1:
        return _build_token_linear(program, node, source)
    weight = node.params["weight"]  # [O, n], n as the graph counts: channels first
    if source.kind == "x":
        source = CValue("x", "x", (prod(source.shape),), (prod(source.shape),))
    channels, places = source.channels, source.places
    rows = weight.reshape(len(weight), channels, places).transpose(2, 1, 0)  # [place][c][o]
    about = f"{node.name}: weights [place][c][o]{_describe_packing(node)}"
    name = program.add_constant(f"{program.node_id(node)}_w", _pack_weights(node, rows), about)
    add = _add_statement(
        program, node, source, f"{name} + q * {channels * _row_elements(node, len(weight))}", "0", "q", (1, places), 1
    )
    loops = f"""    const int p = 0;
    for (int o = 0; o < {len(weight)}; o++)
        sum[o] = @START@;
    for (int q = 0; q < {places}; q++)
        {add}
@FINISH@
"""
    return _finish_product(program, node, loops)


def _build_token_linear(program: CProgram, node: Node, source: CValue) -> Product:
    """Write a Linear layer along the last of several axes as C; p counts the positions in the other axes."""
    require(
        "scale" not in node.params or source.kind != "x", "int8 weights meet the frame itself", "use --precision fp32"
    )
    source = program.as_floats(source)
    weight, lead = node.params["weight"], node.shape[:-1]
    name = program.add_constant(f"{program.node_id(node)}_w", weight, f"{node.name}: weights [o][i]")
    loops, index = nest_loops(lead)
    read = element_text(program, source, [*index, "i"])
    pad = "    " * (len(lead) + 1)
    body = f"""{pad}for (int o = 0; o < {node.shape[-1]}; o++) {{
{pad}    {_sum_type(node)} total = 0;
{pad}    for (int i = 0; i < {source.shape[-1]}; i++)
{pad}        total += {_multiply_text(node, read, f"{name}[o * {source.shape[-1]} + i]")};
{pad}    @STORE@
{pad}}}
"""
    return _finish_product(
        program, node, indent(loops) + body, offset_text([*index, "o"], channels_last_strides(node.shape), node.shape)
    )


def _weight_bits(node: Node) -> int:
    """Return the number of bits in which each weight of a layer is stored in C; 0 for float32."""
    return int(node.attrs.get("bits", 8)) if "scale" in node.params else 0


def _describe_packing(node: Node) -> str:
    bits = _weight_bits(node)
    return f", {8 // bits} outputs in a byte" if 0 < bits < 8 else ""


def _row_elements(node: Node, outputs: int) -> int:
    """Return the number of C array elements that hold the packed weights of a row of this many outputs."""
    return -(-outputs * _weight_bits(node) // 8) if _weight_bits(node) else outputs


def _pack_weights(node: Node, rows: np.ndarray) -> np.ndarray:
    """Return weights [..., o] as C stores them: float32, int8, or uint8 with several in a byte."""
    bits, outputs = _weight_bits(node), rows.shape[-1]
    if bits in (0, 8):
        return np.ascontiguousarray(rows)
    room = _row_elements(node, outputs) * 8 // bits - outputs
    filled = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, room)])
    return pack(filled + np.int8(1 << bits - 1), bits)


def _sum_type(node: Node) -> str:
    return "int32_t" if "scale" in node.params else "float"


def _multiply_text(node: Node, read: str, weight: str) -> str:
    """Return the C text of a weight times its input value, or times the spike count of an averaged input."""
    if "scale" not in node.params:
        return no_fma(f"{read} * {weight}")
    area = int(node.attrs.get("area", 1))
    return f"(int32_t)({read}{f' * {format_number(area)}' if area > 1 else ''} + 0.5f) * {weight}"


def _finish_product(program: CProgram, node: Node, loops: str, scattered: str | None = None) -> Product:
    """Build the C text of a convolution or linear layer (a Product) from its loops.

    scattered: the place of an output if its sums are stored one by one, and not all of one place together
    """
    outputs, kind = node.shape[0], _sum_type(node)
    total = "sum[o]" if scattered is None else "total"
    current = total
    if "scale" in node.params:
        _require_int32(node)
        area = int(node.attrs.get("area", 1))
        scale = node.params["scale"] if area == 1 else node.params["scale"] * np.float32(1 / area)
        name = program.add_constant(
            f"{program.node_id(node)}_scale",
            scale.astype(np.float32),
            f"{node.name}: the real weight is W{_weight_bits(node)} * scale[o]",
        )
        current = no_fma(f"(float){total} * {name}[o]")
    start = "0"
    if "bias" in node.params:
        name = program.add_constant(f"{program.node_id(node)}_b", node.params["bias"], f"{node.name}: bias [o]")
        if "scale" in node.params or scattered is not None:
            current += f" + {name}[o]"
        else:  # as the event engine sums, so that its scalar path gives the same bits
            start = f"{name}[o]"
    loops = loops.replace("@START@", start)
    head = ""
    if scattered is None:
        storage = "" if outputs <= MOST_ON_STACK else "static "
        head = f"    {storage}{kind} sum[{outputs}];\n"
        if storage:
            program.count_bytes(ram=4 * outputs)
    else:
        loops = loops.replace("@STORE@", f"@OUT@[{scattered}] = {current};")
    equation = f"float(sum W{_weight_bits(node)} k) * scale + b" if "scale" in node.params else "b + sum W s"
    return Product(node, head, loops, current, f"{node.name}: x = {equation}")


def _require_int32(node: Node) -> None:
    rows = np.abs(node.params["weight"].astype(np.int64)).reshape(len(node.params["weight"]), -1).sum(1)
    require(int(rows.max(initial=0)) * 64 <= MOST_WHOLE, "its int8 sums do not fit 32 bits", "use --precision fp32")


def _add_statement(
    program: CProgram,
    node: Node,
    source: CValue,
    weights: str,
    row: str,
    column: str,
    size: tuple[int, int],
    groups: int,
) -> str:
    """Return the C statement that adds the weighted inputs at one pixel to the sums of a convolution."""
    bits, outputs, channels = _weight_bits(node), node.shape[0], source.channels
    place = column if row == "0" else f"({row} * {size[1]} + {column})"
    per, share = outputs // groups, channels // groups
    suffix = (f"_i{bits}" if bits else "_f32") + ("_groups" if groups > 1 else "")
    grouped = f", {share}" if groups > 1 else ""
    if source.kind == "spikes":
        index = index_type(channels)
        name = program.add_helper(
            f"add_fired_{index[:-2]}{suffix}",
            _add_spikes_helper(f"add_fired_{index[:-2]}{suffix}", index, bits, groups > 1),
        )
        return (
            f"{name}(sum, {weights}, {source.name}_c + {place} * {channels}, {source.name}_n[{place}], {per}{grouped});"
        )
    kind = program.input_type if source.kind == "x" else "float"
    area = int(node.attrs.get("area", 1)) if bits else 1
    name = f"add_{kind.removesuffix('_t')}{suffix}"
    program.add_helper(name, _add_numbers_helper(name, kind, bits, groups > 1))
    apart = size[0] * size[1] if source.kind == "x" else 1
    begin = f"frame + {place}" if source.kind == "x" else f"{source.name} + {place} * {channels}"
    scaled = f", {area}" if bits else ""
    return f"{name}(sum, {weights}, {begin}, {channels}, {apart}, {per}{grouped}{scaled});"


def _row_types(bits: int, channel: str) -> tuple[str, str, str]:
    """Return the C types of a sum and of a weight, and the C text of the start of a channel's row of weights."""
    if not bits:
        return "float", "float", f"w + {channel} * outputs"
    if bits == 8:
        return "int32_t", "int8_t", f"w + {channel} * outputs"
    return "int32_t", "uint8_t", f"w + {channel} * ((outputs + {8 // bits - 1}) / {8 // bits})"


def _add_row(bits: int, added: Callable[[str], str]) -> str:
    """Return the C statements that add a row of weights, each turned into a term by `added`, to the sums `out`."""
    if bits in (0, 8):
        return f"for (int o = 0; o < outputs; o++)\n    out[o] += {added('row[o]')};\n"
    apart, mask, zero = 8 // bits, (1 << bits) - 1, 1 << bits - 1
    terms = [added(f"((row[b] >> {bits * j} & {mask}) - {zero})") for j in range(apart)]
    lines = "".join(f"    out[{j}] += {text};\n" for j, text in enumerate(terms))
    return f"""for (int b = 0; b < outputs / {apart}; b++, out += {apart}) {{
{lines}}}
for (int o = 0; o < outputs % {apart}; o++)
    out[o] += {added(f"((row[outputs / {apart}] >> o * {bits} & {mask}) - {zero})")};
"""


def _add_spikes_helper(name: str, index: str, bits: int, groups: bool) -> str:
    total, weight, row = _row_types(bits, "c[k]")
    target = "sum" if not groups else "sum + c[k] / share * outputs"
    about = "; each of its group" if groups else ""
    parameters = ", int share" if groups else ""
    return f"""/* sum[o] += W[c][o] for each of the n channels c that fired, for all outputs o{about} */
static void {name}({total} sum[], const {weight} w[], const {index} c[], int n, int outputs{parameters})
{{
    for (int k = 0; k < n; k++) {{
        const {weight} *row = {row};
        {total} *out = {target};
{indent(_add_row(bits, str), 2)}    }}
}}
"""


def _add_numbers_helper(name: str, kind: str, bits: int, groups: bool) -> str:
    total, weight, row = _row_types(bits, "c")
    number_ = "in[c * apart]" if kind == "float" else "(float)in[c * apart]"
    value = f"const float a = {number_};"
    if bits:
        value = f"const int32_t a = (int32_t)({number_} * (float)area + 0.5f); /* whole */"
    target = "sum" if not groups else "sum + c / share * outputs"
    added = _add_row(bits, lambda w: f"{w} * a" if bits else no_fma(f"{w} * a"))
    parameters = (", int share" if groups else "") + (", int area" if bits else "")
    inside = f"if (a < 0 || a > 0) {{\n{indent(added)}}}\n" if 0 < bits < 8 else f"if (a < 0 || a > 0)\n{indent(added)}"
    return f"""/* sum[o] += W[c][o] a[c] for each channel c that is not 0; channels lie `apart` numbers apart */
static void {name}(
    {total} sum[], const {weight} w[], const {kind} in[], int channels, int apart, int outputs{parameters})
{{
    for (int c = 0; c < channels; c++) {{
        {value}
        const {weight} *row = {row};
        {total} *out = {target};
{indent(inside, 2)}    }}
}}
"""


def store_product(program: CProgram, product: Product) -> CValue:
    """Write a convolution or linear layer as a C function of its own that stores its sums in a buffer."""
    node = product.node
    program.layer, outputs = node.name, node.shape[0]
    output = program.add_output(node, "currents [place][o]", "x")
    finish = f"""    for (int o = 0; o < {outputs}; o++)
        {output.name}[p * {outputs} + o] = {product.current};
"""
    program.add_function(program.node_id(node), product.about, product.body(finish).replace("@OUT@", output.name))
    return output
