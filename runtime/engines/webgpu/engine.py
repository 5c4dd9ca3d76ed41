"""ONNX Runtime's WebGPU provider, a plug-in: any vendor's GPU by Vulkan, Metal or Direct3D.

The .onnx file is the CPU's.

Membranes stay on the device, as with CUDA (onnxruntime_gpu): every tensor is bound once, and a step copies x there
and y back. Nothing falls back: an operation that the provider does not take is an error, and so is a machine with no
GPU but the processor itself (vulkan.py).

Precision is a property of the provider: it sums float16 in float16, which moves spikes, and has no ConvInteger. So
every file runs with float32 sums of its own weights (runtime/core/model/readers/onnx_wire.py), which are exact for
whole numbers, as in int8.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import ClassVar

import onnxruntime as ort

from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.engines.available import explain_missing
from runtime.core.engines.onnxruntime import OnnxRuntime
from runtime.core.model.card import Card
from runtime.engines.onnxruntime_gpu.engine import OnnxRuntimeBuffers
from runtime.engines.webgpu.in_float32 import SCALE_LAST, rewrite_to_float32
from runtime.engines.webgpu.vulkan import adapters

try:
    import onnxruntime_ep_webgpu as plug_in
except ImportError:
    raise MissingExtra("the webgpu engine", "webgpu") from None

ON_THE_CPU = "to run it on the CPU: --engine onnxruntime"


class OnnxRuntimeWebGpuEngine(OnnxRuntime):
    """The engine of ONNX Runtime's WebGPU provider, with membranes on the device."""

    name: ClassVar[str] = "webgpu"
    provider: ClassVar[str] = "WebGpuExecutionProvider"
    memory: ClassVar[str] = "webgpu"
    on_gpu: ClassVar[bool] = True
    sums_in_float32: ClassVar[bool] = True

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        if options.device is not None:
            raise PlifError(
                f"engine webgpu: device '{options.device}'; its provider chooses the GPU: leave --device out"
            )
        if (reason := explain_missing(self.name)) is not None:
            raise PlifError(f"engine webgpu: {reason}")
        self.adapter = str(gpus[0]) if (gpus := adapters()) else None
        super().__init__(path, card, options)

    def open(self) -> ort.InferenceSession:
        self.model = rewrite_to_float32(self.model)
        try:
            return self._open_with("session.disable_cpu_ep_fallback")
        except PlifError:
            recorded = self._open_with(
                "session.record_ep_graph_assignment_info"
            )  # raises again what has another reason
            parts = [part for part in recorded.get_provider_graph_assignment_info() if part.ep_name != self.provider]
            refused_nodes = ", ".join(f"{node.op_type} ({node.name})" for part in parts for node in part.get_nodes())
            nodes = refused_nodes[:200] or "a node that ONNX Runtime adds"
            raise PlifError(f"{self.path}: {self.provider} does not take {nodes}; {ON_THE_CPU}") from None

    def _open_with(self, setting: str) -> ort.InferenceSession:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = 1  # of the CPU's provider, which runs nothing
        settings.add_session_config_entry(setting, "1")
        settings.add_session_config_entry(*SCALE_LAST)
        settings.add_provider_for_devices(_find_devices(), {})
        return self._open(settings, None, ON_THE_CPU)

    def buffers(self, rows: int, rates: bool = False) -> OnnxRuntimeBuffers:
        return OnnxRuntimeBuffers(self, [self._session] * 2, rows, rates)


@cache
def _find_devices() -> list[ort.OrtEpDevice]:
    """Find the device for sessions of the WebGPU provider; register the plug-in once per process."""
    ort.set_default_logger_severity(4)  # it logs the switch that vulkan.py knows
    try:
        ort.register_execution_provider_library("plif.webgpu", plug_in.get_library_path())
    except Exception as error:
        raise PlifError(f"engine webgpu: ONNX Runtime {ort.__version__} cannot load the plug-in ({error})") from None
    devices = [device for device in ort.get_ep_devices() if device.ep_name == plug_in.get_ep_name()]
    if not devices:
        raise PlifError(f"engine webgpu: its provider finds no GPU here; {ON_THE_CPU}")
    return devices[:1]


ENGINES = (OnnxRuntimeWebGpuEngine,)
