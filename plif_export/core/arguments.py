"""What an export was asked for: whether options, model and target fit each other, where it writes, and the command line that
makes it again (which the refusal of an engine that does not fit a machine quotes)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from torch.nn import Module

from plif_export.core.options import ExportOptions
from plif_export.core.passes import MATHS
from plif_export.core.readers.facts import TrainedModel
from plif_export.core.targets.target import Target
from plif_export.core.writers import FORMS
from runtime.core.base.errors import PlifError
from runtime.core.events.framing import Framing


class Shaped(Protocol):
    """A tensor or an array of which only the shape is looked at."""

    @property
    def shape(self) -> Sequence[int]: ...


def check_arguments(
    options: ExportOptions, math: str, source: TrainedModel, target: Target, example_input: Shaped | None
) -> None:
    """Raises PlifError for the first pair that does not fit. example_input [B, ...]: only its shape is looked at."""
    facts = source.facts
    if source.has_card:
        options.refuse_beside_card()
    for name, value, known in (
        ("form", options.form, [form for form in target.forms if form in FORMS]),
        ("math", math, MATHS),
        ("precision", options.precision, target.precisions),
    ):
        if value not in known:
            raise PlifError(f"--{name} {value}: --to {target.name} writes {', '.join(known)}")
    framed_T = None if facts.framing is None else Framing.parse(facts.framing).T
    if framed_T not in (None, facts.T):
        raise PlifError(
            f"the model's framing '{facts.framing}' makes {framed_T} frames, but its T is {facts.T}; save it with equal ones"
        )
    if source.has_card and options.T is not None and options.form != "unrolled":
        raise PlifError(f"--T belongs to --form unrolled; the {options.form} form runs for any number of steps")
    if example_input is not None and source.has_card and tuple(example_input.shape[1:]) != tuple(facts.shape):
        found, expected = list(example_input.shape), ", ".join(map(str, facts.shape))
        raise PlifError(f"example_input is {found}; expected one step [B, {expected}]")


def command_line(model: object, output: str | Path | None, options: ExportOptions, usual_math: str) -> str:
    """`plif export ...` with the names of files, without their folders, and what differs from the defaults.

    usual_math  the target's own, which is not written
    A live module has no file: MODEL stands for one that holds it.
    """
    words = ["plif", "export", Path(model).name if isinstance(model, str | Path) else "MODEL"]
    if output is not None:
        words += ["-o", Path(output).name]
    math = None if options.math == usual_math else options.math
    shown = replace(options, math=math, metadata={}, flash=None, ram=None, seed=0, verify=True)  # a budget is in --set
    for flag, value in shown.given().items():
        words += [flag, _text(value)]
    return shlex.join(words)


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={'none' if each is None else each}" for name, each in value.items())
    if isinstance(value, tuple):
        return ",".join(str(each) for each in value)
    return str(value)


def destination(
    model: str | Path | Module, path: str | Path | None, options: ExportOptions, T: int, math: str, target: Target
) -> Path:
    """The path of the artifact: `path` where it fits the target. When None, beside the model's file, named as that
    + _T20 or _loop by the form + _fp16, _int8, ... + _exact or _folded when not the target's default + the target's suffix.

    Raises PlifError where nothing can be written there.
    """
    if path is None:
        if not isinstance(model, str | Path):
            raise PlifError(f"where to? A live network has no file name to go by: export(net, 'model{target.suffix}')")
        form = {"step": "", "unrolled": f"_T{T}"}.get(options.form, f"_{options.form}")
        precision = "" if options.precision == "fp32" else f"_{options.precision}"
        named = form + precision + ("" if math == target.math else f"_{math}") + target.suffix
        return Path(model).with_name(Path(model).stem + named)
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
