"""The ONNX Runtime engine on the CPU: the one that always works.

Every buffer is the caller's and is bound once by address, so a step copies and allocates nothing. Subnormal membranes (a
leak without input halves v until it is 1e-40) cost up to six times the normal step on some processors, so they are flushed
to zero; ONNX Runtime does this only when the first session of the process asks for it, which is checked, not assumed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from runtime.base.errors import MissingExtra, PlifError, PlifWarning
from runtime.engines import EngineOptions
from runtime.model.card import Card
from runtime.model.graph import spikes
from runtime.model.readers.onnx_wire import refuse_external_data, with_rates

try:
    import onnxruntime as ort
except ImportError:
    raise MissingExtra("the onnxruntime engine", "cpu") from None


class OnnxRuntimeEngine:
    name: ClassVar[str] = "onnxruntime"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        if options.device not in (None, "cpu"):
            raise PlifError(
                f"engine onnxruntime: device '{options.device}'; it runs on cpu; on a GPU: --engine onnxruntime-cuda"
            )
        refuse_external_data(path)
        self.card = card
        self.rates = {state["layer"]: f"rate.{state['layer']}" for state in card["states"]} if options.rates else {}
        model = path.read_bytes()
        if self.rates:
            model = with_rates(model, {output: spikes(layer) for layer, output in self.rates.items()})
        self._session = _open(path, model, options)
        check_io(path, card, self._session)

    def bind(
        self,
        x: np.ndarray,
        v: Sequence[np.ndarray],
        y: np.ndarray,
        v_next: Sequence[np.ndarray],
        rates: Mapping[str, np.ndarray] | None = None,
    ) -> Callable[[], None]:
        binding = self._session.io_binding()
        inputs = {self.card["graph"]["input"]: x}
        outputs = {"y": y}
        for state, before, after in zip(self.card["states"], v, v_next, strict=True):
            inputs[state["input"]], outputs[state["output"]] = before, after
        for layer, output in self.rates.items():
            if rates is None:
                raise PlifError("engine onnxruntime: opened with rates, so bind needs a buffer for each layer's rate")
            outputs[output] = rates[layer]
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        keep_alive = (inputs, outputs)  # the binding holds addresses only
        run = self._session.run_with_iobinding

        def call(_: object = keep_alive) -> None:
            run(binding)

        return call


def check_io(path: Path, card: Card, session: ort.InferenceSession) -> None:
    """The file's inputs and outputs must be what its card says they are."""
    shapes = {info.name: info.shape for info in [*session.get_inputs(), *session.get_outputs()]}
    for state in card["states"]:
        for name in (state["input"], state["output"]):
            found = shapes.get(name)
            if found is None or list(found[1:]) != state["shape"]:
                raise PlifError(
                    f"{path}: state {name} is {found} in the graph, {state['shape']} in the card; export it again"
                )
    steps = [card["T"]] if card["form"] == "unrolled" else []
    x_steps = [] if card["input"]["kind"] == "static" else steps
    expected = {
        card["graph"]["input"]: (x_steps, list(card["input"]["shape"])),
        "y": (steps, [len(card["classes"])]),
    }
    for name, (before, after) in expected.items():
        found = shapes.get(name)
        if found is None or [*found[: len(before)], *found[len(before) + 1 :]] != [*before, *after]:
            raise PlifError(
                f"{path}: {name} is {found} in the graph, {[*before, 'B', *after]} in the card; export it again"
            )


def _open(path: Path, model: bytes, options: EngineOptions) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads or os.cpu_count() or 1
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # what fails is raised; its log lines would only repeat it
    if options.flush_denormals:
        settings.add_session_config_entry("session.set_denormal_as_zero", "1")
    try:
        session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a family of its own, without a common public base
        reason = " ".join(str(error).split())[:200]
        raise PlifError(f"{path}: ONNX Runtime cannot open it ({reason}); export it again") from None
    if options.flush_denormals and not _denormals_are_flushed():
        warnings.warn(
            "denormals are not flushed to zero: another ONNX Runtime session came first in this process; "
            "long silence may be slow. Load the plif model before other sessions.",
            PlifWarning,
            stacklevel=4,
        )
    return session


def _denormals_are_flushed() -> bool:
    smallest = np.full(1, np.finfo(np.float32).tiny)
    return bool((smallest * np.float32(0.5))[0] == 0)
