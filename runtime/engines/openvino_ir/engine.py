"""The OpenVINO engine on the CPU: opens the folder of `plif export --to openvino`.

By default OpenVINO computes in bfloat16 where the processor can, which changes one spike in every few hundred. So the
engine requests float32 and checks that the plugin agrees. Every array is the caller's and is bound once. The network
is compiled once for each number of rows, since fixed shapes are measured up to 1.7 times faster than dynamic ones. A
stateful folder keeps the membranes inside OpenVINO; they are copied out or in only when they are read or changed.

The digest in the card has the SHA-256 of model.xml and model.bin, so `runtime.load` refuses a folder that was put
together from two exports.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from runtime import native
from runtime.artifacts.openvino_ir.contents import BIN, XML
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.files import read_regular
from runtime.core.engines import Engine, should_flush
from runtime.core.engines.buffers import Arrays, Buffers, Rates, Resident
from runtime.core.engines.tensors import check_shapes, name_tensors, rate_outputs, spiking_layers
from runtime.core.model.card import Card
from runtime.core.model.graph import spikes_name
from runtime.core.model.readers.contents import PART

try:
    import openvino as ov
    from openvino import opset8 as ops
except ImportError:
    raise MissingExtra("the openvino engine", "openvino") from None

PRECISION = "f32"  # of all operations for which the graph names no other


class OpenVinoEngine(Engine):
    """The engine of OpenVINO on the CPU, for the folder of `--to openvino`.

    It computes in float32, or in the precision of the file itself.
    """

    name: ClassVar[str] = "openvino"
    suffixes: ClassVar[tuple[str, ...]] = ("_openvino",)
    opens_graphs: ClassVar[bool] = True
    sums_in_float32: ClassVar[bool] = True
    keeps_subnormals: ClassVar[bool] = True

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        if options.device not in (None, "cpu"):
            raise PlifError(f"engine openvino: device '{options.device}'; this engine runs on cpu only")
        self.path, self.card, self._options, self.flush = path, card, options, should_flush(card, options)
        self.stateful = bool(card.get("stateful", False))
        self.variables = {s["input"] + s["output"]: s["shape"] for s in card["states"]} if self.stateful else {}
        self.rates = rate_outputs(card, options.rates)
        self._core = ov.Core()
        self._xml = read_regular(path / XML, PART)
        self._weights = ov.Tensor(np.frombuffer(read_regular(path / BIN, PART), np.uint8))
        model = self._model()
        ports = {name: port for port in [*model.inputs, *model.outputs] for name in port.get_names()}
        shapes = {name: _sizes(port.get_partial_shape()) for name, port in ports.items()}
        check_shapes(path, {**card, "states": []} if self.stateful else card, shapes, "model.xml")
        self._compiled: dict[int, ov.CompiledModel] = {}

    def buffers(self, rows: int, rates: bool = False) -> Buffers:
        return OpenVinoBuffers(self, rows, rates) if self.stateful else super().buffers(rows, rates)

    def bind(self, x: np.ndarray, v: Arrays, y: np.ndarray, v_next: Arrays, rates: Rates = None) -> Callable[[], None]:
        """Bind float32 arrays [rows, ...] by address; return a function that runs one call. See Engine.bind."""
        return self.create_request(x, v, y, v_next, rates)[1]

    def create_request(
        self, x: np.ndarray, v: Arrays, y: np.ndarray, v_next: Arrays, rates: Rates
    ) -> tuple[ov.InferRequest, Callable[[], None]]:
        """Create an OpenVINO request on float32 arrays [rows, ...], and a function that runs it.

        A stateful folder binds no membranes.
        """
        request = self._compile_for_rows(y.shape[-2]).create_infer_request()
        card = {**self.card, "states": []} if self.stateful else self.card
        inputs, outputs = name_tensors(card, x, v, y, v_next)
        tensors = inputs | outputs | {output: (rates or {})[layer] for layer, output in self.rates.items()}
        for name, array in tensors.items():
            request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        infer = request.infer

        def run(_: object = tensors) -> None:  # the tensors hold addresses only: keep the arrays alive
            infer(share_inputs=True, share_outputs=True)

        return request, native.wrap_flushing(self.flush, run)

    def _compile_for_rows(self, rows: int) -> ov.CompiledModel:
        """Compile the network with OpenVINO for a number of rows, once."""
        if rows not in self._compiled:
            model = self._model()
            if any(port.get_partial_shape().is_dynamic for port in model.inputs):
                inputs = {_name(port): _with_rows(port.get_partial_shape(), rows) for port in model.inputs}
                inside = {name: ov.PartialShape([rows, *shape]) for name, shape in self.variables.items()}
                model.reshape(inputs, inside)
            graded = spiking_layers(self.card)
            for layer, output in self.rates.items():
                _add_rate(model, spikes_name(layer), output, graded[layer])
            self._compiled[rows] = self._compile(model)
        return self._compiled[rows]

    def _model(self) -> ov.Model:
        try:
            return self._core.read_model(self._xml, self._weights)
        except Exception as error:  # OpenVINO raises RuntimeError and a family of its own
            raise PlifError(f"{self.path}: OpenVINO cannot read it ({_format_error(error)}); export it again") from None

    def _compile(self, model: ov.Model) -> ov.CompiledModel:
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISION,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self._options.threads or native.count_cores(),
            "CPU_DENORMALS_OPTIMIZATION": self.flush,
        }
        try:
            with native.flush_subnormals(
                self.flush
            ):  # the setting does so for good, and for the compiling thread alone
                compiled = self._core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise PlifError(
                f"{self.path}: OpenVINO cannot compile it ({_format_error(error)}); export it again"
            ) from None
        devices = compiled.get_property("EXECUTION_DEVICES")
        precision = compiled.get_property("INFERENCE_PRECISION_HINT")
        if list(devices) != ["CPU"] or precision != ov.Type.f32:
            raise PlifError(f"{self.path}: OpenVINO would run {precision} on {devices}; asked for float32 on CPU")
        return compiled


class OpenVinoBuffers(Resident):
    """Buffers for a stateful OpenVINO folder: the membranes are variables in one request per session."""

    def __init__(self, engine: OpenVinoEngine, rows: int, rates: bool) -> None:
        v, _ = engine.membranes(rows)
        super().__init__(engine.card, rows, rates, v)
        request, self._run = engine.create_request(self.x, (), self.y, (), self.rates)
        variables = {variable.name: variable for variable in request.query_state()}
        if set(variables) != set(engine.variables):
            raise PlifError(
                f"{engine.path}: keeps {sorted(variables)}; expected {sorted(engine.variables)}. Export it again"
            )
        self._variables = [variables[name] for name in engine.variables]

    def call(self) -> None:
        self._run()

    def push(self) -> None:
        for variable, v in zip(self._variables, self.v, strict=True):
            variable.state = ov.Tensor(v)

    def pull(self) -> None:
        for variable, v in zip(self._variables, self.v, strict=True):
            v[...] = variable.state.data


def _add_rate(model: ov.Model, tensor: str, output: str, graded: bool) -> None:
    """Add an output float32 [rows] to a model: the fraction (0..1) of a layer's neurons that fired.

    `tensor` holds the layer's spikes, of any size if they are graded.
    """
    source = next((port for op in model.get_ops() for port in op.outputs() if tensor in port.get_names()), None)
    if source is None:
        raise PlifError(f"the spikes {tensor} are not in model.xml, so they cannot be counted; export it again")
    axes = np.arange(1, len(source.get_partial_shape()), dtype=np.int64)
    fired = ops.abs(ops.sign(source)) if graded else source
    rate = ops.result(ops.reduce_mean(fired, axes, keep_dims=False))
    rate.output(0).get_tensor().set_names({output})
    model.add_results([rate])


def _name(port: ov.Output) -> str:
    return str(port.get_any_name())


def _sizes(shape: ov.PartialShape) -> list[int]:
    return [-1 if n.is_dynamic else n.get_length() for n in shape]


def _with_rows(shape: ov.PartialShape, rows: int) -> list[int]:
    return [rows if n == -1 else n for n in _sizes(shape)]


def _format_error(error: Exception) -> str:
    """Return OpenVINO's message, without the leading lines that name its own source files."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return " ".join(" ".join(lines).split())[:160]


ENGINES = (OpenVinoEngine,)
