"""Cuts an exported ONNX file into one small model for each neuron layer, so that each can be tested on its own.

A slice takes what reaches the layer (the spikes of earlier layers, the membrane, the input frame) and gives what the layer
makes of it: h, the spikes, the next membrane. To find its nodes, cut() walks back from the layer's outputs and stops at every
tensor that the reference knows. A slice consists of the file's own nodes; if the file wires a layer to the wrong membrane, the
slice does too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from runtime import native
from runtime.core.base.errors import PlifError
from runtime.core.engines.onnxruntime import cpu_settings, reason_of
from runtime.core.model.readers.onnx_contents import step_in
from runtime.core.model.readers.onnx_wire import NotProtobuf, runnable

FORCED = "ref/"  # a boundary tensor may also be an output of the slice, so as an input it gets another name


class CannotRun(Exception):
    """The artifact, or a layer of it, does not run on what the model runs on. layer: the one to name, or "output", "states"."""

    def __init__(self, layer: str, what: str) -> None:
        super().__init__(what)
        self.layer = layer


@dataclass(frozen=True)
class OpenFile:
    """An ONNX file in ONNX Runtime; flush: whether its runs make subnormal numbers zero."""

    session: ort.InferenceSession
    flush: bool

    def run(self, names: Iterable[str], feed: dict[str, np.ndarray], layer: str, problem: str) -> dict[str, np.ndarray]:
        """The named outputs, float32 [...], for inputs by name. Raises CannotRun with the problem and ONNX Runtime's own
        reason."""
        names = list(names)
        try:
            with native.flushing(self.flush):
                return dict(zip(names, self.session.run(names, feed), strict=True))
        except Exception as error:  # onnxruntime raises a family of its own
            raise CannotRun(layer, f"{problem} ({' '.join(str(error).split())[:120]})") from None


@dataclass
class Slice:
    """The part of an artifact that makes one layer, opened: `inputs` are the boundary tensors that it reads."""

    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    file: OpenFile

    def run(self, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, from the known tensors by name: float32 [...], as the file has them. Raises CannotRun."""
        unknown = [name for name in self.inputs if name not in known]
        if unknown:
            raise CannotRun(self.layer, f"it reads {', '.join(unknown)}, which the model does not have")
        feed = {FORCED + name: known[name] for name in self.inputs}
        return self.file.run(self.outputs, feed, self.layer, "it cannot run on the model's values")


def cut(
    model: onnx.ModelProto, layer: str, outputs: Iterable[str], boundary: Iterable[str], flush: bool, where: str
) -> Slice:
    """The part of `model` that makes `outputs` from `boundary`. Raises PlifError when an output is not made."""
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    stops, outputs = set(boundary), tuple(outputs)
    nodes: dict[str, onnx.NodeProto] = {}
    inputs: dict[str, None] = {}
    weights: dict[str, onnx.TensorProto] = {}
    todo = list(outputs)
    for name in outputs:
        if name not in producer:
            raise PlifError(f"{where}: no node makes the tensor '{name}' that the card names; export it again")
    while todo:
        node = producer[todo.pop()]
        key = node.output[0]
        if key in nodes:
            continue
        nodes[key] = node
        for name in node.input:
            if name in initializers:
                weights[name] = initializers[name]
            elif name in producer and name not in stops:
                todo.append(name)
            elif name:
                inputs[name] = None
    ordered = [_renamed(node, set(inputs)) for node in graph.node if node.output and node.output[0] in nodes]
    part = helper.make_graph(
        ordered,
        "slice",
        [helper.make_tensor_value_info(FORCED + name, TensorProto.FLOAT, None) for name in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        list(weights.values()),
    )
    sliced = helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
    return Slice(layer, tuple(inputs), outputs, open_model(sliced, flush, where))


def _renamed(node: onnx.NodeProto, forced: set[str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [FORCED + name if name in forced else name for name in node.input]
    return copy


def with_outputs(model: onnx.ModelProto, names: Iterable[str], flush: bool, where: str) -> OpenFile:
    """The whole model, opened with some inner tensors as further outputs."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return open_model(whole, flush, where)


def step_model(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The step that is in a file of another form. Raises PlifError for a file that has none."""
    try:
        return onnx.load_model_from_string(step_in(model.SerializeToString(deterministic=True)))
    except (NotProtobuf, UnicodeDecodeError):
        raise PlifError(f"{where}: its Scan is no loop around a step; export it again") from None


def open_model(model: onnx.ModelProto, flush: bool, where: str) -> OpenFile:
    """In ONNX Runtime on the CPU, one thread. Raises PlifError with `where` for a model that it cannot open."""
    try:
        data = runnable(model.SerializeToString(), ort.__version__)
        with native.flushing(flush):
            session = ort.InferenceSession(data, cpu_settings(1, flush), providers=["CPUExecutionProvider"])
        return OpenFile(session, flush)
    except Exception as error:  # onnxruntime raises a family of its own
        raise PlifError(f"{where}: ONNX Runtime cannot open it ({reason_of(error)})") from None
