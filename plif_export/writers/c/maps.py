"""The C code of pools, votes and elementwise operations.

Spikes are unpacked to 0 and 1 if an operation needs numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from plif_export.core.readers.rules import require
from plif_export.writers.c.names import format_number, no_fma
from plif_export.writers.c.products import tap_index
from plif_export.writers.c.program import (
    CProgram,
    CValue,
    add_list_helper,
    channels_last,
    channels_last_strides,
    count_type,
    declare_flags,
    element_text,
    indent,
    nest_loops,
    offset_text,
)
from runtime.core.model.graph import Node
from runtime.core.model.ops import expand_sizes

INFIX = {"Add": "+", "Mul": "*", "Sub": "-", "Div": "/"}
UNARY = {
    "Relu": "fmaxf({}, 0.0f)", "Neg": "-({})", "Abs": "fabsf({})", "Sqrt": "sqrtf({})", "Exp": "expf({})", "Tanh": "tanhf({})",
    "Sigmoid": "1.0f / (1.0f + expf(-({})))",
}  # fmt: skip


def _write_elements(program: CProgram, node: Node, about: str, expression: Callable[[list[str]], str]) -> CValue:
    """Write C loops that fill a buffer of a node's output shape element by element.

    expression: (the indices of an element) -> its value
    """
    loops, index = nest_loops(node.shape)
    value = expression(index)
    output = program.add_output(node)
    line = f"{element_text(program, output, index)} = {value};\n"
    program.add_function(program.node_id(node), f"{node.name}: {about}", indent(loops) + indent(line, len(index) + 1))
    return output


def _first_input(program: CProgram, node: Node) -> CValue:
    return program.as_floats(program.values[node.inputs[0]])


def write_elementwise(program: CProgram, node: Node) -> CValue:
    """Write Add, Mul, Sub or Div of arrays as C loops; axes of size 1 are repeated."""
    sources = [program.as_floats(program.values[name]) for name in node.inputs]

    def expression(index: list[str]) -> str:
        text = f" {INFIX[node.op]} ".join(element_text(program, source, index) for source in sources)
        return no_fma(text) if node.op == "Mul" else text

    return _write_elements(program, node, node.op, expression)


def write_unary(program: CProgram, node: Node) -> CValue:
    function = str(node.attrs["function"])
    require(function in UNARY, f"the function {function} is not written", "use --to onnx")
    if function != "Neg":
        program.headers.add("math.h")
    source = _first_input(program, node)
    return _write_elements(
        program, node, function, lambda index: UNARY[function].format(element_text(program, source, index))
    )


def write_affine(program: CProgram, node: Node) -> CValue:
    """Write an operation x * scale + shift as C, with one number each, or one for each channel or each neuron."""
    source = _first_input(program, node)

    def term(key: str, index: list[str]) -> str:
        values = np.asarray(node.params[key], np.float32)
        base_name, about = f"{program.node_id(node)}_{key}", f"{node.name}: {key}"
        if values.size == 1:
            return format_number(float(values.ravel()[0]))
        if values.ndim == 1:
            return f"{program.add_constant(base_name, values, about)}[{index[0]}]"
        name = program.add_constant(base_name, channels_last(values, node.shape), about)
        return f"{name}[{offset_text(index, channels_last_strides(node.shape), node.shape)}]"

    def expression(index: list[str]) -> str:
        scale, shift = term("scale", index), term("shift", index)
        return f"{no_fma(f'{element_text(program, source, index)} * {scale}')} + {shift}"

    return _write_elements(program, node, "x * scale + shift", expression)


def write_vote(program: CProgram, node: Node) -> CValue:
    """Write the vote layer (readout) as C: y[class] = spikes of its voters / voters."""
    voters, classes = int(node.attrs["voters"]), node.shape[0]
    source = program.values[node.inputs[0]]
    output = program.add_output(node, "share of the voters that fired, by class")
    name = output.name
    if source.kind == "spikes" and source.places == 1:
        add = f"""    for (int k = 0; k < {source.name}_n[0]; k++)
        {name}[{source.name}_c[k] / {voters}] += 1.0f;
"""
    else:
        source = program.as_floats(source)
        add = f"""    for (int o = 0; o < {classes * voters}; o++)
        {name}[o / {voters}] += {element_text(program, source, ["o"])};
"""
    body = f"""    for (int o = 0; o < {classes}; o++)
        {name}[o] = 0.0f;
{add}    for (int o = 0; o < {classes}; o++)
        {name}[o] /= {format_number(voters)};
"""
    program.add_function(program.node_id(node), f"{node.name}: {voters} voters for each class", body)
    return output


def write_pool(program: CProgram, node: Node) -> CValue:
    dims = len(node.shape) - 1
    require(dims in (1, 2), f"a pool over {dims} axes is not written", "use --to onnx")
    source, flat = program.values[node.inputs[0]], (1,) * (2 - dims)
    if node.op == "GlobalAvgPool":
        size = source.shape[1:]
        kernel = stride = flat + size
        padding: tuple[int, ...] = (0, 0)
    else:
        kernel, stride = (flat + expand_sizes(node.attrs[key], dims) for key in ("kernel", "stride"))
        padding = (0,) * (2 - dims) + expand_sizes(node.attrs.get("padding", 0), dims)
    require(
        node.attrs.get("dilation", 1) in (1, [1, 1], (1, 1)), "a pool with dilation is not written", "use --to onnx"
    )
    ih, iw = flat + source.shape[1:]
    oh, ow = flat + node.shape[1:]
    channels = node.shape[0]
    of_spikes = node.op == "MaxPool" and source.kind == "spikes" and not source.flattened
    if not of_spikes:
        source = program.as_floats(source)
    first, second = (("oy", stride[0], padding[0], "ky", 1), ("ox", stride[1], padding[1], "kx", 1))
    window = f"""            for (int ky = 0; ky < {kernel[0]}; ky++)
                for (int kx = 0; kx < {kernel[1]}; kx++) {{
                    const int iy = {tap_index(*first)}, ix = {tap_index(*second)};
                    if (iy < 0 || iy >= {ih} || ix < 0 || ix >= {iw})
                        continue;
                    const int q = iy * {iw} + ix;
@INSIDE@
                }}
"""
    loops = f"""    for (int oy = 0, p = 0; oy < {oh}; oy++)
        for (int ox = 0; ox < {ow}; ox++, p++) {{
@BODY@
        }}
"""
    if of_spikes:
        spikes = program.add_spikes(f"{program.node_id(node)}_s", node.shape)
        inside = f"""                    for (int k = 0; k < {source.name}_n[q]; k++)
                        fired[{source.name}_c[q * {channels} + k]] = 1;"""
        body = window.replace("@INSIDE@", inside)
        listed = f"{add_list_helper(program, channels)}({spikes.name}_c + p * {channels}, fired, {channels})"
        body += f"            {spikes.name}_n[p] = ({count_type(channels)}){listed};"
        program.add_function(
            program.node_id(node),
            f"{node.name}: a place fires where any of its window fired",
            declare_flags(program, channels) + loops.replace("@BODY@", body),
        )
        return spikes
    output = program.add_output(node)
    reach = ["o", *(["iy"] if dims == 2 else []), "ix"]
    read = element_text(program, source, reach)
    largest = node.op == "MaxPool"
    if largest:
        program.headers.add("float.h")
        pad = "    " * 5
        inside = f"{pad}const float a = {read};\n{pad}if (a > total)\n{pad}    total = a;"
    else:
        inside = f"                    total += {read};"
    start = "-FLT_MAX" if largest else "0.0f"
    window = window.replace(f"                    const int q = iy * {iw} + ix;\n", "").replace("@INSIDE@", inside)
    store = "total" if largest else f"total / {format_number(prod(kernel))}"
    body = f"""            for (int o = 0; o < {channels}; o++) {{
                float total = {start};
{indent(window).rstrip()}
                {output.name}[p * {channels} + o] = {store};
            }}"""
    label = "the largest of a window" if largest else "the mean of a window; padding counts"
    program.add_function(program.node_id(node), f"{node.name}: {label}", loops.replace("@BODY@", body))
    return output


def write_reshape(program: CProgram, node: Node) -> CValue:
    """Write a reshape as C; a flattened value is not moved, as the code that reads it knows its memory layout."""
    source = program.values[node.inputs[0]]
    if len(node.shape) == 1 and source.kind != "x":
        return CValue(source.kind, source.name, node.shape, source.layout)
    source = program.as_floats(source)
    if source.kind == "x":
        return CValue("x", "x", node.shape, node.shape)

    def expression(index: list[str]) -> str:
        flat = " + ".join(f"{k} * {prod(node.shape[i + 1 :])}" for i, k in enumerate(index))
        source_index = [f"(({flat}) / {prod(source.shape[i + 1 :])} % {n})" for i, n in enumerate(source.shape)]
        return element_text(program, source, source_index)

    return _write_elements(program, node, "another shape", expression)


def write_permute(program: CProgram, node: Node) -> CValue:
    source = _first_input(program, node)
    axes = [axis - 1 for axis in node.attrs["axes"][1:]]  # axis 0 of the attribute is the batch
    return _write_elements(
        program,
        node,
        "axes moved",
        lambda index: element_text(program, source, [index[axes.index(i)] for i in range(len(index))]),
    )


def write_slice(program: CProgram, node: Node) -> CValue:
    a, source = node.attrs, _first_input(program, node)
    axis = int(a["axis"]) - 1
    positions = range(source.shape[axis])[a["start"] : a["stop"] : a["step"]]

    def expression(position: list[str]) -> str:
        source_index = [
            f"({k} * {positions.step} + {positions.start})" if i == axis else k for i, k in enumerate(position)
        ]
        return element_text(program, source, source_index)

    return _write_elements(program, node, "a part", expression)


def write_concat(program: CProgram, node: Node) -> CValue:
    axis = int(node.attrs["axis"]) - 1
    sources = [program.as_floats(program.values[name]) for name in node.inputs]
    output = program.add_output(node)
    body, begin = "", 0
    for source in sources:
        loops, index = nest_loops(source.shape)
        to = [k if i != axis else f"({k} + {begin})" for i, k in enumerate(index)]
        line = f"{element_text(program, output, to)} = {element_text(program, source, index)};\n"
        body += indent(loops) + indent(line, len(index) + 1)
        begin += source.shape[axis]
    program.add_function(program.node_id(node), f"{node.name}: side by side", body)
    return output


def write_reduce(program: CProgram, node: Node) -> CValue:
    """Write the mean, the sum or the maximum of an array along some axes as C."""
    source = _first_input(program, node)
    operation, axes = (
        node.attrs["how"],
        [axis - 1 for axis in node.attrs["axes"]],
    )  # of the shape: the batch is no axis in C
    loops, outer_index = nest_loops(node.shape)
    outer = (
        [outer_index[i] for i in range(len(source.shape)) if i not in axes]
        if node.attrs["keepdims"]
        else list(outer_index)
    )
    inner, along = nest_loops([source.shape[i] for i in axes], "rstuvw")
    source_index = [along[axes.index(i)] if i in axes else outer.pop(0) for i in range(len(source.shape))]
    read = element_text(program, source, source_index)
    if operation == "max":
        program.headers.add("float.h")
        update = f"if ({read} > total)\n    total = {read};"
        return _write_total(program, node, loops, outer_index, inner, update, start="-FLT_MAX")
    total = f"total / {format_number(prod(source.shape[i] for i in axes))}" if operation == "mean" else "total"
    return _write_total(program, node, loops, outer_index, inner, f"total += {read};", total=total)


def write_top_k(program: CProgram, node: Node) -> CValue:
    """Write the k largest values of an axis as C: the largest of those that at least as many reach as the place says."""
    source, axis = _first_input(program, node), int(node.attrs["axis"]) - 1
    loops, index = nest_loops(node.shape)

    def read(place: str) -> str:
        return element_text(program, source, [*index[:axis], place, *index[axis + 1 :]])

    program.headers.add("float.h")
    n = source.shape[axis]
    update = f"""{{
    int reached = 0;
    for (int s = 0; s < {n}; s++)
        reached += {read("s")} >= {read("r")};
    if (reached > {index[axis]} && {read("r")} > total)
        total = {read("r")};
}}"""
    return _write_total(program, node, loops, index, f"for (int r = 0; r < {n}; r++)\n", update, start="-FLT_MAX")


def write_matmul(program: CProgram, node: Node) -> CValue:
    """Write a matrix product [.., M, K] x [.., K, N] as C; axes of size 1 before the last two are repeated."""
    a, b = (program.as_floats(program.values[name]) for name in node.inputs)
    loops, index = nest_loops(node.shape)
    left, right = element_text(program, a, [*index[:-1], "k"]), element_text(program, b, [*index[:-2], "k", index[-1]])
    inner = f"for (int k = 0; k < {a.shape[-1]}; k++)\n"
    return _write_total(program, node, loops, index, inner, f"total += {left} * {right};")


def _write_total(
    program: CProgram, node: Node, loops: str, index: list[str], inner: str, update: str, start: str = "0.0f",
    total: str = "total",
) -> CValue:  # fmt: skip
    """Write C loops that fill a buffer of a node's output shape; inner loops add up each element in `total`."""
    output = program.add_output(node)
    depth = len(inner.splitlines())
    body = f"float total = {start};\n{inner}{indent(update, depth)}{element_text(program, output, index)} = {total};\n"
    last_loop = f"{loops.rstrip()} {{\n" if loops else ""
    close = "    " * len(index) + "}\n" if loops else ""
    text = f"{indent(last_loop)}{indent(body, 1 + len(index))}{close}"
    program.add_function(program.node_id(node), f"{node.name}: {node.op}", text)
    return output


def write_constant(program: CProgram, node: Node) -> CValue:
    values = channels_last(np.asarray(node.params["value"], np.float32), node.shape)
    name = program.add_constant(f"{program.node_id(node)}_value", values, f"{node.name}: constant")
    return CValue("floats", name, node.shape, node.shape)


WRITERS: dict[str, Callable[[CProgram, Node], CValue]] = {
    "Constant": write_constant,
    **dict.fromkeys(("MaxPool", "AvgPool", "GlobalAvgPool"), write_pool),
    "Affine": write_affine,
    "Unary": write_unary,
    **dict.fromkeys(("Add", "Mul", "Sub", "Div"), write_elementwise),
    "Concat": write_concat,
    "Slice": write_slice,
    "Permute": write_permute,
    "Reduce": write_reduce,
    "MatMul": write_matmul,
    "TopK": write_top_k,
    "Reshape": write_reshape,
    "Flatten": write_reshape,
    "Vote": write_vote,
}
