"""Targets, the values of `--to`: each turns a proved ONNX form into the file or folder that its engine opens.

An export reads the model, runs the passes, writes the graph as ONNX in the target's dialect, proves that, and then
lets the target write its own artifact from it (for `onnx` that is the proved file itself). If this machine has an
engine for the target, the written artifact is opened and must pass the gate as well; elsewhere the card says "not
run".

Every target but `onnx` is a part: a folder next to this file, with TARGETS, subclasses of Target, in its target.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from plif_export.core.options import BUDGETS
from plif_export.core.targets.onnx import OnnxTarget
from plif_export.core.targets.target import Target
from runtime.core.base.errors import PlifError
from runtime.core.parts import Part, find_parts, index_by_name, third_party_parts


def list_targets() -> list[str]:
    """Return the names of the available export targets (values of `--to`)."""
    return [OnnxTarget.name, *index_by_name(find_parts("targets"))]


def list_layouts(name: str) -> list[str]:
    """Return the other layouts in which an export target can write its artifact (`--set layout=`)."""
    return [part.name for part in find_parts("targets").values() if part.layout == name]


def find_target(name: str, options: Mapping[str, str] | None = None) -> Target:
    """Return the export target with this name. Raises PlifError for unknown names or `--set` options."""
    target = OnnxTarget() if name == OnnxTarget.name else _load_target(name, (options or {}).get("layout", ""))
    for option in options or {}:
        if option not in target.options:
            options_note = f"it has {', '.join(target.options)}" if target.options else "it has none"
            flag = f"--{option}" if option in BUDGETS else f"--set {option}"
            raise PlifError(f"{flag}: --to {name} has no such option; {options_note}")
    return target


def _load_target(name: str, layout: str) -> Target:
    part: Part | None = None
    if name in list_targets():
        built_in = find_parts("targets")
        part = built_in[layout] if layout in list_layouts(name) else index_by_name(built_in)[name]
    else:
        part = index_by_name(third_party_parts("targets")).get(name)
    if part is None:
        raise PlifError(f"--to {name}: this version writes {', '.join(list_targets())}")
    targets: tuple[type[Target], ...] = part.load("target:TARGETS")
    return next(target for target in targets if target.name == name)()
