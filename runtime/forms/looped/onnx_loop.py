"""The loop form of an ONNX file, made of a step form and taken apart into it, at the protobuf wire level.

    step   x [B, ...], states -> y [B, ...], states
    loop   x [T, B, ...], states -> y [T, B, ...], states       one node, a Scan, whose body is the step with its weights

A Scan takes as many steps as its input has, so that no file turns for ever, as one with a Loop may; ONNX Runtime is as fast
with either. The weights are in the body: ONNX Runtime folds and packs none from outside, which is a third slower in float32, and
gives other bits than the step (docs/export.md).

Outside, tensors have the names that they have in the step form. Inside, the ends of the body have INSIDE behind them, since no
name may stand for two tensors.
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
    copied,
    fields,
    messages,
    put,
    text_field,
)

STEPS = "T"  # the name of the axis of steps
INSIDE = "/step"  # no name of a layer has a /
GRAPH_NAME, GRAPH_INPUT, ATTRIBUTE_GRAPH, VALUE_NAME, VALUE_TYPE = 2, 11, 6, 1, 2
OF_INT, OF_GRAPH = 2, 5  # AttributeProto.AttributeType

Field = tuple[int, bytes]  # of a graph: its number and its message or text
Names = Mapping[str, str]


def loop_of(step: bytes, x: str, states: Names) -> bytes:
    """The loop form of a step form: x is the name of its input, states {input: output} those of its states."""
    file = io.BytesIO(step)
    graph = [part for span in messages(file, 0, len(step), MODEL_GRAPH) for part in _parts(file, *span)]
    ends = {
        number: {_name(value): value for n, value in graph if n == number} for number in (GRAPH_INPUT, GRAPH_OUTPUT)
    }
    inside = {name: f"{name}{INSIDE}" for values in ends.values() for name in values}
    held = {*states, *states.values()}
    ins, outs = [*states, x], [*states.values(), *(name for name in ends[GRAPH_OUTPUT] if name not in held)]
    body = [part for part in graph if part[0] not in ends]
    outside: list[Field] = [(GRAPH_NAME, b"plif_loop")]
    for (number, values), names in zip(ends.items(), (ins, outs), strict=True):
        body += [(number, values[name]) for name in names]
        outside += [(number, value if name in held else _with_steps(value)) for name, value in values.items()]
    scan = b"".join(put(NODE_INPUT, name.encode()) for name in ins) + b"".join(
        put(NODE_OUTPUT, name.encode()) for name in outs
    )
    scan += put(NODE_NAME, b"steps/Scan") + put(NODE_OP, SCAN.encode())
    scan += _attribute("body", put(ATTRIBUTE_GRAPH, _graph(_renamed(body, inside))), OF_GRAPH)
    scan += _attribute("num_scan_inputs", put(ATTRIBUTE_INT, 1), OF_INT)
    return _with_graph(file, len(step), _graph([(GRAPH_NODE, scan), *outside]))


def step_of(model: bytes) -> bytes:
    """The step form that is the body of a loop form; other models as they are. Raises NotProtobuf for a Scan that is no loop."""
    file = io.BytesIO(model)
    graphs = list(messages(file, 0, len(model), MODEL_GRAPH))
    nodes = list(islice((node for graph in graphs for node in messages(file, *graph, GRAPH_NODE)), 2))
    if len(nodes) != 1 or text_field(file, *nodes[0], NODE_OP) != SCAN:
        return model
    attributes = list(messages(file, *nodes[0], NODE_ATTRIBUTE))
    bodies = [body for attribute in attributes for body in messages(file, *attribute, ATTRIBUTE_GRAPH)]
    if len(bodies) != 1:
        raise NotProtobuf
    outside: dict[str, str] = {}
    body = list(_parts(file, *bodies[0]))
    for number, of_node in ((GRAPH_INPUT, NODE_INPUT), (GRAPH_OUTPUT, NODE_OUTPUT)):
        names = [_text(file, *span) for span in messages(file, *nodes[0], of_node)]
        ends = [(name, value) for n, value in body if n == number for name in [_name(value)]]
        if len(names) != len(ends):
            raise NotProtobuf
        outside |= {name: of_scan for (name, _), of_scan in zip(ends, names, strict=True)}
        order = [_name(_bytes(file, *span)) for graph in graphs for span in messages(file, *graph, number)]
        ranks = {name: rank for rank, name in enumerate(order)}
        values = sorted(ends, key=lambda end: ranks.get(outside[end[0]], 0))
        body = [part for part in body if part[0] != number] + [(number, value) for _, value in values]
    return _with_graph(file, len(model), _graph(_renamed(body, outside)))


def _parts(file: BinaryIO, start: int, end: int) -> Iterator[Field]:
    """The fields of the graph in bytes [start, end)."""
    for number, wire, a, b in list(fields(file, start, end)):
        if wire != 2:
            raise NotProtobuf
        yield number, _bytes(file, a, b)


def _renamed(graph: Iterable[Field], names: Names) -> Iterator[Field]:
    """The fields of a graph with other names of tensors."""
    tensors = {GRAPH_NODE: (NODE_INPUT, NODE_OUTPUT), GRAPH_INPUT: (VALUE_NAME,), GRAPH_OUTPUT: (VALUE_NAME,)}
    for number, value in graph:
        yield number, _with_names(value, tensors[number], names) if number in tensors else value


def _with_names(message: bytes, numbers: tuple[int, ...], names: Names) -> bytes:
    file, made = io.BytesIO(message), b""
    for field in list(fields(file, 0, len(message))):
        number, _, a, b = field
        if number in numbers:
            name = _text(file, a, b)
            made += put(number, names.get(name, name).encode())
        else:
            made += copied(file, field)
    return made


def _with_steps(value: bytes) -> bytes:
    """An end of a graph with one more axis in front, that of the steps; one whose shape is not said as it is."""

    def within(message: bytes, path: tuple[int, ...]) -> bytes:
        if not path:
            return put(1, put(2, STEPS.encode())) + message  # a dimension, by its name
        file = io.BytesIO(message)
        return b"".join(
            put(path[0], within(message[field[2] : field[3]], path[1:])) if field[0] == path[0] else copied(file, field)
            for field in list(fields(file, 0, len(message)))
        )

    return within(value, (VALUE_TYPE, 1, 2))  # of a type that of a tensor, and of this the shape


def _graph(parts: Iterable[Field]) -> bytes:
    """As protobuf writes it: by the numbers of the fields."""
    return b"".join(put(number, value) for number, value in sorted(parts, key=lambda part: part[0]))


def _with_graph(file: BinaryIO, size: int, graph: bytes) -> bytes:
    """A model of `size` bytes with this graph in place of its own."""
    made, graphs = b"", [put(MODEL_GRAPH, graph)]
    for field in list(fields(file, 0, size)):
        made += copied(file, field) if field[0] != MODEL_GRAPH else graphs.pop() if graphs else b""
    return made


def _attribute(name: str, value: bytes, kind: int) -> bytes:
    return put(NODE_ATTRIBUTE, put(ATTRIBUTE_NAME, name.encode()) + value + put(ATTRIBUTE_TYPE, kind))


def _name(value: bytes) -> str:
    return text_field(io.BytesIO(value), 0, len(value), VALUE_NAME) or ""


def _text(file: BinaryIO, start: int, end: int) -> str:
    return _bytes(file, start, end).decode()


def _bytes(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)
