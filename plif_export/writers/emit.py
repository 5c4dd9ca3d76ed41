"""The SNN graph, node by node, as ONNX: one function per kind of node, shared by the step and the unrolled form.

Written with stable, readable names and nothing that varies: the same graph gives the same bytes. Opset 20 and IR 10 are
what ONNX Runtime on GPUs and TensorRT 10 and 11 all read. Spikes are float32 {0, 1}; the comparison is `h >= v_threshold`,
never `h - v_threshold >= 0`, whose difference can be subnormal and be flushed away.

Layers with int8 weights, and resets, are written in the dialect that the target's engine runs fast (writers/precision.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from plif_export.writers.precision import reduced
from plif_export.writers.symbol import Words, tensor, write
from runtime.model.graph import Graph, Node, Shape, initial_v, spatial, spikes, state_in, state_out
from runtime.model.neurons import Terms, equation_of

OPSET = 20
IR_VERSION = 10
BATCH = "B"  # the name of the dynamic batch axis


class Emitter:
    """Collects the nodes and initializers of one ONNX graph, in one dialect ("integer", "qdq" or "tensorrt")."""

    def __init__(self, dialect: str = "integer") -> None:
        self.dialect = dialect
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.made: set[str] = set()  # tensors that a node makes

    def op(self, op: str, inputs: Sequence[str], output: str, **attrs: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"{output}/{op}", **attrs))
        self.made.add(output)
        return output

    def split(self, tensor: str, outputs: Sequence[str]) -> None:
        """Cuts axis 0 into equal parts."""
        self.nodes.append(
            helper.make_node("Split", [tensor], list(outputs), name=f"{tensor}/Split", axis=0, num_outputs=len(outputs))
        )

    def weight(self, name: str, value: np.ndarray | np.generic) -> str:
        """An initializer by its name; written once however often it is asked for."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def scalar(self, name: str, value: np.generic) -> str:
        """An initializer without an axis, of shape [] (`weight` gives a number the shape [1])."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], form: str
    ) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, f"plif_{form}", inputs, outputs, list(self.initializers.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="plif"
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def tensor_info(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def writable(op: str) -> bool:
    """Whether a kind of node can be written; passes take the last two out before."""
    return op in _STATELESS or op in _JOINING or op in ("Neuron", "BatchNorm", "Dropout")


def stateless(e: Emitter, node: Node, inputs: Sequence[str]) -> str:
    """Emits a node without state; the batch axis of its inputs may hold B rows or T * B. Returns its output's name."""
    if node.op in _JOINING:
        return _JOINING[node.op](e, node, inputs)
    return _STATELESS[node.op](e, node, inputs[0])


def _conv(e: Emitter, node: Node, x: str) -> str:
    place = {"kernel_shape": list(node.params["weight"].shape[2:]), **_place(node), "group": node.attrs["groups"]}
    if node.params["weight"].dtype != np.float32:
        return reduced(e, node, x, place)
    return e.op("Conv", [x, *_parameters(e, node)], node.name, **place)


def _place(node: Node) -> dict[str, list[int]]:
    """Strides, pads and dilations, one per spatial axis."""
    dims = len(node.params["weight"].shape) - 2 if "weight" in node.params else len(node.shape) - 1
    place = {"strides": list(spatial(node.attrs["stride"], dims))}
    padding = spatial(node.attrs.get("padding", 0), dims)
    dilation = spatial(node.attrs.get("dilation", 1), dims)
    if node.op == "Conv" or any(padding):
        place["pads"] = [*padding, *padding]
    if any(d != 1 for d in dilation):
        place["dilations"] = list(dilation)
    return place


def _parameters(e: Emitter, node: Node) -> list[str]:
    return [e.weight(f"{node.name}.{key}", node.params[key]) for key in ("weight", "bias") if key in node.params]


def _linear(e: Emitter, node: Node, x: str) -> str:
    if node.params["weight"].dtype != np.float32:
        return reduced(e, node, x, {})
    return e.op("Gemm", [x, *_parameters(e, node)], node.name, transB=1)


def _affine(e: Emitter, node: Node, x: str) -> str:
    out = node.name
    scale = e.weight(f"{out}.scale", _broadcast(node.params["scale"], node.shape))
    shift = e.weight(f"{out}.shift", _broadcast(node.params["shift"], node.shape))
    return e.op("Add", [e.op("Mul", [x, scale], f"{out}.scaled"), shift], out)


def _pool(op: str) -> Callable[[Emitter, Node, str], str]:
    def emit(e: Emitter, node: Node, x: str) -> str:
        kernel = list(spatial(node.attrs["kernel"], len(node.shape) - 1))
        place: dict[str, Any] = _place(node)
        if op == "AveragePool" and "pads" in place:
            place["count_include_pad"] = 1
        return e.op(op, [x], node.name, kernel_shape=kernel, **place)

    return emit


def _global_avg_pool(e: Emitter, node: Node, x: str) -> str:
    return e.op("GlobalAveragePool", [x], node.name)


def _folded(op: str) -> Callable[[Emitter, Node, Sequence[str]], str]:
    """Several inputs two by two, from the left, as PyTorch adds them."""

    def emit(e: Emitter, node: Node, inputs: Sequence[str]) -> str:
        left, *rest = inputs
        for i, right in enumerate(rest, 1):
            left = e.op(op, [left, right], node.name if i == len(rest) else f"{node.name}.{i}")
        return left

    return emit


def _concat(e: Emitter, node: Node, inputs: Sequence[str]) -> str:
    return e.op("Concat", inputs, node.name, axis=node.attrs["axis"])


def _flatten(e: Emitter, node: Node, x: str) -> str:
    shape = e.weight(f"{node.name}.shape", np.array([-1, node.shape[0]], np.int64))
    return e.op("Reshape", [x, shape], node.name)


def _vote(e: Emitter, node: Node, x: str) -> str:
    shape = e.weight(f"{node.name}.shape", np.array([-1, node.shape[0], node.attrs["voters"]], np.int64))
    axes = e.weight(f"{node.name}.axes", np.array([2], np.int64))
    return e.op("ReduceMean", [e.op("Reshape", [x, shape], f"{node.name}.voters"), axes], node.name, keepdims=0)


_STATELESS: dict[str, Callable[[Emitter, Node, str], str]] = {
    "Conv": _conv,
    "Linear": _linear,
    "Affine": _affine,
    "MaxPool": _pool("MaxPool"),
    "AvgPool": _pool("AveragePool"),
    "GlobalAvgPool": _global_avg_pool,
    "Flatten": _flatten,
    "Vote": _vote,
}
_JOINING: dict[str, Callable[[Emitter, Node, Sequence[str]], str]] = {
    "Add": _folded("Add"),
    "Mul": _folded("Mul"),
    "Concat": _concat,
}


def neuron(e: Emitter, node: Node, x: str, states: Mapping[str, str], after: Mapping[str, str], tag: str = "") -> str:
    """One time-step of a neuron layer: current x and its state variables (all [B, ...]) -> those after the step.

    states  {variable: tensor}; after: {variable: name of the tensor to write}. Returns the spikes' name.
    `tag` sets the tensors of one step apart from those of the others (".t3" in the unrolled form).
    """
    if node.attrs["kind"] in ("IF", "LIF", "PLIF"):
        return _plif(e, node, x, states["v"], after["v"], tag)
    params = {
        key: tensor(e.weight(f"{node.name}.{key}", _broadcast(value, node.shape))) for key, value in node.params.items()
    }
    terms = Terms(node.attrs, params, lambda name, number: tensor(e.weight(f"{node.name}.{name}", np.float32(number))))
    state = {variable: tensor(name) for variable, name in states.items()}
    h, s, following = equation_of(node.attrs["kind"]).step(Words(), terms, tensor(x), state)
    named = {f"{node.layer}.h{tag}": h, f"{node.layer}.s{tag}": s}
    named.update({after[variable]: value for variable, value in following.items()})
    write(named, e.op, e.weight, node.layer, tag)
    return f"{node.layer}.s{tag}"


def _plif(e: Emitter, node: Node, x: str, v: str, v_next: str, tag: str) -> str:
    """Our own kinds, written out: the values of their equation, in the operations that engines run fastest."""
    a, layer = node.attrs, node.layer
    threshold = e.weight(f"{node.name}.v_threshold", np.float32(a["v_threshold"]))
    h = _charge(e, node, x, v, f"{layer}.h{tag}", tag)
    fires = e.op("GreaterOrEqual", [h, threshold], f"{layer}.fires{tag}")
    s = e.op("Cast", [fires], f"{layer}.s{tag}", to=TensorProto.FLOAT)
    if a["v_reset"] is None:
        down = s if a["v_threshold"] == 1.0 else e.op("Mul", [s, threshold], f"{layer}.drop{tag}")
        e.op("Sub", [h, down], v_next)
    elif float(a["v_reset"]) == 0.0 and e.dialect != "tensorrt":
        # h * 0 is v_reset exactly and h * 1 is h exactly; measured 9 % faster than Where in ONNX Runtime. TensorRT makes two
        # kernels of it, and one of Where.
        keeps = e.op("Less", [h, threshold], f"{layer}.keeps{tag}")
        e.op("Mul", [h, e.op("Cast", [keeps], f"{layer}.keep{tag}", to=TensorProto.FLOAT)], v_next)
    else:
        e.op("Where", [fires, e.weight(f"{node.name}.v_reset", np.float32(a["v_reset"])), h], v_next)
    return s


def _charge(e: Emitter, node: Node, x: str, v: str, h: str, tag: str) -> str:
    a, name = node.attrs, node.name
    if "alpha" not in node.params:
        return e.op("Add", [v, x], h)
    alpha_value = node.params["alpha"].astype(np.float32)
    if a["charge"] == "folded":
        keep = e.weight(f"{name}.one_minus_alpha", _broadcast(np.float32(1) - alpha_value, node.shape))
        return e.op("Add", [e.op("Mul", [v, keep], f"{node.layer}.leaked{tag}"), x], h)
    alpha = e.weight(f"{name}.alpha", _broadcast(alpha_value, node.shape))
    r = initial_v(node)
    rest = v
    if r != 0.0:
        rest = e.op("Sub", [v, e.weight(f"{name}.v_reset", np.float32(r))], f"{node.layer}.above_reset{tag}")
    if a["charge"] == "divided":
        tau = e.weight(f"{name}.tau", np.float32(a["tau"]))
        if a["decay_input"]:
            drive = e.op("Sub", [x, rest], f"{node.layer}.drive{tag}")
            return e.op("Add", [v, e.op("Div", [drive, tau], f"{node.layer}.moved{tag}")], h)
        leak = e.op("Div", [rest, tau], f"{node.layer}.leak{tag}")
        return e.op("Add", [e.op("Sub", [v, leak], f"{node.layer}.leaked{tag}"), x], h)
    if a["decay_input"]:
        moved = e.op("Mul", [e.op("Sub", [x, rest], f"{node.layer}.drive{tag}"), alpha], f"{node.layer}.moved{tag}")
        return e.op("Add", [v, moved], h)
    leak = e.op("Mul", [rest, alpha], f"{node.layer}.leak{tag}")
    return e.op("Add", [e.op("Sub", [v, leak], f"{node.layer}.leaked{tag}"), x], h)


def _broadcast(values: np.ndarray, shape: Shape) -> np.ndarray:
    """A scalar or one value per neuron as it is; one per channel shaped to broadcast over [B, *shape]."""
    values = np.asarray(values, np.float32)
    if values.ndim in (0, len(shape)):
        return values
    return values.reshape(-1, *(1,) * (len(shape) - 1))


def states(graph: Graph, batch: int | str) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """The state inputs and outputs of a graph, in the order of its layers."""
    variables = [(n, variable) for n in graph.neurons for variable in n.initial]
    ins = [tensor_info(state_in(n.layer, variable), [batch, *n.shape]) for n, variable in variables]
    outs = [tensor_info(state_out(n.layer, variable), [batch, *n.shape]) for n, variable in variables]
    return ins, outs


__all__ = ["BATCH", "Emitter", "neuron", "spikes", "stateless", "states", "tensor_info", "writable"]
