"""From a trained network to a file that is proved: read, run the passes, write, check, and only then give it its name."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch.nn import Module

from plif_export.cards import make_card, set_card
from plif_export.command import command_line
from plif_export.passes import MATHS, prepare
from plif_export.proof.prove import prove
from plif_export.proof.report import Report
from plif_export.proof.session import Running
from plif_export.readers import Facts, Given, read
from plif_export.targets import (
    DEFAULT_MATH,
    HoldsOnnx,
    Made,
    OpensItself,
    Target,
    check_options,
    default_math,
    find_target,
    open_written,
)
from plif_export.writers import FORMS
from runtime.api import load
from runtime.base.errors import CheckFailed, PlifError
from runtime.base.files import measure, whole_or_nothing
from runtime.events.framing import Framing
from runtime.model.artifacts import kind_of
from runtime.model.card import ARTIFACT_FORMAT, Card, read_card
from runtime.model.readers.onnx_wire import not_onnx, refuse_external_data


@dataclass
class Exported:
    """What an export made. `verify` is None when it was not asked to prove itself."""

    path: Path
    sha256: str
    bytes: int
    seconds: float
    verify: Report | None
    notes: list[str] = field(default_factory=list)
    not_run: str | None = None  # why this machine cannot run it; `verify` is then of the ONNX form it was made from

    @property
    def passed(self) -> bool:
        return self.verify is not None and self.verify.passed

    def to_dict(self) -> dict[str, Any]:
        found = {
            "path": str(self.path),
            "sha256": self.sha256,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "verify": None if self.verify is None else self.verify.to_dict(),
        }
        return found if self.not_run is None else {**found, "not_run": self.not_run}


def export(
    model: str | Path | Module,
    path: str | Path | None = None,
    example_input: Any = None,
    *,
    form: str = "step",
    T: int | None = None,
    precision: str = "fp32",
    math: str | None = None,
    to: str = "onnx",
    batch: int | None = None,
    verify: bool = True,
    seed: int = 0,
    classes: Sequence[str] | str | None = None,
    framing: str | None = None,
    kind: str | None = None,
    network: str | None = None,
    shape: Sequence[int] | None = None,
    neuron: Mapping[str, Any] | str | None = None,
    options: Mapping[str, str] | None = None,
) -> Exported:
    """Writes an artifact and its report, after the parity gate passed.

    model          a model.pt, a SpikingJelly state_dict (with `network`), a NIR file, or a live nn.Module: a
                   plif_train.Network, or any other that is made of layers of torch.nn, SpikingJelly, snnTorch or Norse
    path           where to; beside the model under its usual name when None
    example_input  one step [B, ...]; only its shape is used. A module that is not ours needs it
    form           step (streams) or unrolled (T steps a call)
    precision      fp32; fp16 or int8 round the weights that meet spikes (docs/precision.md)
    T              steps of the unrolled form; the card's T when None. A model without a card takes it as that, too
    classes        names of the outputs in their order, a list or "a,b,c"; for models without a card ("0", "1", ... else)
    framing        how events become frames, for models without a card
    kind           "events" (counts, the default) or "static" (images), for models without a card
    network        a notation string or a preset, for a bare state_dict
    shape          its input (C, H, W), where weights and notation do not say it
    neuron         what neither says: v_threshold, v_reset, tau, decay_input (state_dict); dt, fire, reset (NIR)
    math           exact (the order of operations of PyTorch) or folded (alpha in the weights); the target's when None
    batch          a fixed number of streams; dynamic when None
    to, options    the target (plif_export/targets) and what it may be told
    Raises CheckFailed when the gate does not pass (nothing is written then), PlifError for what cannot be exported.
    """
    began = time.perf_counter()
    given = Given.of(classes, framing, kind, T)
    source = read(model, example_input, given, network=network, shape=shape, neuron=neuron)
    facts = source.facts
    said = {"--classes": classes, "--framing": framing, "--kind": kind, "--shape": shape, "--neuron": neuron}
    if source.has_card and any(value is not None for value in said.values()):
        option = next(name for name, value in said.items() if value is not None)
        raise PlifError(f"{option}: the model has a card of its own that says it; leave {option} out")
    target = find_target(to)
    math = math or default_math(target)
    _check_arguments(facts, example_input, form, T if source.has_card else None, precision, math, target, batch)
    check_options(target, options or {})
    settings: dict[str, Any] = {
        "to": to if to != "onnx" else None,
        "form": form if form != "step" else None,
        "T": T,
        "batch": batch,
    }
    settings |= {"precision": precision if precision != "fp32" else None, "network": network, "shape": shape}
    settings |= {"math": math if math != default_math(target) else None, "classes": classes, "framing": framing}
    command = command_line(
        model, None if path is None else Path(path), {**settings, "kind": kind, "neuron": neuron}, options or {}
    )
    T = T or facts.T
    path = _destination(model, path, form, T, precision, math, target)
    graph = prepare(source.graph, math, facts.kind == "static" and form == "unrolled", precision)
    card = make_card(
        facts, graph, form=form, T=T, precision=precision, math=math, batch=batch, source_sha256=source.sha256
    )
    target.check(graph, card, options or {})
    proto = FORMS[form](graph, T, batch, target.dialect)
    report = None
    if verify:
        report = prove(proto, card, source, seed=seed, where=path.name)
        _require(report, path)
        card["parity"] = report.summary()
    proved = onnx_sha256(proto) if report is not None else None
    set_card(proto, card)
    made = Made(graph, proto, card, options or {}, source.notes, command, proved, name=path.name)
    with whole_or_nothing(path, report_path(path), folder=target.folder) as (artifact, beside):
        target.write(made, artifact)
        size, sha256 = measure(artifact)
        if made.not_run is not None:
            made.notes.append(
                f"parity: not run, since {made.not_run}; proved is the ONNX form it was built from, not what was built"
                if report is not None
                else f"parity: not run, since {made.not_run}"
            )
        elif report is not None:
            runs = open_written(target, artifact, card, sha256)
            if runs is not None:
                prove(proto, card, source, seed=seed, where=path.name, runs=runs, report=report)
            _add_faults(target, artifact, card, report)
            _require(report, path)
        result = Exported(path, sha256, size, time.perf_counter() - began, report, made.notes, made.not_run)
        beside.write_text(json.dumps({**result.to_dict(), "path": path.name, "card": card}, indent=2) + "\n")
    return result


def _require(report: Report, path: Path) -> None:
    if not report.passed:
        left = "; the older file of this name is as it was" if path.exists() else ""
        raise ParityFailed(f"{path.name}: {report.sentence()}; nothing was written{left}", report)


class ParityFailed(CheckFailed):
    """The gate's answer is no; `report` says what differs."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


def verify(
    artifact: str | Path,
    model: str | Path | Module,
    inputs: Any = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    network: str | None = None,
    shape: Sequence[int] | None = None,
    neuron: Mapping[str, Any] | str | None = None,
    engine: str | None = None,
) -> Report:
    """The parity gate on a file that exists.

    engine  prove this engine too, step by step as the runtime runs it (the gate itself runs the file in ONNX Runtime)
    inputs  [T, B, C, H, W] from reset; None makes event-like ones (or images), from a non-zero start state
    steps   how many when inputs is None
    network, shape, neuron  as in export, for models without a card
    """
    artifact = Path(artifact)
    card = read_card(artifact)
    if card["format"] != ARTIFACT_FORMAT:
        raise PlifError(f"{artifact}: is a model, not an exported artifact; export it first: plif export {artifact}")
    example = np.zeros((1, *card["input"]["shape"]), np.float32)
    given = Given(tuple(card["classes"]), card["framing"], card["input"]["kind"], card["T"])
    source = read(model, example, given, network=network, shape=shape or card["input"]["shape"], neuron=neuron)
    proto, runs = _opened(artifact, card, engine)
    x = None
    if inputs is not None:
        x = np.asarray(inputs, np.float32)
        if x.ndim != example.ndim + 1 or list(x.shape[2:]) != card["input"]["shape"]:
            raise PlifError(
                f"inputs are {list(x.shape)}; expected [T, B, {', '.join(map(str, card['input']['shape']))}]"
            )
    report = prove(proto, card, source, x, steps=steps, seed=seed, where=artifact.name, runs=runs)
    _add_faults(find_target(kind_of(artifact).name), artifact, card, report)
    return report


def _add_faults(target: Target, artifact: Path, card: Card, report: Report) -> None:
    """Fails the report for what stands around a proved file and does not fit it."""
    if report.passed and isinstance(target, HoldsOnnx):
        for layer, what in target.faults(artifact, card):
            report.fail(layer, 0, what)


def _opened(artifact: Path, card: Card, engine: str | None) -> tuple[onnx.ModelProto | None, Running | None]:
    """What of an artifact the gate can take apart (an ONNX file), and what it can only run."""
    kind = kind_of(artifact)
    if kind.name == "onnx":
        return load_onnx(artifact), None if engine is None else load(artifact, engine)
    target = find_target(kind.name)
    inner = target.onnx(artifact, card) if isinstance(target, HoldsOnnx) else None
    if isinstance(target, OpensItself) or inner is not None:
        if engine is not None:
            raise PlifError(f"--engine {engine}: no engine of this machine opens {artifact}; leave it out")
        return inner, open_written(target, artifact, card)
    return None, load(artifact, engine or "auto")


def load_onnx(path: Path) -> onnx.ModelProto:
    """An ONNX file with its weights inside. Raises PlifError for anything else."""
    refuse_external_data(path)
    try:
        return onnx.load_model_from_string(path.read_bytes())
    except Exception:  # protobuf's own exception, whose class depends on its implementation
        raise not_onnx(path, path.stat().st_size) from None


def samples(artifact: str | Path, data: str, limit: int) -> np.ndarray:
    """The first samples of a data set as the inputs of a parity check: [T, B, C, H, W]."""
    from runtime.data import open_dataset

    card = read_card(artifact)
    c, h, w = card["input"]["shape"]
    dataset = open_dataset(data, "test", framing=card["framing"], shape=(c, h, w), normalisation=card["normalisation"])
    chosen = [dataset.sample(i) for i in range(min(limit, len(dataset)))]
    if dataset.kind == "static":
        return np.broadcast_to(np.stack(chosen), (card["T"], len(chosen), c, h, w))
    T = min(len(sample) for sample in chosen)
    T -= T % card["T"] if card["form"] == "unrolled" else 0
    if T == 0:
        raise PlifError(f"{data}: recordings are shorter than the {card['T']} steps of {artifact}")
    return np.stack([sample[:T] for sample in chosen], axis=1)


# --- files and arguments ------------------------------------------------------------------------------------------


def _check_arguments(
    facts: Facts,
    example_input: Any,
    form: str,
    T: int | None,
    precision: str,
    math: str,
    target: Target,
    batch: int | None,
) -> None:
    for name, value, known in (
        ("form", form, target.forms),
        ("math", math, MATHS),
        ("precision", precision, target.precisions),
    ):
        if value not in known:
            raise PlifError(f"--{name} {value}: --to {target.name} writes {', '.join(known)}")
    if facts.framing is not None:
        framing = Framing.parse(facts.framing)
        if framing.T is not None and framing.T != facts.T:
            raise PlifError(
                f"the model's framing '{facts.framing}' makes {framing.T} frames, but its T is {facts.T}; save it with equal ones"
            )
    if T is not None and form != "unrolled":
        raise PlifError("--T belongs to --form unrolled; the step form runs for any number of steps")
    if T is not None and not 0 < T <= 4096:
        raise PlifError(f"--T {T}: expected 1 to 4096 time-steps")
    if batch is not None and not 0 < batch <= 65536:
        raise PlifError(f"--batch {batch}: expected a positive number of streams")
    if example_input is not None:
        shape = tuple(example_input.shape)
        if shape[1:] != tuple(facts.shape):
            raise PlifError(
                f"example_input is {list(shape)}; expected one step [B, {', '.join(map(str, facts.shape))}]"
            )


def onnx_sha256(proto: onnx.ModelProto) -> str:
    """Of the network itself, without the card in its metadata."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.metadata_props[:]
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def artifact_name(
    stem: str, form: str, T: int, precision: str, math: str, suffix: str = ".onnx", default: str = DEFAULT_MATH
) -> str:
    """stem + _T20 when unrolled + _fp16 or _int8 + _exact or _folded when not the default + the target's suffix"""
    name = stem
    if form == "unrolled":
        name += f"_T{T}"
    if precision != "fp32":
        name += f"_{precision}"
    if math != default:
        name += f"_{math}"
    return name + suffix


def _destination(
    model: str | Path | Module,
    path: str | Path | None,
    form: str,
    T: int,
    precision: str,
    math: str,
    target: Target,
) -> Path:
    if path is None:
        if not isinstance(model, str | Path):
            raise PlifError(f"where to? A live network has no file name to go by: export(net, 'model{target.suffix}')")
        model = Path(model)
        name = artifact_name(model.stem, form, T, precision, math, target.suffix, default_math(target))
        return model.with_name(name)
    path = Path(path)
    if not target.folder and not path.name.endswith(target.suffix):
        raise PlifError(f"{path}: an artifact of --to {target.name} is named *{target.suffix}")
    if not path.absolute().parent.is_dir():
        raise PlifError(f"{path}: its folder does not exist")
    if path.exists() and path.is_dir() != target.folder:
        is_a, expected = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise PlifError(f"{path}: is a {is_a}; --to {target.name} writes a {expected}")
    return path


def report_path(artifact: Path) -> Path:
    return artifact.with_name(artifact.name + ".report.json")
