"""ONNX Runtime on a GPU of NVIDIA: its CUDA provider, or its TensorRT provider. The same .onnx file as on the CPU.

Membranes stay on the device in two sets, read and written in turn, and everything is bound once by address (IOBinding), so a
step copies x up and y down and nothing else. Each direction is recorded as a CUDA graph of its own: a graph keeps the
addresses it was recorded with, and one graph for both directions would go on reading the first set, with no error.
    CUDA        many graphs in one session, told apart by the run option gpu_graph_id
    TensorRT    has one graph in a session whatever the id says, so there is a session for each direction
ONNX Runtime runs a step several times when it records it. That is harmless here, since no tensor is read and written at
once; all the same both sets are zeroed afterwards.

Nothing falls back: a node that the provider does not take is an error (session.disable_cpu_ep_fallback), and the provider that
really opened the session is checked. TF32 is off: by an option of the CUDA provider, and for TensorRT, which has no option, by
NVIDIA_TF32_OVERRIDE=0 in the environment of the process.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from runtime.base.errors import PlifError
from runtime.engines import EngineOptions, ResidentEngine
from runtime.engines.onnxruntime import check_io, ort
from runtime.model.card import Card
from runtime.model.graph import spikes
from runtime.model.readers.onnx_wire import refuse_external_data, with_rates

_graph_ids = itertools.count(1)  # of the process; each recorded direction has one of its own
MOST_STREAMS = 64  # of the TensorRT provider's profile


class OnnxRuntimeCudaEngine(ResidentEngine):
    name: ClassVar[str] = "onnxruntime-cuda"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    provider: ClassVar[str] = "CUDAExecutionProvider"
    memory: ClassVar[str] = "cuda"  # where ONNX Runtime puts what is bound
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")
    one_session: ClassVar[bool] = True  # for both directions
    settings: ClassVar[Mapping[str, str]] = {"session.disable_cpu_ep_fallback": "1"}

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        self.device = _index(options.device, self.name)
        if card["precision"] not in self.precisions:
            raise PlifError(
                f"{path}: engine {self.name} runs {' and '.join(self.precisions)}, not {card['precision']}; "
                "for a GPU export it with --to tensorrt"
            )
        if self.provider not in ort.get_available_providers():
            raise PlifError(
                f"engine {self.name}: the installed onnxruntime has no {self.provider}: "
                "pip uninstall onnxruntime, then pip install 'plif[gpu]'"
            )
        refuse_external_data(path)
        self.path, self.card = path, card
        self.rates = {state["layer"]: f"rate.{state['layer']}" for state in card["states"]} if options.rates else {}
        self._bytes = path.read_bytes()
        if self.rates:
            self._bytes = with_rates(self._bytes, {output: spikes(layer) for layer, output in self.rates.items()})
        self._session = self.open()
        self._unused = [self._session]  # for a direction that needs a session of its own
        check_io(path, card, self._session)

    def provider_options(self) -> dict[str, str]:
        return {"device_id": str(self.device), "use_tf32": "0", "enable_cuda_graph": "1"}

    def open(self) -> ort.InferenceSession:
        """A session on the provider, and on nothing else."""
        settings = ort.SessionOptions()
        settings.log_severity_level = 4  # what fails is raised; its log lines would only repeat it
        for key, value in self.settings.items():
            settings.add_session_config_entry(key, value)
        try:
            session = ort.InferenceSession(self._bytes, settings, providers=[(self.provider, self.provider_options())])
        except Exception as error:  # onnxruntime raises a family of its own, without a common public base
            reason = " ".join(str(error).split())[:200]
            raise PlifError(f"{self.path}: ONNX Runtime cannot run all of it on {self.provider} ({reason})") from None
        running = session.get_providers()
        if running[0] != self.provider:  # it only warns where CUDA is missing, and goes on without
            raise PlifError(
                f"engine {self.name}: ONNX Runtime left {self.provider} and would run on {running[0]}; "
                "CUDA or cuDNN is missing or too old for it. To run on the CPU: --device cpu"
            )
        return session

    def resident(
        self, x: np.ndarray, y: np.ndarray, v: Sequence[np.ndarray], rates: Mapping[str, np.ndarray] | None = None
    ) -> OnnxRuntimeSteps:
        """Steps of one session, with its membranes on the device."""
        if self.rates and rates is None:
            raise PlifError(f"engine {self.name}: opened with rates, so it needs a buffer for each layer's rate")
        return OnnxRuntimeSteps(self, [self._for_direction() for _ in range(2)], x, y, v, rates or {})

    def _for_direction(self) -> ort.InferenceSession:
        if self.one_session:
            return self._session
        return self._unused.pop() if self._unused else self.open()


class OnnxRuntimeTensorRtEngine(OnnxRuntimeCudaEngine):
    """The TensorRT provider. It builds a plan when a session opens, and keeps none on disk: a plan is code."""

    name: ClassVar[str] = "onnxruntime-tensorrt"
    provider: ClassVar[str] = "TensorrtExecutionProvider"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)  # its flags for others let every layer round, not those asked for
    one_session: ClassVar[bool] = False

    def open(self) -> ort.InferenceSession:
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # read when the process first builds a plan
        return super().open()

    def provider_options(self) -> dict[str, str]:
        options = {"device_id": str(self.device), "trt_cuda_graph_enable": "1", "trt_engine_cache_enable": "0"}
        if self.card["batch"] is None:
            for key, rows in (("min", 1), ("opt", 1), ("max", MOST_STREAMS)):
                options[f"trt_profile_{key}_shapes"] = ",".join(
                    f"{name}:{'x'.join(map(str, shape))}" for name, shape in self._input_shapes(rows).items()
                )
        return options

    def _input_shapes(self, rows: int) -> dict[str, list[int]]:
        """Of x and of every state."""
        card = self.card
        steps = [card["T"]] if card["form"] == "unrolled" and card["input"]["kind"] != "static" else []
        shapes = {card["graph"]["input"]: [*steps, rows, *card["input"]["shape"]]}
        return shapes | {state["input"]: [rows, *state["shape"]] for state in card["states"]}


class OnnxRuntimeSteps:
    """runtime.engines.Resident: one session's tensors on the device, bound both ways. For one thread at a time."""

    def __init__(
        self,
        engine: OnnxRuntimeCudaEngine,
        sessions: Sequence[ort.InferenceSession],
        x: np.ndarray,
        y: np.ndarray,
        v: Sequence[np.ndarray],
        rates: Mapping[str, np.ndarray],
    ) -> None:
        self.x, self.y, self.v = x, y, v
        card, place = engine.card, (engine.memory, engine.device)

        def on_device(array: np.ndarray) -> Any:
            return ort.OrtValue.ortvalue_from_numpy(np.zeros_like(array), *place)

        self._x, self._y = on_device(x), on_device(y)
        self._sets = tuple([on_device(array) for array in v] for _ in range(2))
        self._rates = [(on_device(rates[layer]), rates[layer]) for layer in engine.rates]
        self._runs = []
        for phase, session in enumerate(sessions):
            binding = session.io_binding()
            binding.bind_ortvalue_input(card["graph"]["input"], self._x)
            binding.bind_ortvalue_output("y", self._y)
            for i, state in enumerate(card["states"]):
                binding.bind_ortvalue_input(state["input"], self._sets[phase][i])
                binding.bind_ortvalue_output(state["output"], self._sets[1 - phase][i])
            for (value, _), output in zip(self._rates, engine.rates.values(), strict=True):
                binding.bind_ortvalue_output(output, value)
            options = ort.RunOptions()
            options.add_run_config_entry("gpu_graph_id", str(next(_graph_ids)))
            self._runs.append((session, binding, options))
        self._phase = 0
        for _ in range(2):
            self.run()
        for value, array in [(self._y, y), *((value, v[i]) for values in self._sets for i, value in enumerate(values))]:
            value.update_inplace(np.zeros_like(array))
        y[...] = 0

    def run(self) -> None:
        """One call: self.x and the membranes inside -> self.y, the rates, and the membranes inside."""
        session, binding, options = self._runs[self._phase]
        self._x.update_inplace(self.x)  # a graph reads the address that it was recorded with, never the caller's
        binding.synchronize_inputs()
        session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
        np.copyto(self.y, self._y.numpy())
        for value, array in self._rates:
            np.copyto(array, value.numpy())
        self._phase = 1 - self._phase

    def push(self) -> None:
        for value, array in zip(self._sets[self._phase], self.v, strict=True):
            value.update_inplace(array)

    def pull(self) -> None:
        for value, array in zip(self._sets[self._phase], self.v, strict=True):
            np.copyto(array, value.numpy())


def _index(device: str | None, name: str) -> int:
    """cuda or cuda:N -> N"""
    kind, colon, number = (device or "cuda").partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise PlifError(f"engine {name}: device '{device}'; expected cuda or cuda:N")
    return int(number or 0)
