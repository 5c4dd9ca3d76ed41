"""ONNX Runtime on an NVIDIA GPU: its CUDA provider, or its TensorRT provider. The .onnx file is the CPU's.

Membranes stay on the device in two sets: a step reads one set and writes the other, then the sets change places. Every
tensor is bound once by address (IOBinding), so a step copies x to the device and y to the host, and nothing else.
Each of the two directions is recorded as a CUDA graph of its own: a graph keeps the addresses that it was recorded
with, and
  one
graph for both directions would read the first set for ever, without an error.
    CUDA        one session holds many graphs, distinguished by the run option gpu_graph_id
    TensorRT    a session holds one graph, whatever the option says, so each direction has a session of its own
ONNX Runtime runs a step several times when it records it. No tensor is read and written in one step, so this is
harmless; both sets are zeroed afterwards nevertheless.

Nothing falls back: a node that the provider does not take is an error (session.disable_cpu_ep_fallback), and so is a
provider that does not start; its missing libraries are searched first (runtime/core/engines/available.py). If CUDA's
provider is a plug-in, from ONNX Runtime 1.32 on, its options keep their names, with and without ep.cuda. before them.
TF32 is off: through an option of the CUDA provider, and through NVIDIA_TF32_OVERRIDE=0 in the environment of the
process for TensorRT, which has no such option.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime as ort

from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.engines.available import explain_missing
from runtime.core.engines.buffers import Resident
from runtime.core.engines.onnxruntime import OnnxRuntime
from runtime.core.engines.tensors import name_tensors, shapes_by_name
from runtime.core.model.card import Card
from runtime.engines.tensorrt_plan.cuda import parse_device

_graph_ids = itertools.count(1)  # each recorded direction in this process has an id of its own
MOST_STREAMS = 64  # the largest batch in the TensorRT provider's profile


class OnnxRuntimeCudaEngine(OnnxRuntime):
    """The engine of ONNX Runtime's CUDA provider: membranes on the device, one CUDA graph per direction."""

    name: ClassVar[str] = "onnxruntime-cuda"
    provider: ClassVar[str] = "CUDAExecutionProvider"
    memory: ClassVar[str] = "cuda"
    on_gpu: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")
    one_session: ClassVar[bool] = True  # whether one session serves both directions
    settings: ClassVar[Mapping[str, str]] = {"session.disable_cpu_ep_fallback": "1"}

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        self.device = parse_device(options.device or "cuda", f"engine {self.name}: ")
        if card["precision"] not in self.precisions:
            raise PlifError(
                f"{path}: engine {self.name} runs {' and '.join(self.precisions)}, not {card['precision']}; "
                "for a GPU export it with --to tensorrt"
            )
        if (why := explain_missing(self.name)) is not None:
            raise PlifError(f"engine {self.name}: {why}. To run on the CPU: --device cpu")
        super().__init__(path, card, options)
        self._unused = [self._session]  # for a direction that needs a session of its own

    def provider_options(self) -> dict[str, str]:
        return {"device_id": str(self.device), "use_tf32": "0", "enable_cuda_graph": "1"}

    def open(self) -> ort.InferenceSession:
        """Open an ONNX Runtime session on the engine's provider, and on nothing else."""
        ort.set_default_logger_severity(4)  # it also logs that a provider that is built in is no plug-in
        settings = ort.SessionOptions()
        for key, value in self.settings.items():
            settings.add_session_config_entry(key, value)
        advice = (
            "nvidia-smi says whether driver and GPU are new enough for its CUDA; to run it on the CPU: --device cpu"
        )
        return self._open(settings, self.provider_options(), advice)

    def buffers(self, rows: int, rates: bool = False) -> OnnxRuntimeBuffers:
        return OnnxRuntimeBuffers(self, [self._direction_session() for _ in range(2)], rows, rates)

    def _direction_session(self) -> ort.InferenceSession:
        if self.one_session:
            return self._session
        return self._unused.pop() if self._unused else self.open()


class OnnxRuntimeTensorRtEngine(OnnxRuntimeCudaEngine):
    """The engine of ONNX Runtime's TensorRT provider.

    It builds a plan when a session opens, and keeps no plan on disk, since a plan is code.
    """

    name: ClassVar[str] = "onnxruntime-tensorrt"
    provider: ClassVar[str] = "TensorrtExecutionProvider"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)  # its flags for others round in every layer of the file
    one_session: ClassVar[bool] = False

    def open(self) -> ort.InferenceSession:
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # TensorRT reads it when the process first builds a plan
        return super().open()

    def provider_options(self) -> dict[str, str]:
        options = {"device_id": str(self.device), "trt_cuda_graph_enable": "1", "trt_engine_cache_enable": "0"}
        if self.card["batch"] is None:
            for key, rows in (("min", 1), ("opt", 1), ("max", MOST_STREAMS)):
                options[f"trt_profile_{key}_shapes"] = ",".join(
                    f"{name}:{'x'.join(str(rows if n == 'B' else n) for n in shape)}"
                    for name, shape in shapes_by_name(self.card)[0].items()
                )
        return options


class OnnxRuntimeBuffers(Resident):
    """Buffers with tensors of one session on the device, bound as input and output. For one thread at a time."""

    def __init__(self, engine: OnnxRuntime, sessions: Sequence[ort.InferenceSession], rows: int, rates: bool) -> None:
        v, _ = engine.membranes(rows)
        super().__init__(engine.card, rows, rates, v)

        def on_device(array: np.ndarray) -> ort.OrtValue:
            return ort.OrtValue.ortvalue_from_numpy(np.zeros_like(array), engine.memory, engine.device)

        self._cannot_run = engine.cannot_run
        self._x, self._y = on_device(self.x), on_device(self.y)
        self._sets = tuple([on_device(array) for array in v] for _ in range(2))
        self._rates = {layer: on_device(array) for layer, array in self.rates.items()}
        self._runs = []
        for phase, session in enumerate(sessions):
            inputs, outputs = name_tensors(engine.card, self._x, self._sets[phase], self._y, self._sets[1 - phase])
            outputs |= {engine.rates[layer]: value for layer, value in self._rates.items()}
            binding = session.io_binding()
            for name, value in inputs.items():
                binding.bind_ortvalue_input(name, value)
            for name, value in outputs.items():
                binding.bind_ortvalue_output(name, value)
            options = ort.RunOptions()
            options.add_run_config_entry("gpu_graph_id", str(next(_graph_ids)))
            self._runs.append((session, binding, options))
        self._phase = 0
        for _ in range(2):  # records both directions, with zeros for x and v
            self.call()
        for values in self._sets:
            for value, array in zip(values, v, strict=True):
                value.update_inplace(np.zeros_like(array))

    def call(self) -> None:
        session, binding, options = self._runs[self._phase]
        self._x.update_inplace(self.x)  # a graph reads the address that it was recorded with, never the caller's
        try:
            binding.synchronize_inputs()
            session.run_with_iobinding(binding, options)
            binding.synchronize_outputs()
        except Exception as error:
            raise self._cannot_run(error) from None
        np.copyto(self.y, self._y.numpy())
        for layer, value in self._rates.items():
            np.copyto(self.rates[layer], value.numpy())
        self._phase = 1 - self._phase

    def push(self) -> None:
        for value, array in zip(self._sets[self._phase], self.v, strict=True):
            value.update_inplace(array)

    def pull(self) -> None:
        for value, array in zip(self._sets[self._phase], self.v, strict=True):
            np.copyto(array, value.numpy())


ENGINES = (OnnxRuntimeCudaEngine, OnnxRuntimeTensorRtEngine)
