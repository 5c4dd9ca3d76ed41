"""Pools, votes and what works element by element. Spikes are unpacked to 0 and 1 where an operation needs numbers."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from plif_export.core.readers.rules import require
from plif_export.writers.c.names import number, rounded
from plif_export.writers.c.products import tap
from plif_export.writers.c.program import (
    CProgram,
    CValue,
    count_type,
    element,
    flags,
    indent,
    last,
    listing,
    nest,
    offset,
    strides,
)
from runtime.core.model.graph import Node
from runtime.core.model.ops import spatial

INFIX = {"Add": "+", "Mul": "*", "Sub": "-", "Div": "/"}
UNARY = {
    "Relu": "fmaxf({}, 0.0f)", "Neg": "-({})", "Abs": "fabsf({})", "Sqrt": "sqrtf({})", "Exp": "expf({})", "Tanh": "tanhf({})",
    "Sigmoid": "1.0f / (1.0f + expf(-({})))",
}  # fmt: skip


def _each(program: CProgram, node: Node, about: str, expression: Callable[[list[str]], str]) -> CValue:
    """A buffer of the node's shape, filled element by element; expression: (the indices of an element) -> its value."""
    loops, at = nest(node.shape)
    value = expression(at)
    made = program.output_of(node)
    line = f"{element(program, made, at)} = {value};\n"
    program.function(program.id(node), f"{node.name}: {about}", indent(loops) + indent(line, len(at) + 1))
    return made


def _source(program: CProgram, node: Node) -> CValue:
    return program.as_floats(program.values[node.inputs[0]])


def elementwise(program: CProgram, node: Node) -> CValue:
    """Add, Mul, Sub, Div: axes of size 1 are repeated."""
    sources = [program.as_floats(program.values[name]) for name in node.inputs]

    def expression(at: list[str]) -> str:
        text = f" {INFIX[node.op]} ".join(element(program, source, at) for source in sources)
        return rounded(text) if node.op == "Mul" else text

    return _each(program, node, node.op, expression)


def unary(program: CProgram, node: Node) -> CValue:
    function = str(node.attrs["function"])
    require(function in UNARY, f"the function {function} is not written", "use --to onnx")
    if function != "Neg":
        program.headers.add("math.h")
    source = _source(program, node)
    return _each(program, node, function, lambda at: UNARY[function].format(element(program, source, at)))


def affine(program: CProgram, node: Node) -> CValue:
    """x * scale + shift, one number each, or one for each channel or each neuron."""
    source = _source(program, node)

    def term(key: str, at: list[str]) -> str:
        values = np.asarray(node.params[key], np.float32)
        wanted, about = f"{program.id(node)}_{key}", f"{node.name}: {key}"
        if values.size == 1:
            return number(float(values.ravel()[0]))
        if values.ndim == 1:
            return f"{program.constant(wanted, values, about)}[{at[0]}]"
        name = program.constant(wanted, last(values, node.shape), about)
        return f"{name}[{offset(at, strides(node.shape), node.shape)}]"

    def expression(at: list[str]) -> str:
        scale, shift = term("scale", at), term("shift", at)
        return f"{rounded(f'{element(program, source, at)} * {scale}')} + {shift}"

    return _each(program, node, "x * scale + shift", expression)


def vote(program: CProgram, node: Node) -> CValue:
    """y[class] = spikes of its voters / voters."""
    voters, classes = int(node.attrs["voters"]), node.shape[0]
    source = program.values[node.inputs[0]]
    made = program.output_of(node, "share of the voters that fired, by class")
    name = made.name
    if source.kind == "spikes" and source.places == 1:
        add = f"""    for (int k = 0; k < {source.name}_n[0]; k++)
        {name}[{source.name}_c[k] / {voters}] += 1.0f;
"""
    else:
        source = program.as_floats(source)
        add = f"""    for (int o = 0; o < {classes * voters}; o++)
        {name}[o / {voters}] += {element(program, source, ["o"])};
"""
    body = f"""    for (int o = 0; o < {classes}; o++)
        {name}[o] = 0.0f;
{add}    for (int o = 0; o < {classes}; o++)
        {name}[o] /= {number(voters)};
"""
    program.function(program.id(node), f"{node.name}: {voters} voters for each class", body)
    return made


def pool(program: CProgram, node: Node) -> CValue:
    dims = len(node.shape) - 1
    require(dims in (1, 2), f"a pool over {dims} axes is not written", "use --to onnx")
    source, flat = program.values[node.inputs[0]], (1,) * (2 - dims)
    if node.op == "GlobalAvgPool":
        size = source.shape[1:]
        kernel = stride = flat + size
        padding: tuple[int, ...] = (0, 0)
    else:
        kernel, stride = (flat + spatial(node.attrs[key], dims) for key in ("kernel", "stride"))
        padding = (0,) * (2 - dims) + spatial(node.attrs.get("padding", 0), dims)
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
                    const int iy = {tap(*first)}, ix = {tap(*second)};
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
        held = program.spikes(f"{program.id(node)}_s", node.shape)
        inside = f"""                    for (int k = 0; k < {source.name}_n[q]; k++)
                        fired[{source.name}_c[q * {channels} + k]] = 1;"""
        body = window.replace("@INSIDE@", inside)
        listed = f"{listing(program, channels)}({held.name}_c + p * {channels}, fired, {channels})"
        body += f"            {held.name}_n[p] = ({count_type(channels)}){listed};"
        program.function(
            program.id(node),
            f"{node.name}: a place fires where any of its window fired",
            flags(program, channels) + loops.replace("@BODY@", body),
        )
        return held
    made = program.output_of(node)
    reach = ["o", *(["iy"] if dims == 2 else []), "ix"]
    read = element(program, source, reach)
    largest = node.op == "MaxPool"
    if largest:
        program.headers.add("float.h")
        pad = "    " * 5
        inside = f"{pad}const float a = {read};\n{pad}if (a > total)\n{pad}    total = a;"
    else:
        inside = f"                    total += {read};"
    start = "-FLT_MAX" if largest else "0.0f"
    window = window.replace(f"                    const int q = iy * {iw} + ix;\n", "").replace("@INSIDE@", inside)
    store = "total" if largest else f"total / {number(prod(kernel))}"
    body = f"""            for (int o = 0; o < {channels}; o++) {{
                float total = {start};
{indent(window).rstrip()}
                {made.name}[p * {channels} + o] = {store};
            }}"""
    what = "the largest of a window" if largest else "the mean of a window; padding counts"
    program.function(program.id(node), f"{node.name}: {what}", loops.replace("@BODY@", body))
    return made


def reshape(program: CProgram, node: Node) -> CValue:
    """A flattened value is not moved: who reads it knows how it lies."""
    source = program.values[node.inputs[0]]
    if len(node.shape) == 1 and source.kind != "x":
        return CValue(source.kind, source.name, node.shape, source.lies)
    source = program.as_floats(source)
    if source.kind == "x":
        return CValue("x", "x", node.shape, node.shape)

    def expression(at: list[str]) -> str:
        flat = " + ".join(f"{k} * {prod(node.shape[i + 1 :])}" for i, k in enumerate(at))
        index = [f"(({flat}) / {prod(source.shape[i + 1 :])} % {n})" for i, n in enumerate(source.shape)]
        return element(program, source, index)

    return _each(program, node, "another shape", expression)


def permute(program: CProgram, node: Node) -> CValue:
    source = _source(program, node)
    axes = [axis - 1 for axis in node.attrs["axes"][1:]]  # axis 0 of the attribute is the batch
    return _each(
        program, node, "axes moved", lambda at: element(program, source, [at[axes.index(i)] for i in range(len(at))])
    )


def slice_(program: CProgram, node: Node) -> CValue:
    a, source = node.attrs, _source(program, node)
    axis = int(a["axis"]) - 1
    taken = range(source.shape[axis])[a["start"] : a["stop"] : a["step"]]

    def expression(at: list[str]) -> str:
        index = [f"({k} * {taken.step} + {taken.start})" if i == axis else k for i, k in enumerate(at)]
        return element(program, source, index)

    return _each(program, node, "a part", expression)


def concat(program: CProgram, node: Node) -> CValue:
    axis = int(node.attrs["axis"]) - 1
    sources = [program.as_floats(program.values[name]) for name in node.inputs]
    made = program.output_of(node)
    body, begin = "", 0
    for source in sources:
        loops, at = nest(source.shape)
        to = [k if i != axis else f"({k} + {begin})" for i, k in enumerate(at)]
        line = f"{element(program, made, to)} = {element(program, source, at)};\n"
        body += indent(loops) + indent(line, len(at) + 1)
        begin += source.shape[axis]
    program.function(program.id(node), f"{node.name}: side by side", body)
    return made


def reduced(program: CProgram, node: Node) -> CValue:
    """The mean, the sum or the largest along some axes."""
    source = _source(program, node)
    how, axes = node.attrs["how"], [axis - 1 for axis in node.attrs["axes"]]  # of the shape: the batch is no axis in C
    loops, at = nest(node.shape)
    kept = [at[i] for i in range(len(source.shape)) if i not in axes] if node.attrs["keepdims"] else list(at)
    inner, along = nest([source.shape[i] for i in axes], "rstuvw")
    index = [along[axes.index(i)] if i in axes else kept.pop(0) for i in range(len(source.shape))]
    read = element(program, source, index)
    if how == "max":
        program.headers.add("float.h")
        more = f"if ({read} > total)\n    total = {read};"
        return _total(program, node, loops, at, inner, more, start="-FLT_MAX")
    total = f"total / {number(prod(source.shape[i] for i in axes))}" if how == "mean" else "total"
    return _total(program, node, loops, at, inner, f"total += {read};", total=total)


def matmul(program: CProgram, node: Node) -> CValue:
    """[.., M, K] x [.., K, N]; axes of size 1 before the last two are repeated."""
    a, b = (program.as_floats(program.values[name]) for name in node.inputs)
    loops, at = nest(node.shape)
    left, right = element(program, a, [*at[:-1], "k"]), element(program, b, [*at[:-2], "k", at[-1]])
    inner = f"for (int k = 0; k < {a.shape[-1]}; k++)\n"
    return _total(program, node, loops, at, inner, f"total += {left} * {right};")


def _total(
    program: CProgram, node: Node, loops: str, at: list[str], inner: str, more: str, start: str = "0.0f", total: str = "total"
) -> CValue:  # fmt: skip
    """A buffer of the node's shape; each element is what the inner loops make of `total`."""
    made = program.output_of(node)
    depth = len(inner.splitlines())
    body = f"float total = {start};\n{inner}{indent(more, depth)}{element(program, made, at)} = {total};\n"
    last_loop = f"{loops.rstrip()} {{\n" if loops else ""
    close = "    " * len(at) + "}\n" if loops else ""
    text = f"{indent(last_loop)}{indent(body, 1 + len(at))}{close}"
    program.function(program.id(node), f"{node.name}: {node.op}", text)
    return made


def constant(program: CProgram, node: Node) -> CValue:
    values = last(np.asarray(node.params["value"], np.float32), node.shape)
    name = program.constant(f"{program.id(node)}_value", values, f"{node.name}: constant")
    return CValue("floats", name, node.shape, node.shape)


MAKERS: dict[str, Callable[[CProgram, Node], CValue]] = {
    "Constant": constant,
    **dict.fromkeys(("MaxPool", "AvgPool", "GlobalAvgPool"), pool),
    "Affine": affine,
    "Unary": unary,
    **dict.fromkeys(("Add", "Mul", "Sub", "Div"), elementwise),
    "Concat": concat,
    "Slice": slice_,
    "Permute": permute,
    "Reduce": reduced,
    "MatMul": matmul,
    "Reshape": reshape,
    "Flatten": reshape,
    "Vote": vote,
}
