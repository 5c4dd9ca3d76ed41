"""A stand-in for the module `tensorrt`, for tests on machines without a GPU: its plan is the ONNX file, ONNX Runtime runs it.

It has the part of TensorRT 10's interface that the engine and the builder use, and is as strict: addresses on multiples of
256, no tensor that is input and output at once, every shape and address set, one ordinary run before a run is recorded.
What it does is put into the stand-in's stream (cuda.c), so that it is done when the stream is waited for, or recorded.
"""

from __future__ import annotations

import ctypes
import json
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime as ort

__version__ = "10.3.0"
MAGIC = b"ftrt"
driver: Any = None  # the stand-in driver's library; set by the fixture


class EnumValue(int):
    pass


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = (EnumValue(i) for i in range(5))
    Severity = EnumValue


class TensorIOMode:
    NONE, INPUT, OUTPUT = range(3)


class DataType:
    FLOAT, HALF = "FLOAT", "HALF"


class NetworkDefinitionCreationFlag:
    EXPLICIT_BATCH, STRONGLY_TYPED = 0, 1


class BuilderFlag:
    FP16, TF32 = "FP16", "TF32"


class ProfilingVerbosity:
    DETAILED = "DETAILED"


class LayerInformationFormat:
    ONELINE, JSON = range(2)


class EngineInspector:
    """Tells the products of the ONNX file, in version 10's words."""

    def __init__(self, model: bytes) -> None:
        self.graph = onnx.load_model_from_string(model).graph

    def get_engine_information(self, form: int) -> str:
        assert form == LayerInformationFormat.JSON
        products = [node for node in self.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
        return json.dumps({"Layers": [self._layer(node) for node in products], "Bindings": []})

    def _layer(self, node: onnx.NodeProto) -> dict[str, Any]:
        makers = {output: each for each in self.graph.node for output in each.output}
        halves = {each.name for each in self.graph.initializer if each.data_type == onnx.TensorProto.FLOAT16}
        maker = makers.get(node.input[1])
        kind = "Int8" if maker is not None and maker.op_type == "DequantizeLinear" else "FP32"
        kind = "FP16" if node.input[1] in halves else kind
        tensor = {"Name": node.input[0], "Location": "Device", "Format/Datatype": f"Row major linear {kind}"}
        return {
            "Name": node.name,
            "LayerType": "CaskConvolution" if node.op_type == "Conv" else "CaskGemmMatrixMultiply",
            "Inputs": [tensor],
            "Outputs": [tensor | {"Name": node.output[0]}],
            "Metadata": f"[ONNX Layer: {node.name}]",
        }


class Runtime:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
        if plan[:4] != MAGIC:
            self.logger.log(ILogger.ERROR, "not a plan: magic tag does not match")
            return None
        return ICudaEngine(plan[4:])


class ICudaEngine:
    def __init__(self, model: bytes) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        self.model = model
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = {info.name: tuple(info.shape) for info in self.session.get_inputs()}
        self.outputs = {info.name: tuple(info.shape) for info in self.session.get_outputs()}
        self.names = [*self.inputs, *self.outputs]

    @property
    def num_io_tensors(self) -> int:
        return len(self.names)

    def get_tensor_name(self, i: int) -> str:
        return self.names[i]

    def get_tensor_mode(self, name: str) -> int:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        return DataType.FLOAT

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self.model)

    def create_execution_context(self) -> IExecutionContext:
        return IExecutionContext(self)


class IExecutionContext:
    capturable: ClassVar[bool] = True  # what a test may take away

    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.rows: int | None = None
        self.ran = False
        self.kept: list[Any] = []  # callbacks that the driver may still call

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        wanted = self.engine.inputs.get(name)
        if wanted is None or len(wanted) != len(shape):
            return False
        for want, size in zip(wanted, shape, strict=True):
            if isinstance(want, int) and want != size:
                return False
            if not isinstance(want, int):
                self.rows = size
        self.shapes[name] = tuple(shape)
        self.ran = False
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name in self.engine.inputs if name not in self.shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self.shapes:
            return self.shapes[name]
        return tuple(n if isinstance(n, int) else self.rows or -1 for n in self.engine.outputs[name])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address % 256 == 0 and name in self.engine.names

    def execute_async_v3(self, stream: int) -> bool:
        addresses = dict(self.addresses)
        inputs, outputs = ({addresses.get(n) for n in names} for names in (self.engine.inputs, self.engine.outputs))
        if stream == 0 or None in inputs | outputs or inputs & outputs or self.infer_shapes():
            return False
        recording = bool(driver.standin_is_capturing(ctypes.c_void_p(stream)))
        if recording and not (self.ran and self.capturable):
            return False
        call = CALLBACK(lambda _: self._run(addresses))
        self.kept.append(call)
        self.ran = True
        return driver.standin_put(ctypes.c_void_p(stream), call, None) == 0  # type: ignore[no-any-return]

    def _run(self, addresses: dict[str, int]) -> None:
        feed = {name: _at(addresses[name], self.shapes[name]).copy() for name in self.engine.inputs}
        for name, value in zip(self.engine.outputs, self.engine.session.run(None, feed), strict=True):
            _at(addresses[name], value.shape)[...] = value


CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    return np.frombuffer((ctypes.c_float * size).from_address(address), np.float32).reshape(shape)


# --- building -----------------------------------------------------------------------------------------------------


class Builder:
    last: ClassVar[Builder]

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.flags: int | None = None
        self.profile: OptimizationProfile | None = None
        Builder.last = self

    def create_network(self, flags: int = 0) -> Network:
        self.flags = flags
        return Network()

    def create_builder_config(self) -> BuilderConfig:
        return BuilderConfig()

    def create_optimization_profile(self) -> OptimizationProfile:
        return OptimizationProfile()

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> bytes | None:
        self.config = config
        dynamic = {t.name for t in network.inputs if -1 in t.shape}
        if dynamic != set(config.profile.shapes if config.profile else {}):
            self.logger.log(ILogger.ERROR, "no optimization profile has been defined for some input")
            return None
        return MAGIC + network.model


class Tensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape = name, shape


class Network:
    def __init__(self) -> None:
        self.model = b""
        self.inputs: list[Tensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, i: int) -> Tensor:
        return self.inputs[i]


class OptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, name: str, least: Any, tuned: Any, most: Any) -> None:
        self.shapes[name] = (least, tuned, most)


class TimingCache:
    def __init__(self, blob: bytes) -> None:
        self.blob = blob

    def serialize(self) -> bytes:
        return b"measured" + self.blob


class BuilderConfig:
    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.profiling_verbosity = ""
        self.profile: OptimizationProfile | None = None
        self.cache: TimingCache | None = None

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def get_flag(self, flag: str) -> bool:
        return flag in self.flags

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        if any(list(shapes) != sorted(shapes) for shapes in profile.shapes.values()):
            return -1
        self.profile = profile
        return 0

    def create_timing_cache(self, blob: bytes) -> TimingCache:
        return TimingCache(blob)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return not cache.blob.startswith(b"other")

    def get_timing_cache(self) -> TimingCache | None:
        return self.cache


class ParserError:
    def __init__(self, text: str) -> None:
        self.text = text

    def node_operator(self) -> str:
        return "?"

    def node_name(self) -> str:
        return ""

    def desc(self) -> str:
        return self.text


class OnnxParser:
    def __init__(self, network: Network, logger: Any) -> None:
        self.network, self.errors = network, [ParserError("nothing was parsed")]

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, i: int) -> ParserError:
        return self.errors[i]

    def parse(self, model: bytes) -> bool:
        proto = onnx.load_model_from_string(model)
        self.network.model, self.errors = bytes(model), []
        for info in proto.graph.input:
            shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in info.type.tensor_type.shape.dim)
            self.network.inputs.append(Tensor(info.name, shape))
        return True
