"""The checks of an export's arguments, and its output path."""

from __future__ import annotations

from collections.abc import Sequence
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


class HasShape(Protocol):
    """The type of any tensor or array of which only the shape is used."""

    @property
    def shape(self) -> Sequence[int]: ...


def check_arguments(
    options: ExportOptions, math: str, source: TrainedModel, target: Target, example_input: HasShape | None
) -> None:
    """Refuse options of an export that conflict with the model, the target or each other, at the first conflict.

    example_input [B, ...]: only its shape is used. Raises PlifError.
    """
    facts = source.facts
    if source.has_card:
        options.refuse_with_card()
    for name, value, allowed in (
        ("form", options.form, [form for form in target.forms if form in FORMS]),
        ("math", math, MATHS),
        ("precision", options.precision, target.precisions),
    ):
        if value not in allowed:
            raise PlifError(f"--{name} {value}: --to {target.name} writes {', '.join(allowed)}")
    framed_T = None if facts.framing is None else Framing.parse(facts.framing).T
    if framed_T not in (None, facts.T):
        raise PlifError(
            f"the model's framing '{facts.framing}' makes {framed_T} frames, but its T is {facts.T}; save it with equal ones"
        )
    if source.has_card and options.T is not None and options.form != "unrolled":
        raise PlifError(f"--T belongs to --form unrolled; the {options.form} form runs for any number of steps")
    if example_input is not None and source.has_card and tuple(example_input.shape[1:]) != tuple(facts.shape):
        shape, expected = list(example_input.shape), ", ".join(map(str, facts.shape))
        raise PlifError(f"example_input is {shape}; expected one step [B, {expected}]")


def output_path(
    model: str | Path | Module, path: str | Path | None, options: ExportOptions, T: int, math: str, target: Target
) -> Path:
    """Return the path of the exported artifact: `path` if it fits the target, else a default near the model.

    The default is in the model's folder: the model's name + _T20 or _loop by the form + _fp16, _int8, ... + _exact or
    _folded if not the target's default + the target's suffix. Raises PlifError if nothing can be written there.
    """
    if path is None:
        if not isinstance(model, str | Path):
            raise PlifError(f"where to? A live network has no file name to go by: export(net, 'model{target.suffix}')")
        form = {"step": "", "unrolled": f"_T{T}"}.get(options.form, f"_{options.form}")
        precision = "" if options.precision == "fp32" else f"_{options.precision}"
        suffix = form + precision + ("" if math == target.math else f"_{math}") + target.suffix
        return Path(model).with_name(Path(model).stem + suffix)
    path = Path(path)
    if not target.folder and not path.name.endswith(target.suffix):
        raise PlifError(f"{path}: an artifact of --to {target.name} is named *{target.suffix}")
    if not path.absolute().parent.is_dir():
        raise PlifError(f"{path}: its folder does not exist; create it, or choose another path")
    if path.exists() and path.is_dir() != target.folder:
        is_a, expected = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise PlifError(f"{path}: is a {is_a}; --to {target.name} writes a {expected}")
    return path


def report_path(artifact: Path) -> Path:
    return artifact.with_name(artifact.name + ".report.json")
