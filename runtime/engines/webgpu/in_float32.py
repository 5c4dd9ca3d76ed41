"""The rewrite of an ONNX file to float32 sums, for providers with other sums that are not exact."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import BinaryIO

from runtime.core.model.readers.onnx_wire import (
    ATTRIBUTE_INT,
    FLOAT,
    GRAPH_INITIALIZER,
    GRAPH_NODE,
    MODEL_GRAPH,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_OP,
    NODE_OUTPUT,
    TENSOR_NAME,
    TENSOR_TYPE,
    Span,
    copy_field,
    encode_field,
    encode_node,
    iterate_fields,
    iterate_messages,
    read_text_field,
)  # fmt: skip

REDUCED = {2, 3, 10, 21, 22}  # TensorProto.DataType: UINT8, INT8, FLOAT16, UINT4, INT4
# A setting of ONNX Runtime beside it: it would multiply the scale of int8 weights into them, and sum what is not whole.
SCALE_LAST = ("optimization.disable_specified_optimizers", "ConvMulFusion")


def rewrite_to_float32(model: bytes) -> bytes:
    """Rewrite an ONNX model so that all its sums are float32; `model` is the result of read_model.

    The weights stay those of the file; ONNX Runtime casts them once, when it loads.

        Cast to FLOAT16, INT8 or UINT8    Cast to FLOAT: spikes and counts are exact in each of them
        Conv, Gemm of a half weight       of that weight in float32
        ConvInteger, MatMulInteger        Conv, MatMul of both operands less their zero points: whole numbers, with
                                          sums that are exact up to 2^24 in any order. Above, the Cast of int32 sums
                                          to FLOAT would round, too
    """
    file = io.BytesIO(model)
    other_fields = [span for span in iterate_fields(file, 0, len(model)) if span[0] != MODEL_GRAPH]
    graphs = list(iterate_messages(file, 0, len(model), MODEL_GRAPH))
    parts = [part for start, end in graphs for part in iterate_fields(file, start, end)]
    graph, casts = b"", {}
    for number, _, a, b in parts:
        if number == GRAPH_INITIALIZER and any(
            n == TENSOR_TYPE and kind in REDUCED for n, _, kind, _ in iterate_fields(file, a, b)
        ):
            name = read_text_field(file, a, b, TENSOR_NAME) or ""
            casts[name] = f"{name}.float32"
            graph += encode_node("Cast", [name], casts[name], {"to": FLOAT})
    for part in parts:
        graph += _rewrite_node(file, part, casts) if part[0] == GRAPH_NODE else copy_field(file, part)
    return b"".join(copy_field(file, span) for span in other_fields) + encode_field(MODEL_GRAPH, graph)


def _rewrite_node(file: BinaryIO, node: Span, casts: Mapping[str, str]) -> bytes:
    """Rewrite one node of an ONNX model to float32; return the graph fields that replace it.

    casts: {an initializer of another type: its float32 copy}.
    """
    _, _, start, end = node
    op, output = (read_text_field(file, start, end, number) or "" for number in (NODE_OP, NODE_OUTPUT))
    names, body, before = [], b"", b""
    for number, wire, a, b in iterate_fields(file, start, end):
        if number == NODE_INPUT:
            file.seek(a)
            name = file.read(b - a).decode()
            names.append(casts.get(name, name))
        elif number == NODE_ATTRIBUTE and op == "Cast":
            to = [
                (n, w, FLOAT if n == ATTRIBUTE_INT and i in REDUCED else i, j)
                for n, w, i, j in iterate_fields(file, a, b)
            ]
            body += encode_field(NODE_ATTRIBUTE, b"".join(copy_field(file, field) for field in to))
        elif number != NODE_OP:
            body += copy_field(file, (number, wire, a, b))
    if op in ("ConvInteger", "MatMulInteger"):
        op, names, zeros = op.removesuffix("Integer"), names[:2], names[2:]
        for i, zero in enumerate(zeros):
            before += encode_node("Sub", [names[i], zero], f"{output}.operand{i}")
            names[i] = f"{output}.operand{i}"
    inputs = b"".join(encode_field(NODE_INPUT, name.encode()) for name in names)
    return before + encode_field(GRAPH_NODE, inputs + encode_field(NODE_OP, op.encode()) + body)
