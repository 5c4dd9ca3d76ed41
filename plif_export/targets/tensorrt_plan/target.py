"""The targets --to tensorrt and --to tensorrt-rtx: an engine file, the plan with the card in front of it.

tensorrt       builds on the GPU that will run it, with the TensorRT that will run it (10 or 11): NAME.engine
tensorrt-rtx   builds ahead of time, on any machine, for the named GPUs: NAME.rtx.engine

TensorRT gets the ONNX form that passed the gate, byte for byte: its SHA-256 is taken at the gate, compared here, and
kept in the card. The card of a plan that was built where no GPU can run it says `"parity": "not run"`, next to the
result of the gate for its ONNX form. The default math is `exact`, with which a layer of neurons becomes one kernel.

--set streams=MIN+OPT+MAX     streams that the engine serves, and for how many it is tuned; 1+1+16 without it
--set raw=true                the plan alone, as trtexec reads it; the runtime refuses it
--set timing_cache=FILE|none  tensorrt: measured kernels, kept from build to build (under ~/.cache/plif without it)
--set sm=86+89                tensorrt-rtx: compute capabilities to build for; without it one plan for 8.0 and later
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np

from plif_export.core.targets.target import ExportJob, Target, onnx_bytes, onnx_sha256, parse_flag
from plif_export.targets.tensorrt_plan.build import (
    SM,
    TYPES,
    Streams,
    build_plan,
    find_neuron_kernels,
    find_neuron_nodes,
    find_product_types,
    read_layers,
)
from plif_export.targets.tensorrt_plan.rebuild import command_line
from runtime.artifacts.tensorrt_plan.file import pack_engine
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.base.files import find_cache_folder
from runtime.core.model.card import Card, encode_card
from runtime.core.model.digest import write_digest
from runtime.core.model.graph import Graph, spikes_name, state_output
from runtime.core.model.readers.contents import Contents
from runtime.engines.tensorrt_plan.cuda import Gpu, open_gpu
from runtime.engines.tensorrt_plan.module import import_tensorrt
from runtime.engines.tensorrt_plan.plan import NOT_RUN, RTX, TENSORRT

STREAMS = Streams(1, 1, 16)
PORTABLE = ("8.0", "8.6", "8.9", "12.0+")  # what a TensorRT-RTX plan without `sm` runs on


class TensorRtTarget(Target):
    """The export target that builds a TensorRT engine for the GPU of this machine."""

    name: ClassVar[str] = TENSORRT
    suffix: ClassVar[str] = ".engine"
    dialect: ClassVar[str] = "where"
    math: ClassVar[str] = "exact"
    options: ClassVar[tuple[str, ...]] = ("streams", "raw", "timing_cache")
    nondeterministic_options: ClassVar[tuple[str, ...]] = ("timing_cache",)
    engine: ClassVar[str | None] = TENSORRT

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        """Check the options, the TensorRT module, and the GPU that building a TensorRT engine needs."""
        if "flush_denormals" in card:
            raise PlifError(
                f"--to {self.name}: a GPU may make 0 of numbers below 2^-126, and this network would give other spikes; "
                "use --to onnx, for the CPU"
            )
        _parse_streams(options, card)
        parse_flag(options, "raw")
        import_tensorrt(self.name)
        self.gpu()

    def gpu(self) -> Gpu | None:
        """Return the GPU for which the TensorRT engine is built. Raises PlifError if there is none."""
        try:
            return open_gpu()
        except PlifError as error:
            raise PlifError(
                f"--to {self.name}: TensorRT builds on the GPU that will run the engine ({error}); export there, "
                f"or build ahead of time with --to {RTX}"
            ) from None

    def write(self, job: ExportJob, path: Path) -> None:
        trt, gpu = import_tensorrt(self.name), self.gpu()
        data, made_from = onnx_bytes(job.proto), onnx_sha256(job.proto)
        if job.proved_sha256 is not None and job.proved_sha256 != made_from:
            raise CheckFailed(f"--to {self.name}: the ONNX form is not the one that passed the gate; nothing was built")
        streams = _parse_streams(job.options, job.card)
        built = build_plan(
            trt,
            data,
            streams,
            sm=self.sm(job.options),
            timing_cache=self.timing_cache(trt, gpu, job.options),
            flag=f"--to {self.name}",
        )
        raw = parse_flag(job.options, "raw")
        if gpu is None:
            job.not_run = "there is no NVIDIA GPU here"
        elif raw:
            job.not_run = "the runtime does not open a bare plan"
        card = job.card
        card["target"] = self.name
        card["versions"][self.name] = trt.__version__
        card["engine"] = {
            "kind": self.name,
            "version": trt.__version__,
            "gpu": self.built_on(gpu),
            "compute_capabilities": self.runs_on(gpu, job.options),
            "streams": {"min": streams.least, "opt": streams.tuned, "max": streams.most},
            "plan_bytes": len(built.plan),
            "plan_sha256": hashlib.sha256(built.plan).hexdigest(),
            "onnx_sha256": made_from,
            "onnx_parity": card["parity"],
            "rebuild": command_line(*job.request, self.math) if job.request else "",
            **_inspect_kernels(job, built.layers),
        }
        if job.not_run is not None:
            card["parity"] = NOT_RUN
        write_digest(card, Contents())  # the card has the SHA-256 of the plan
        path.write_bytes(built.plan if raw else pack_engine(encode_card(card), built.plan))
        if raw:
            job.notes.append("a bare plan for trtexec (--loadEngine); its card is in the report only")

    def unreproducible(self, card: Card) -> str | None:
        return "the plan, which TensorRT measures its way to"

    def unchecked_fields(self, card: Card, made_from: str) -> Card:
        return {"target": self.name, "engine": {**card.get("engine", {}), "onnx_sha256": made_from}}

    def built_on(self, gpu: Gpu | None) -> dict[str, str] | None:
        return None if gpu is None else {"name": gpu.name, "compute_capability": gpu.compute_capability}

    def runs_on(self, gpu: Gpu | None, options: Mapping[str, str]) -> list[str]:
        return [] if gpu is None else [gpu.compute_capability]

    def sm(self, options: Mapping[str, str]) -> list[str]:
        return []

    def timing_cache(self, trt: ModuleType, gpu: Gpu | None, options: Mapping[str, str]) -> Path | None:
        """Return the path of TensorRT's cache of kernel timings.

        There is one file for each version of TensorRT and each kind of GPU.
        """
        option = options.get("timing_cache")
        if option is not None:
            return None if option == "none" else Path(option)
        kind = "-".join(gpu.name.split()) if gpu is not None else "any"
        folder = find_cache_folder()
        return folder and folder / f"tensorrt-{trt.__version__}-{kind.replace('/', '-')}.timing"


class TensorRtRtxTarget(TensorRtTarget):
    """The export target that builds a TensorRT-RTX engine for generations of GPUs, on any machine.

    It is proved only if there is a GPU here.
    """

    name: ClassVar[str] = RTX
    suffix: ClassVar[str] = ".rtx.engine"
    options: ClassVar[tuple[str, ...]] = ("streams", "raw", "sm")
    engine: ClassVar[str | None] = RTX

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        self.sm(options)
        super().check(graph, card, options)

    def gpu(self) -> Gpu | None:
        """Return the GPU on which the TensorRT-RTX engine runs for its proof; None if there is none."""
        try:
            return open_gpu()
        except PlifError:
            return None

    def built_on(self, gpu: Gpu | None) -> dict[str, str] | None:
        return None  # the plan is for whole generations of GPUs, wherever it was built

    def runs_on(self, gpu: Gpu | None, options: Mapping[str, str]) -> list[str]:
        return [f"{name[:-1]}.{name[-1]}" for name in self.sm(options)] or list(PORTABLE)

    def sm(self, options: Mapping[str, str]) -> list[str]:
        names = [name.replace(".", "") for name in options.get("sm", "").split("+") if name]
        unknown = [name for name in names if name not in SM]
        if unknown or len(set(names)) != len(names):
            raise PlifError(f"--set sm={options['sm']}: expected some of {', '.join(SM)}, each once, as in sm=86+89")
        return names

    def timing_cache(self, trt: ModuleType, gpu: Gpu | None, options: Mapping[str, str]) -> Path | None:
        return None  # TensorRT-RTX measures nothing when it builds


def _parse_streams(options: Mapping[str, str], card: Card) -> Streams:
    option = options.get("streams")
    if card["batch"] is not None:
        if option is not None:
            raise PlifError(f"--set streams={option}: --batch {card['batch']} fixes the number; leave one of them out")
        return Streams(card["batch"], card["batch"], card["batch"])
    if option is None:
        return STREAMS
    parts = option.split("+")
    numbers = [int(part) for part in parts if part.isdecimal()]
    if len(parts) != 3 or len(numbers) != 3 or not 0 < numbers[0] <= numbers[1] <= numbers[2]:
        raise PlifError(f"--set streams={option}: expected MIN+OPT+MAX in rising order, as in streams=1+4+16")
    return Streams(*numbers)


def _inspect_kernels(job: ExportJob, text: str | None) -> dict[str, object]:
    """Return for the card the precision of each product and the kernels of each neuron layer in a TensorRT plan.

    Refuses a plan that computes in a lower precision than requested, and notes a higher one, and where TensorRT does
    not tell (None).
    """
    if text is None:
        return {"layers": None, "neuron_kernels": None}
    kernels = read_layers(text)
    words = {word: precision for precision, word in TYPES.items()}
    types_by_node = {
        node.partition("/")[0].removesuffix(".y16").removesuffix(".products"): words.get(kind, kind) if kind else None
        for node, kind in find_product_types(kernels).items()
    }
    layers = []
    for node in job.graph:
        if node.op not in ("Conv", "Linear"):
            continue
        requested = _precision_name(node.params["weight"])
        actual = types_by_node.get(node.name)
        layers.append({"name": node.name, "asked": requested, "runs": actual})
        if actual is None or actual == requested:
            continue
        if requested == "fp32":
            raise CheckFailed(f"layer {node.name}: TensorRT would multiply in {actual}, asked was {requested}")
        job.notes.append(
            f"layer {node.name} multiplies in {actual}, asked was {requested}: right, but slower than it could be"
        )
    if unknown := [str(layer["name"]) for layer in layers if layer["runs"] is None]:
        job.notes.append(f"TensorRT does not tell in which precision these layers multiply: {', '.join(unknown)}")
    counts = None
    if job.card["form"] == "step":
        counts = {}
        for node in job.graph.neurons:
            outputs = [spikes_name(node.layer), *(state_output(node.layer, variable) for variable in node.initial)]
            counts[node.layer] = len(
                find_neuron_kernels(kernels, find_neuron_nodes(job.proto, node.inputs[0], outputs))
            )
    return {"layers": layers, "neuron_kernels": counts, "kernels": len(kernels)}


def _precision_name(weight: np.ndarray) -> str:
    return {"float32": "fp32", "float16": "fp16", "int8": "int8"}[weight.dtype.name]


TARGETS = (TensorRtTarget, TensorRtRtxTarget)
