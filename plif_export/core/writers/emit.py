"""The ONNX nodes of an SNN graph, shared by the step and the unrolled form.

Operations write themselves (runtime/core/model/ops), neurons are written here. Spikes are float32 {0, 1}; the
comparison is `h >= v_threshold`, never `h - v_threshold >= 0`: that difference can be subnormal and be flushed away.

Layers with int8 weights, and resets, are written in the dialect that the target's engine runs fast (Emitter.emit_reduced).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto

from plif_export.core.writers.emitter import Emitter, tensor_info
from runtime.core.model.graph import Graph, Node, initial_membrane, state_input, state_output
from runtime.core.model.neurons import get_equation
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.ops.expand import expand_node
from runtime.core.model.symbol import Symbol, SymbolicMath, Terms, tensor_symbol


def is_writable(op: str) -> bool:
    """Return whether the ONNX writer can write a graph operation."""
    return OPERATIONS[op].meaning is not None or op in ("Neuron", "State")


def emit_node(e: Emitter, node: Node, inputs: Sequence[str]) -> str:
    """Write the ONNX nodes of a graph operation without state, and return the name of their output tensor.

    The batch axis of its inputs may hold B rows or T * B.
    """
    write = OPERATIONS[node.op].onnx
    if write is not None:
        return write(e, node, *inputs)
    tensors = dict(zip(node.inputs, inputs, strict=True))
    for part in expand_node(node, [e.shapes[name] for name in node.inputs]):
        tensors[part.name] = emit_node(e, part, [tensors[name] for name in part.inputs])
    return tensors[node.name]


def emit_neuron(
    e: Emitter, node: Node, x: Sequence[str], states: Mapping[str, str], after: Mapping[str, str], tag: str = ""
) -> str:
    """Write the ONNX nodes of one time-step of a neuron layer: inputs and states -> spikes and next states.

    states  {variable: name of the tensor that holds it before the step}
    after   {variable: name of the tensor to write it to}
    tag     a suffix of the tensor names of one step (".t3" in the unrolled form)
    Returns the name of the spikes, [B, ...] float32.
    """
    if node.attrs["kind"] in ("IF", "LIF", "PLIF"):
        return _emit_plif(e, node, x[0], states["v"], after["v"], tag)
    params = {
        key: tensor_symbol(e.broadcast_weight(f"{node.name}.{key}", value, node.shape))
        for key, value in node.params.items()
    }
    terms = Terms(
        node.attrs, params, lambda name, number: tensor_symbol(e.weight(f"{node.name}.{name}", np.float32(number)))
    )
    state = {variable: tensor_symbol(name) for variable, name in states.items()}
    read = tensor_symbol(x[0]) if len(x) == 1 else tuple(tensor_symbol(name) for name in x)
    h, s, following = get_equation(node.attrs["kind"]).step(SymbolicMath(), terms, read, state)
    outputs = {f"{node.layer}.h{tag}": h, f"{node.layer}.s{tag}": s}
    outputs.update({after[variable]: value for variable, value in following.items()})
    write_symbols(e, outputs, node.layer, tag)
    return f"{node.layer}.s{tag}"


def write_symbols(e: Emitter, values: Mapping[str, Symbol], prefix: str, tag: str) -> None:
    """Write the ONNX nodes of symbolic expressions (runtime/core/model/symbol.py) under the given tensor names.

    A shared part becomes one node. Inner tensors are called `<prefix>.<op><n><tag>`.
    """
    count = 0

    def emit(value: Symbol | float, name: str | None = None) -> str:
        nonlocal count
        if not isinstance(value, Symbol):
            short = f"{float(value):g}"
            return e.weight(f"number.{short if float(short) == value else repr(float(value))}", np.float32(value))
        if value.name is not None:
            return value.name if name is None else e.op("Identity", [value.name], name)
        inputs = [emit(part) for part in value.inputs]
        if name is None:
            count += 1
            name = f"{prefix}.{str(value.op).lower()}{count}{tag}"
        attrs = {"to": TensorProto.FLOAT} if value.op == "Cast" else {}
        value.name = e.op(str(value.op), inputs, name, **attrs)
        return value.name

    for name, value in values.items():
        emit(value, name)


def _emit_plif(e: Emitter, node: Node, x: str, v: str, v_next: str, tag: str) -> str:
    """Write the ONNX nodes of a neuron of plif's own kinds, in the operations that engines run fastest."""
    a, layer = node.attrs, node.layer
    threshold = e.weight(f"{node.name}.v_threshold", np.float32(a["v_threshold"]))
    h = _emit_charge(e, node, x, v, f"{layer}.h{tag}", tag)
    fires = e.op("GreaterOrEqual", [h, threshold], f"{layer}.fires{tag}")
    s = e.op("Cast", [fires], f"{layer}.s{tag}", to=TensorProto.FLOAT)
    if a["v_reset"] is None:
        drop = s if a["v_threshold"] == 1.0 else e.op("Mul", [s, threshold], f"{layer}.drop{tag}")
        e.op("Sub", [h, drop], v_next)
    elif float(a["v_reset"]) == 0.0 and e.dialect != "where":
        # h * 0 is v_reset exactly and h * 1 is h exactly; measured 9 % faster than Where in ONNX Runtime. TensorRT makes two
        # kernels of it, and one of Where.
        keeps = e.op("Less", [h, threshold], f"{layer}.keeps{tag}")
        e.op("Mul", [h, e.op("Cast", [keeps], f"{layer}.keep{tag}", to=TensorProto.FLOAT)], v_next)
    else:
        e.op("Where", [fires, e.weight(f"{node.name}.v_reset", np.float32(a["v_reset"])), h], v_next)
    return s


def _emit_charge(e: Emitter, node: Node, x: str, v: str, h: str, tag: str) -> str:
    a, name = node.attrs, node.name
    if "alpha" not in node.params:
        return e.op("Add", [v, x], h)
    alpha_value = node.params["alpha"].astype(np.float32)
    if a["charge"] == "folded":
        keep = e.broadcast_weight(f"{name}.one_minus_alpha", np.float32(1) - alpha_value, node.shape)
        return e.op("Add", [e.op("Mul", [v, keep], f"{node.layer}.leaked{tag}"), x], h)
    alpha = e.broadcast_weight(f"{name}.alpha", alpha_value, node.shape)
    r = initial_membrane(node)
    v_above_reset = v
    if r != 0.0:
        v_above_reset = e.op("Sub", [v, e.weight(f"{name}.v_reset", np.float32(r))], f"{node.layer}.above_reset{tag}")
    op, factor = "Mul", alpha
    if a["charge"] == "divided":
        op, factor = "Div", e.weight(f"{name}.tau", np.float32(a["tau"]))
    if a["decay_input"]:
        drive = e.op("Sub", [x, v_above_reset], f"{node.layer}.drive{tag}")
        return e.op("Add", [v, e.op(op, [drive, factor], f"{node.layer}.moved{tag}")], h)
    leak = e.op(op, [v_above_reset, factor], f"{node.layer}.leak{tag}")
    return e.op("Add", [e.op("Sub", [v, leak], f"{node.layer}.leaked{tag}"), x], h)


def state_tensors(graph: Graph, batch: int | str) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """Return the ONNX inputs and outputs that carry a graph's states, float32 [batch, ...], by layer."""
    variables = [(n, variable) for n in graph.neurons for variable in n.initial]
    ins = [tensor_info(state_input(n.layer, variable), [batch, *n.shape]) for n, variable in variables]
    outs = [tensor_info(state_output(n.layer, variable), [batch, *n.shape]) for n, variable in variables]
    return ins, outs
