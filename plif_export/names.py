"""Where an export writes, and the default names of its files."""

from __future__ import annotations

from pathlib import Path

from torch.nn import Module

from plif_export.options import ExportOptions
from plif_export.targets.target import Target
from runtime.base.errors import PlifError


def artifact_name(stem: str, options: ExportOptions, T: int, math: str, target: Target) -> str:
    """stem + _T20 when unrolled + _fp16 or _int8 + _exact or _folded when not the target's default + its suffix"""
    name = stem
    if options.form == "unrolled":
        name += f"_T{T}"
    if options.precision != "fp32":
        name += f"_{options.precision}"
    if math != target.math:
        name += f"_{math}"
    return name + target.suffix


def destination(
    model: str | Path | Module, path: str | Path | None, options: ExportOptions, T: int, math: str, target: Target
) -> Path:
    """The path of the artifact: `path` where it fits the target, beside the model's file when None.

    Raises PlifError where nothing can be written there.
    """
    if path is None:
        if not isinstance(model, str | Path):
            raise PlifError(f"where to? A live network has no file name to go by: export(net, 'model{target.suffix}')")
        model = Path(model)
        return model.with_name(artifact_name(model.stem, options, T, math, target))
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
