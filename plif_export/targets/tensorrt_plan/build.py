"""The build of a plan from the bytes of an ONNX file, for TensorRT 10, TensorRT 11 and TensorRT-RTX.

Only the graph states the precision: types of tensors, Cast and QuantizeLinear/DequantizeLinear. TensorRT 11 has no
other way (its flags FP16 and INT8 are gone), and TensorRT 10 follows the graph with STRONGLY_TYPED. TF32, on by
default, rounds the factors of a float32 convolution to ten bits; it is always switched off.

Every input with a dynamic batch, x and each state, is in the optimisation profile by name: the engine serves min..max
streams and is tuned for opt.

The kernels of a plan are read into records here: each with its name, its kind, tensors in and out with their types,
and the ONNX nodes it was made from. If a GPU can open the plan, IEngineInspector lists them as JSON. Elsewhere only a
build at full verbosity logs them: a message that begins with "Layers:" and has a line for each kernel. TensorRT 10
writes "Format/Datatype: Row major linear FP32" where later ones write "Datatype: Float". The records answer two
questions of an export:

    does every convolution and every linear layer run in the requested precision?
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
from runtime.core.base.files import atomic_write
from runtime.engines.tensorrt_plan.module import get_logger, major_version

if TYPE_CHECKING:
    import tensorrt as tensorrt_types

SM = {"75": "SM75", "80": "SM80", "86": "SM86", "89": "SM89", "120": "SM120", "121": "SM121"}  # of ComputeCapability


@dataclass(frozen=True)
class Streams:
    """The least, the largest and the tuned number of parallel streams of a TensorRT engine."""

    least: int
    tuned: int
    most: int


@dataclass(frozen=True)
class BuiltPlan:
    """A TensorRT engine that was built and serialised (a plan).

    layers: its kernels as TensorRT lists them (text, for `read_layers`); None if it lists none
    """

    plan: bytes
    layers: str | None


def build_plan(
    trt: ModuleType,
    onnx_bytes: bytes,
    streams: Streams,
    *,
    sm: Sequence[str] = (),
    timing_cache: Path | None = None,
    flag: str = "tensorrt",
) -> BuiltPlan:
    """Build a TensorRT engine (plan) from an ONNX file.

    sm            for TensorRT-RTX: the compute capabilities to build for ("89"); none is one plan for 8.0 and later
    timing_cache  for TensorRT: a file of measured kernels, read if it exists and written afterwards
    Raises PlifError with the parser's or the builder's own reason in one line.
    """
    logger = get_logger(trt)
    logger.forget()
    builder = trt.Builder(logger)
    flags = 0
    if major_version(trt) == 10:
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes):
        raise PlifError(f"{flag}: TensorRT cannot read the ONNX form: {_parser_errors(parser)}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if config.get_flag(trt.BuilderFlag.TF32):
        raise PlifError(f"{flag}: this TensorRT does not let TF32 be switched off; use another version")
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if sm:
        config.num_compute_capabilities = len(sm)
        for i, name in enumerate(sm):
            config.set_compute_capability(getattr(trt.ComputeCapability, SM[name]), i)
    _add_profile(builder, network, config, streams, flag)
    cache = _load_timing_cache(config, timing_cache, flag)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise PlifError(f"{flag}: TensorRT cannot build the engine ({logger.reason()})")
    if cache is not None and timing_cache is not None:
        _save_timing_cache(config, timing_cache)
    layers = logger.layers
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is not None:
        layers = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return BuiltPlan(bytes(plan), layers)


def _parser_errors(parser: tensorrt_types.OnnxParser) -> str:
    """Return the errors of TensorRT's ONNX parser in one line: node, operator, reason."""
    errors = []
    for i in range(parser.num_errors):
        error = parser.get_error(i)
        errors.append(f"{error.node_operator()} '{error.node_name()}': {' '.join(error.desc().split())}"[:200])
    return "; ".join(errors[:2]) or "no reason given"


def _add_profile(
    builder: tensorrt_types.Builder,
    network: tensorrt_types.INetworkDefinition,
    config: tensorrt_types.IBuilderConfig,
    streams: Streams,
    flag: str,
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
        raise PlifError(f"{flag}: streams={least}+{tuned}+{most}: TensorRT takes no such profile")


def _load_timing_cache(
    config: tensorrt_types.IBuilderConfig, path: Path | None, flag: str
) -> tensorrt_types.ITimingCache | None:
    if path is None:
        return None
    try:
        blob = path.read_bytes()
    except FileNotFoundError:
        blob = b""
    except OSError as error:
        raise PlifError(f"{flag}: timing cache {path} cannot be read ({error.strerror})") from None
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
        with atomic_write(path) as (written,):
            written.write_bytes(bytes(cache.serialize()))


# Parts of the kind of kernels that multiply by weights: Myelin's, and Cask's, such as CaskConvolution and CaskConvActPool.
PRODUCTS = ("correlation", "gemm", "convolution", "convact", "matmul", "matrixmultiply")
TYPES = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}
WORDS = {"float": "Float", "fp32": "Float", "half": "Half", "fp16": "Half", "int8": "Int8", "bool": "Bool"}
UNKNOWN = "?"  # any other type
SECTION = re.compile(
    r"(?:^|, )(Name|LayerType|Inputs|Constants|Outputs|ParameterType|Weights|Bias|TacticName|Metadata): "
)


@dataclass(frozen=True)
class Kernel:
    """One GPU kernel of a TensorRT engine (plan).

    Types are TensorRT's words: Float, Half, Int8, Bool; UNKNOWN for any other.
    """

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
    """Parse TensorRT's list of an engine's kernels, in the order in which they run.

    text: the inspector's JSON or a "Layers:" message. A list of names alone gives no kernels.
    """
    if text.startswith("Layers:"):
        parts = [SECTION.split(line) for line in text.split("\n") if line.startswith("Name: ")]
        return [_parse_kernel(dict(zip(fields[1::2], fields[2::2], strict=True))) for fields in parts]
    try:
        layers = list(json.loads(text)["Layers"])
    except (ValueError, KeyError, TypeError):
        return []
    records = [{key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
            for fields in layers if isinstance(fields, dict)]  # fmt: skip
    return [_parse_kernel(fields) for fields in records]


def _parse_kernel(fields: Mapping[str, str]) -> Kernel:
    inputs, constants, weights, outputs = (
        _parse_types(fields.get(key, "")) for key in ("Inputs", "Constants", "Weights", "Outputs")
    )
    onnx_nodes = re.findall(r"\[ONNX Layer: ([^\]]*)\]", fields.get("Metadata", ""))
    name, kind = fields.get("Name", ""), fields.get("LayerType", "")
    return Kernel(name, kind, inputs, constants + weights, outputs, tuple(onnx_nodes))


def find_product_types(kernels: Iterable[Kernel]) -> dict[str, str | None]:
    """Return the data type in which TensorRT multiplies in each convolution or linear layer: {ONNX node: type}.

    The type is of input and weights; None if one of them is not known.
    """
    by_node: dict[str, str | None] = {}
    for kernel in kernels:
        if kernel.multiplies:
            nodes = [n for n in kernel.onnx if n.rpartition("/")[2] in ("Conv", "Gemm", "MatMul")] or list(kernel.onnx)
            types = {*kernel.inputs[:1], *kernel.constants[:1]}
            by_node["+".join(nodes) or kernel.name] = None if UNKNOWN in types or not types else "x".join(sorted(types))
    return by_node


def find_neuron_kernels(kernels: Iterable[Kernel], nodes: Iterable[str]) -> list[Kernel]:
    """Return the TensorRT kernels that compute any of these neuron nodes, but no convolution or matrix product."""
    names = set(nodes)
    return [kernel for kernel in kernels if not kernel.multiplies and names.intersection(kernel.onnx)]


def find_neuron_nodes(proto: onnx.ModelProto, current: str, outputs: Iterable[str]) -> list[str]:
    """Return the names of the ONNX nodes of a neuron layer: from its input current to spikes and next membranes."""
    producers = {output: node for node in proto.graph.node for output in node.output}
    names: dict[str, None] = {}
    open_tensors = [name for name in outputs if name != current]
    while open_tensors:
        node = producers.get(open_tensors.pop())
        if node is not None and node.name not in names:
            names[node.name] = None
            open_tensors += [name for name in node.input if name != current]
    return list(names)


def _parse_types(text: str) -> tuple[str, ...]:
    """Return the data types of the tensors in a section of TensorRT's list of kernels."""
    labels = re.findall(r'(?:Datatype|"Type")"?: "?([^,}"]*)', text)
    matches = [{WORDS[word] for word in re.findall(r"[a-z]+\d*", label.lower()) if word in WORDS} for label in labels]
    return tuple(words.pop() if len(words) == 1 else UNKNOWN for words in matches)
