"""Targets: what `--to` can name. A target turns a proved ONNX form of a network into the file or folder that its engine opens.

An export reads the model, runs the passes, writes the graph as ONNX in the target's dialect, proves that, and then asks the
target to write its own artifact from it (for `onnx` that is the proved file itself). Where this machine has an engine for the
target, the written artifact is opened and has to pass the gate as well; elsewhere the card says "not run".

Every target but `onnx` is a part: a folder beside this file, whose target.py has TARGETS, subclasses of Target.
"""

from __future__ import annotations

from collections.abc import Mapping

from plif_export.core.options import BUDGETS
from plif_export.core.targets.onnx import OnnxTarget
from plif_export.core.targets.target import Target
from runtime.core.base.errors import PlifError
from runtime.core.parts import Part, by_name, find_parts, parts_of_others


def target_names() -> list[str]:
    """What --to can name here."""
    return [OnnxTarget.name, *by_name(find_parts("targets"))]


def layouts_of(name: str) -> list[str]:
    """Other layouts of the artifact of a target, which --set layout= names."""
    return [each.name for each in find_parts("targets").values() if each.layout == name]


def find_target(name: str, options: Mapping[str, str] | None = None) -> Target:
    """The target of that name. Raises PlifError for an unknown one, and for `--set` options that it does not have."""
    target = OnnxTarget() if name == OnnxTarget.name else _of_part(name, (options or {}).get("layout", ""))
    for option in options or {}:
        if option not in target.options:
            known = f"it has {', '.join(target.options)}" if target.options else "it has none"
            flag = f"--{option}" if option in BUDGETS else f"--set {option}"
            raise PlifError(f"{flag}: --to {name} has no such option; {known}")
    return target


def _of_part(name: str, layout: str) -> Target:
    part: Part | None = None
    if name in target_names():
        part = find_parts("targets")[layout] if layout in layouts_of(name) else by_name(find_parts("targets"))[name]
    else:
        part = by_name(parts_of_others("targets")).get(name)
    if part is None:
        raise PlifError(f"--to {name}: this version writes {', '.join(target_names())}")
    targets: tuple[type[Target], ...] = part.load("target:TARGETS")
    return next(each for each in targets if each.name == name)()
