"""Conversion of ONNX files between step form and loop form, at the protobuf wire level.

    step   x [B, ...], states -> y [B, ...], states
    loop   x [T, B, ...], states -> y [T, B, ...], states       one node, a Scan; its body is the step with its weights

A Scan runs as many steps as its input has, so no file can loop for ever, as a file with a Loop node could. ONNX
Runtime is as fast with either node. The weights are inside the body. ONNX Runtime does not fold or pack weights from
outside, which is a third slower in float32 and gives other bits than the step form (docs/export.md).

Outside the body, tensors have their names of the step form. Inside, the inputs and outputs of the body have the
suffix INSIDE, since no name may stand for two tensors.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import BinaryIO

from runtime.core.model.readers.onnx_contents import SCAN
from runtime.core.model.readers.onnx_wire import (
    ATTRIBUTE_INT,
    ATTRIBUTE_NAME,
    ATTRIBUTE_TYPE,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    MODEL_GRAPH,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_NAME,
    NODE_OP,
    NODE_OUTPUT,
    NotProtobuf,
    copy_field,
    encode_field,
    iterate_fields,
    iterate_messages,
    read_text_field,
)

STEPS = "T"  # the name of the axis of steps
INSIDE = "/step"  # no name of a layer has a /
GRAPH_NAME, GRAPH_INPUT, ATTRIBUTE_GRAPH, VALUE_NAME, VALUE_TYPE = 2, 11, 6, 1, 2
TYPE_INT, TYPE_GRAPH = 2, 5  # AttributeProto.AttributeType

Field = tuple[int, bytes]  # a field of a graph: its number, and its message or text
Names = Mapping[str, str]


def to_loop_form(step: bytes, x: str, states: Names) -> bytes:
    """Convert an ONNX model from one step per call to a loop over many steps per call; return its bytes.

    x is the name of its input, states {input: output} the names of its states.
    """
    file = io.BytesIO(step)
    graph = [part for span in iterate_messages(file, 0, len(step), MODEL_GRAPH) for part in _graph_fields(file, *span)]
    ports = {
        number: {_value_name(value): value for n, value in graph if n == number}
        for number in (GRAPH_INPUT, GRAPH_OUTPUT)
    }
    inside = {name: f"{name}{INSIDE}" for values in ports.values() for name in values}
    state_names = {*states, *states.values()}
    ins, outs = [*states, x], [*states.values(), *(name for name in ports[GRAPH_OUTPUT] if name not in state_names)]
    body = [part for part in graph if part[0] not in ports]
    outside: list[Field] = [(GRAPH_NAME, b"plif_loop")]
    for (number, values), names in zip(ports.items(), (ins, outs), strict=True):
        body += [(number, values[name]) for name in names]
        outside += [(number, value if name in state_names else _add_step_axis(value)) for name, value in values.items()]
    scan = b"".join(encode_field(NODE_INPUT, name.encode()) for name in ins) + b"".join(
        encode_field(NODE_OUTPUT, name.encode()) for name in outs
    )
    scan += encode_field(NODE_NAME, b"steps/Scan") + encode_field(NODE_OP, SCAN.encode())
    scan += _attribute(
        "body", encode_field(ATTRIBUTE_GRAPH, _serialize_graph(_rename_tensors(body, inside))), TYPE_GRAPH
    )
    scan += _attribute("num_scan_inputs", encode_field(ATTRIBUTE_INT, 1), TYPE_INT)
    return _replace_graph(file, len(step), _serialize_graph([(GRAPH_NODE, scan), *outside]))


def to_step_form(model: bytes) -> bytes:
    """Convert an ONNX model that loops over many steps to one step per call; return any other model unchanged.

    Raises NotProtobuf for a Scan that is not a loop form.
    """
    file = io.BytesIO(model)
    graphs = list(iterate_messages(file, 0, len(model), MODEL_GRAPH))
    nodes = list(islice((node for graph in graphs for node in iterate_messages(file, *graph, GRAPH_NODE)), 2))
    if len(nodes) != 1 or read_text_field(file, *nodes[0], NODE_OP) != SCAN:
        return model
    attributes = list(iterate_messages(file, *nodes[0], NODE_ATTRIBUTE))
    bodies = [body for attribute in attributes for body in iterate_messages(file, *attribute, ATTRIBUTE_GRAPH)]
    if len(bodies) != 1:
        raise NotProtobuf
    outside: dict[str, str] = {}
    body = list(_graph_fields(file, *bodies[0]))
    for number, node_field in ((GRAPH_INPUT, NODE_INPUT), (GRAPH_OUTPUT, NODE_OUTPUT)):
        names = [_read_text(file, *span) for span in iterate_messages(file, *nodes[0], node_field)]
        ports = [(name, value) for n, value in body if n == number for name in [_value_name(value)]]
        if len(names) != len(ports):
            raise NotProtobuf
        outside |= {name: outer_name for (name, _), outer_name in zip(ports, names, strict=True)}
        order = [
            _value_name(_read_bytes(file, *span)) for graph in graphs for span in iterate_messages(file, *graph, number)
        ]
        ranks = {name: rank for rank, name in enumerate(order)}
        values = sorted(ports, key=lambda port: ranks.get(outside[port[0]], 0))
        body = [part for part in body if part[0] != number] + [(number, value) for _, value in values]
    return _replace_graph(file, len(model), _serialize_graph(_rename_tensors(body, outside)))


def _graph_fields(file: BinaryIO, start: int, end: int) -> Iterator[Field]:
    """Yield the fields (number, bytes) of the ONNX graph that lies in the bytes [start, end) of a file."""
    for number, wire, a, b in list(iterate_fields(file, start, end)):
        if wire != 2:
            raise NotProtobuf
        yield number, _read_bytes(file, a, b)


def _rename_tensors(graph: Iterable[Field], names: Names) -> Iterator[Field]:
    """Yield the fields of an ONNX graph with its tensors renamed."""
    tensors = {GRAPH_NODE: (NODE_INPUT, NODE_OUTPUT), GRAPH_INPUT: (VALUE_NAME,), GRAPH_OUTPUT: (VALUE_NAME,)}
    for number, value in graph:
        yield number, _rename_fields(value, tensors[number], names) if number in tensors else value


def _rename_fields(message: bytes, numbers: tuple[int, ...], names: Names) -> bytes:
    file, renamed = io.BytesIO(message), b""
    for field in list(iterate_fields(file, 0, len(message))):
        number, _, a, b = field
        if number in numbers:
            name = _read_text(file, a, b)
            renamed += encode_field(number, names.get(name, name).encode())
        else:
            renamed += copy_field(file, field)
    return renamed


def _add_step_axis(value: bytes) -> bytes:
    """Return an ONNX graph input or output whose shape has a new first axis T for steps; unchanged without a shape."""

    def insert_axis(message: bytes, path: tuple[int, ...]) -> bytes:
        if not path:
            return encode_field(1, encode_field(2, STEPS.encode())) + message  # a dimension that has a name (dim_param)
        file = io.BytesIO(message)
        return b"".join(
            encode_field(path[0], insert_axis(message[field[2] : field[3]], path[1:]))
            if field[0] == path[0]
            else copy_field(file, field)
            for field in list(iterate_fields(file, 0, len(message)))
        )

    return insert_axis(value, (VALUE_TYPE, 1, 2))  # ValueInfoProto.type -> tensor_type -> shape


def _serialize_graph(graph_fields: Iterable[Field]) -> bytes:
    """Serialize the fields of an ONNX graph in the order of their numbers, as protobuf does."""
    return b"".join(encode_field(number, value) for number, value in sorted(graph_fields, key=lambda field: field[0]))


def _replace_graph(file: BinaryIO, size: int, graph: bytes) -> bytes:
    """Return the bytes of an ONNX model in which the graph is replaced by `graph`."""
    content, graphs = b"", [encode_field(MODEL_GRAPH, graph)]
    for field in list(iterate_fields(file, 0, size)):
        content += copy_field(file, field) if field[0] != MODEL_GRAPH else graphs.pop() if graphs else b""
    return content


def _attribute(name: str, value: bytes, kind: int) -> bytes:
    return encode_field(
        NODE_ATTRIBUTE, encode_field(ATTRIBUTE_NAME, name.encode()) + value + encode_field(ATTRIBUTE_TYPE, kind)
    )


def _value_name(value: bytes) -> str:
    return read_text_field(io.BytesIO(value), 0, len(value), VALUE_NAME) or ""


def _read_text(file: BinaryIO, start: int, end: int) -> str:
    return _read_bytes(file, start, end).decode()


def _read_bytes(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)
