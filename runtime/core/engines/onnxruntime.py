"""The ONNX Runtime engine on the CPU, which runs every ONNX artifact.

Every array is the caller's and is bound once by address, so a step copies and allocates nothing. Subnormal membranes
(a leak without input halves v until it is 1e-40) make a step up to six times slower on some processors, so they are
flushed to zero where the card allows it. A setting of each session does so in ONNX Runtime's own threads; in the
calling thread ONNX Runtime sets the mode once, with the first session of the process, for good. So the engine sets
that thread's mode for every run, and restores it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from runtime import native
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.engines import Engine, should_flush
from runtime.core.engines.buffers import Arrays, Buffers, PingPongBuffers, Rates
from runtime.core.engines.tensors import check_shapes, name_tensors, rate_outputs, shapes_by_name, spiking_layers
from runtime.core.model.card import Card
from runtime.core.model.graph import spikes_name
from runtime.core.model.readers.onnx_contents import read_step_form
from runtime.core.model.readers.onnx_wire import adapt_types, add_rate_outputs
from runtime.core.parts import load_from_parts

try:
    import onnxruntime as ort
except ImportError:
    raise MissingExtra("the onnxruntime engine", "cpu") from None


class OnnxRuntime(Engine):
    """The base class of the engines of ONNX Runtime: the file's bytes, and one execution provider."""

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    opens_graphs: ClassVar[bool] = True
    provider: ClassVar[str]
    memory: ClassVar[str] = "cpu"  # the device on which ONNX Runtime allocates bound tensors
    device: int = 0
    flush: bool = False

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        self.path, self.card, self.flush = path, card, should_flush(card, options)
        self.rates = rate_outputs(card, options.rates)
        self.model = adapt_types(read_step_form(path), ort.__version__)
        if self.rates:
            taps, graded = {output: spikes_name(layer) for layer, output in self.rates.items()}, spiking_layers(card)
            self.model = add_rate_outputs(self.model, taps, {self.rates[layer] for layer in graded if graded[layer]})
        self._session = self.open()
        infos = [*self._session.get_inputs(), *self._session.get_outputs()]
        check_shapes(path, card, {info.name: info.shape for info in infos}, "the graph")
        input_shapes = shapes_by_name(card)[0]
        if strangers := [info.name for info in self._session.get_inputs() if info.name not in input_shapes]:
            raise PlifError(f"{path}: the graph also reads {strangers[0]}, which is not in the card; export it again")

    def open(self) -> ort.InferenceSession:
        raise NotImplementedError

    def _open(
        self,
        settings: ort.SessionOptions,
        provider_options: dict[str, str] | None,
        advice: str,
        model: bytes | None = None,
    ) -> ort.InferenceSession:
        """Open an ONNX Runtime session on the engine's provider or, without provider options, on the settings' one.

        `advice` ends the message of the error if it cannot be opened. model: other bytes than the engine's own
        """
        settings.log_severity_level = 4  # errors are raised; log lines would only repeat them
        providers = None if provider_options is None else [(self.provider, provider_options)]
        try:
            with native.flush_subnormals(self.flush):  # constants are computed now
                return ort.InferenceSession(model or self.model, settings, providers=providers, enable_fallback=0)
        except Exception as error:  # onnxruntime raises a family of its own, without a common public base
            if "NOT_IMPLEMENTED" in str(error):
                advice = f"ONNX Runtime {ort.__version__} has no kernel for it; install a newer one, or --engine event"
            raise PlifError(
                f"{self.path}: ONNX Runtime cannot open it on {self.provider} ({format_error(error)}); {advice}"
            ) from None

    def cannot_run(self, error: Exception) -> PlifError:
        """Create the error for a call that ONNX Runtime did not finish.

        Membranes in two sets are as they were before the call.
        """
        return PlifError(
            f"{self.path}: ONNX Runtime cannot run it ({format_error(error)}); expected shapes as in its card and enough memory: "
            "export it again, or give it fewer steps or streams at a time"
        )


def cpu_settings(threads: int, flush: bool) -> ort.SessionOptions:
    """Create the ONNX Runtime settings of a session on the CPU.

    flush: whether its threads flush subnormal numbers to zero; native.flush_subnormals does so in the calling thread.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # errors are raised; log lines would only repeat them
    settings.add_session_config_entry("session.set_denormal_as_zero", str(int(flush)))
    return settings


def format_error(error: Exception) -> str:
    """Return the message of an ONNX Runtime error in one line."""
    return " ".join(str(error).split())[:200]


class OnnxRuntimeEngine(OnnxRuntime):
    """The engine of ONNX Runtime on the CPU, with two sets of membranes (ping-pong).

    sequences  the session for sequences, of a form with calls of several steps, opened with the first of them
    """

    name: ClassVar[str] = "onnxruntime"
    provider: ClassVar[str] = "CPUExecutionProvider"
    keeps_subnormals: ClassVar[bool] = True
    sequences: ort.InferenceSession | None = None

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        if options.device not in (None, "cpu"):
            raise PlifError(
                f"engine onnxruntime: device '{options.device}'; it runs on cpu; on a GPU: --engine onnxruntime-cuda"
            )
        self._options = options
        super().__init__(path, card, options)

    def open(self, model: bytes | None = None) -> ort.InferenceSession:
        settings = cpu_settings(self._options.threads or native.count_cores(), self.flush)
        return self._open(settings, {}, "export it again", model)

    def buffers(self, rows: int, rates: bool = False) -> Buffers:
        of_form = load_from_parts("forms", self.card["form"])
        if of_form is None:
            return PingPongBuffers(self.card, rows, rates, self.membranes(rows), self.bind)
        buffers: Buffers = of_form(self, rows, rates)
        return buffers

    def bind(
        self, x: np.ndarray, v: Arrays, y: np.ndarray, v_next: Arrays, rates: Rates = None,
        session: ort.InferenceSession | None = None,
    ) -> Callable[[], None]:  # fmt: skip
        """Bind float32 arrays [rows, ...] by address to the engine's session, or to another one; see Engine.bind."""
        session = session or self._session
        binding = session.io_binding()
        inputs, outputs = name_tensors(self.card, x, v, y, v_next)
        outputs |= {output: (rates or {})[layer] for layer, output in self.rates.items()}
        for bind, arrays in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, array in arrays.items():
                bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        keep_alive = (inputs, outputs)  # the binding holds addresses only
        run = session.run_with_iobinding

        def call(_: object = keep_alive) -> None:
            try:
                run(binding)
            except Exception as error:  # RuntimeError, and a family of its own
                raise self.cannot_run(error) from None

        return native.wrap_flushing(self.flush, call)
