"""Cuts an exported ONNX file into one small model for each neuron layer, so that each can be tested alone.

A slice reads the layer's inputs (the spikes of earlier layers, the membrane, the input frame) and gives the layer's
h, spikes and next membrane. To find its nodes, cut() walks back from the layer's outputs and stops at every tensor
that the reference knows. A slice consists of the file's own nodes; if the file wires a layer to the wrong membrane,
the slice does too.
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
from runtime.core.engines.onnxruntime import cpu_settings, format_error
from runtime.core.model.readers.onnx_contents import extract_step_form
from runtime.core.model.readers.onnx_wire import NotProtobuf, adapt_types

FORCED = "ref/"  # a boundary tensor may also be an output of the slice, so as an input it gets another name


class CannotRun(Exception):
    """The error of an artifact under test, or one of its layers, that does not run on the model's inputs.

    layer  the layer to name, or "output", "states"
    """

    def __init__(self, layer: str, problem: str) -> None:
        super().__init__(problem)
        self.layer = layer


@dataclass(frozen=True)
class OpenFile:
    """An ONNX file opened in ONNX Runtime; `flush`: whether runs flush subnormal numbers to zero."""

    session: ort.InferenceSession
    flush: bool

    def run(self, names: Iterable[str], feed: dict[str, np.ndarray], layer: str, problem: str) -> dict[str, np.ndarray]:
        """Run an opened ONNX file and return the named outputs, float32 [...], for inputs by name.

        Raises CannotRun with the problem and ONNX Runtime's own reason.
        """
        names = list(names)
        try:
            with native.flush_subnormals(self.flush):
                return dict(zip(names, self.session.run(names, feed), strict=True))
        except Exception as error:  # onnxruntime raises its own exception classes
            raise CannotRun(layer, f"{problem} ({' '.join(str(error).split())[:120]})") from None


@dataclass
class LayerSlice:
    """The part of an ONNX file that computes one layer, ready to run; `inputs` are the tensors that it reads."""

    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    file: OpenFile

    def run(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute a layer's output tensors by name from the known tensors by name, float32 [...].

        Raises CannotRun.
        """
        unknown = [name for name in self.inputs if name not in tensors]
        if unknown:
            raise CannotRun(self.layer, f"it reads {', '.join(unknown)}, which the model does not have")
        feed = {FORCED + name: tensors[name] for name in self.inputs}
        return self.file.run(self.outputs, feed, self.layer, "it cannot run on the model's values")


def extract_slice(
    model: onnx.ModelProto, layer: str, outputs: Iterable[str], boundary: Iterable[str], flush: bool, label: str
) -> LayerSlice:
    """Extract and open the part of an ONNX model that computes the tensors `outputs` from the tensors `boundary`.

    Raises PlifError if no node computes an output.
    """
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    stops, outputs = set(boundary), tuple(outputs)
    nodes: dict[str, onnx.NodeProto] = {}
    inputs: dict[str, None] = {}
    weights: dict[str, onnx.TensorProto] = {}
    pending = list(outputs)
    for name in outputs:
        if name not in producer:
            raise PlifError(f"{label}: no node makes the tensor '{name}' that the card names; export it again")
    while pending:
        node = producer[pending.pop()]
        key = node.output[0]
        if key in nodes:
            continue
        nodes[key] = node
        for name in node.input:
            if name in initializers:
                weights[name] = initializers[name]
            elif name in producer and name not in stops:
                pending.append(name)
            elif name:
                inputs[name] = None
    ordered = [_rename_inputs(node, set(inputs)) for node in graph.node if node.output and node.output[0] in nodes]
    part = helper.make_graph(
        ordered,
        "slice",
        [helper.make_tensor_value_info(FORCED + name, TensorProto.FLOAT, None) for name in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        list(weights.values()),
    )
    sliced = helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
    return LayerSlice(layer, tuple(inputs), outputs, open_model(sliced, flush, label))


def _rename_inputs(node: onnx.NodeProto, forced: set[str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [FORCED + name if name in forced else name for name in node.input]
    return copy


def open_with_outputs(model: onnx.ModelProto, names: Iterable[str], flush: bool, label: str) -> OpenFile:
    """Open a whole ONNX model, with some of its inner tensors as further outputs."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return open_model(extended, flush, label)


def extract_step(model: onnx.ModelProto, label: str) -> onnx.ModelProto:
    """Extract the ONNX model of one time-step from an ONNX file that loops over the steps.

    Raises PlifError if the file has none.
    """
    try:
        return onnx.load_model_from_string(extract_step_form(model.SerializeToString(deterministic=True)))
    except (NotProtobuf, UnicodeDecodeError):
        raise PlifError(f"{label}: its Scan is no loop around a step; export it again") from None


def open_model(model: onnx.ModelProto, flush: bool, label: str) -> OpenFile:
    """Open an ONNX model in ONNX Runtime on the CPU, with one thread.

    Raises PlifError with `label` for a model that it cannot open.
    """
    try:
        data = adapt_types(model.SerializeToString(), ort.__version__)
        with native.flush_subnormals(flush):
            session = ort.InferenceSession(data, cpu_settings(1, flush), providers=["CPUExecutionProvider"])
        return OpenFile(session, flush)
    except Exception as error:  # onnxruntime raises its own exception classes
        raise PlifError(f"{label}: ONNX Runtime cannot open it ({format_error(error)})") from None
