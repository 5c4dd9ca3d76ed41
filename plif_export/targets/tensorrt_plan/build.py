"""From the bytes of an ONNX file to a plan: the same code for TensorRT 10, TensorRT 11 and TensorRT-RTX.

The graph alone says the precision: types of tensors, Cast and QuantizeLinear/DequantizeLinear. TensorRT 11 has no other way
(its flags FP16 and INT8 are gone), and TensorRT 10 is told to follow the graph with STRONGLY_TYPED. TF32, on by default,
rounds the factors of a float32 convolution to ten bits; it is always switched off.

Every input with a dynamic batch, x and each state, is in the optimisation profile by name: the engine serves min..max
streams and is tuned for opt.

What a plan consists of is read into records here: a list of kernels, each with its name, its kind, tensors in and out with their
types, and the ONNX nodes it was made from. Where a GPU can open the plan, IEngineInspector tells it as JSON. Elsewhere there is
only what a build at full verbosity logs: a message that begins with "Layers:" and has a line for each kernel. TensorRT 10 says
"Format/Datatype: Row major linear FP32" where later ones say "Datatype: Float". It answers what an export must know:

    does every convolution and every linear layer run in the precision that was asked for?
    is each layer of neurons one kernel, which reads current and membrane once and writes spikes and membrane once?
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import onnx

from runtime.core.base.errors import PlifError
from runtime.core.base.files import whole_or_nothing
from runtime.engines.tensorrt_plan.module import logger_of, major_of

if TYPE_CHECKING:
    import tensorrt as tensorrt_types

SM = {"75": "SM75", "80": "SM80", "86": "SM86", "89": "SM89", "120": "SM120", "121": "SM121"}  # of ComputeCapability


@dataclass(frozen=True)
class Streams:
    """How many streams an engine serves, and for how many it is tuned."""

    least: int
    tuned: int
    most: int


@dataclass(frozen=True)
class BuiltPlan:
    """A serialised engine. layers: its kernels as TensorRT tells them (text, for `read_layers`); None where it tells none."""

    plan: bytes
    layers: str | None


def build(
    trt: ModuleType,
    onnx_bytes: bytes,
    streams: Streams,
    *,
    sm: Sequence[str] = (),
    timing_cache: Path | None = None,
    where: str = "tensorrt",
) -> BuiltPlan:
    """Builds the plan of an ONNX file.

    sm            for TensorRT-RTX: the compute capabilities to build for ("89"); none is one plan for 8.0 and later
    timing_cache  for TensorRT: a file of measured kernels, read where it exists and written afterwards
    Raises PlifError with the parser's or the builder's own reason in one line.
    """
    logger = logger_of(trt)
    logger.forget()
    builder = trt.Builder(logger)
    flags = 0
    if major_of(trt) == 10:
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes):
        raise PlifError(f"{where}: TensorRT cannot read the ONNX form: {_parser_errors(parser)}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if config.get_flag(trt.BuilderFlag.TF32):
        raise PlifError(f"{where}: this TensorRT does not let TF32 be switched off; use another version")
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if sm:
        config.num_compute_capabilities = len(sm)
        for i, name in enumerate(sm):
            config.set_compute_capability(getattr(trt.ComputeCapability, SM[name]), i)
    _add_profile(builder, network, config, streams, where)
    cache = _load_timing_cache(config, timing_cache, where)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise PlifError(f"{where}: TensorRT cannot build the engine ({logger.reason()})")
    if cache is not None and timing_cache is not None:
        _save_timing_cache(config, timing_cache)
    listed = logger.layers
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is not None:
        listed = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return BuiltPlan(bytes(plan), listed)


def _parser_errors(parser: tensorrt_types.OnnxParser) -> str:
    """What the parser found, in one line: node, operator, reason."""
    found = []
    for i in range(parser.num_errors):
        error = parser.get_error(i)
        found.append(f"{error.node_operator()} '{error.node_name()}': {' '.join(error.desc().split())}"[:200])
    return "; ".join(found[:2]) or "no reason given"


def _add_profile(
    builder: tensorrt_types.Builder,
    network: tensorrt_types.INetworkDefinition,
    config: tensorrt_types.IBuilderConfig,
    streams: Streams,
    where: str,
) -> None:
    profile = builder.create_optimization_profile()
    dynamic = False
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape = tuple(tensor.shape)
        if -1 in shape:
            dynamic = True
            sizes = [tuple(n if d == -1 else d for d in shape) for n in (streams.least, streams.tuned, streams.most)]
            profile.set_shape(tensor.name, sizes[0], sizes[1], sizes[2])
    # TensorRT refuses a profile in a wrong order by this return value alone; without the check the build fails much later.
    if dynamic and config.add_optimization_profile(profile) < 0:
        least, tuned, most = streams.least, streams.tuned, streams.most
        raise PlifError(f"{where}: streams={least}+{tuned}+{most}: TensorRT takes no such profile")


def _load_timing_cache(
    config: tensorrt_types.IBuilderConfig, path: Path | None, where: str
) -> tensorrt_types.ITimingCache | None:
    if path is None:
        return None
    try:
        blob = path.read_bytes()
    except FileNotFoundError:
        blob = b""
    except OSError as error:
        raise PlifError(f"{where}: timing cache {path} cannot be read ({error.strerror})") from None
    cache = config.create_timing_cache(blob)
    # A cache of another GPU or version is refused; an empty one takes its place and is written afterwards.
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _save_timing_cache(config: tensorrt_types.IBuilderConfig, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_or_nothing(path) as (written,):
            written.write_bytes(bytes(cache.serialize()))


# In kinds of kernels that multiply by weights: of Myelin, and Cask's, such as CaskConvolution and CaskConvActPool.
PRODUCTS = ("correlation", "gemm", "convolution", "convact", "matmul", "matrixmultiply")
TYPES = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}
WORDS = {"float": "Float", "fp32": "Float", "half": "Half", "fp16": "Half", "int8": "Int8", "bool": "Bool"}
UNKNOWN = "?"  # a type that is none of these
SECTION = re.compile(
    r"(?:^|, )(Name|LayerType|Inputs|Constants|Outputs|ParameterType|Weights|Bias|TacticName|Metadata): "
)


@dataclass(frozen=True)
class Kernel:
    """One kernel of a plan. Types are TensorRT's words: Float, Half, Int8, Bool; UNKNOWN for any other."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    onnx: tuple[str, ...]  # names of ONNX nodes

    @property
    def multiplies(self) -> bool:
        return any(word in self.kind.lower() for word in PRODUCTS)


def read_layers(text: str) -> list[Kernel]:
    """The kernels of a plan, in the order they run: of the inspector's JSON or of a "Layers:" message. Names alone are none."""
    if text.startswith("Layers:"):
        parts = [SECTION.split(line) for line in text.split("\n") if line.startswith("Name: ")]
        return [_kernel(dict(zip(each[1::2], each[2::2], strict=True))) for each in parts]
    try:
        layers = list(json.loads(text)["Layers"])
    except (ValueError, KeyError, TypeError):
        return []
    told = [{key: value if isinstance(value, str) else json.dumps(value) for key, value in each.items()}
            for each in layers if isinstance(each, dict)]  # fmt: skip
    return [_kernel(each) for each in told]


def _kernel(told: Mapping[str, str]) -> Kernel:
    inputs, constants, weights, outputs = (
        _types(told.get(key, "")) for key in ("Inputs", "Constants", "Weights", "Outputs")
    )
    onnx_nodes = re.findall(r"\[ONNX Layer: ([^\]]*)\]", told.get("Metadata", ""))
    name, kind = told.get("Name", ""), told.get("LayerType", "")
    return Kernel(name, kind, inputs, constants + weights, outputs, tuple(onnx_nodes))


def product_types(kernels: Iterable[Kernel]) -> dict[str, str | None]:
    """{ONNX node: type of what is multiplied} of all convolutions and linear layers: the types of input and weights; None where
    one of them is not known."""
    found: dict[str, str | None] = {}
    for kernel in kernels:
        if kernel.multiplies:
            nodes = [n for n in kernel.onnx if n.rpartition("/")[2] in ("Conv", "Gemm", "MatMul")] or list(kernel.onnx)
            both = {*kernel.inputs[:1], *kernel.constants[:1]}
            found["+".join(nodes) or kernel.name] = None if UNKNOWN in both or not both else "x".join(sorted(both))
    return found


def neuron_kernels(kernels: Iterable[Kernel], nodes: Iterable[str]) -> list[Kernel]:
    """The kernels that compute one of these ONNX nodes, apart from products (an addition may ride on one)."""
    wanted = set(nodes)
    return [kernel for kernel in kernels if not kernel.multiplies and wanted.intersection(kernel.onnx)]


def neuron_nodes(proto: onnx.ModelProto, current: str, outputs: Iterable[str]) -> list[str]:
    """The names of the ONNX nodes between a layer's current and what it gives: its spikes and its next membranes."""
    makers = {output: node for node in proto.graph.node for output in node.output}
    found: dict[str, None] = {}
    open_tensors = [name for name in outputs if name != current]
    while open_tensors:
        node = makers.get(open_tensors.pop())
        if node is not None and node.name not in found:
            found[node.name] = None
            open_tensors += [name for name in node.input if name != current]
    return list(found)


def _types(text: str) -> tuple[str, ...]:
    """Of the tensors in a section of a list of kernels."""
    said = re.findall(r'(?:Datatype|"Type")"?: "?([^,}"]*)', text)
    known = [{WORDS[word] for word in re.findall(r"[a-z]+\d*", each.lower()) if word in WORDS} for each in said]
    return tuple(words.pop() if len(words) == 1 else UNKNOWN for words in known)
