"""The target `--to onnx`: the proved file itself, for ONNX Runtime and the event engine."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from plif_export.core.passes import PRECISIONS
from plif_export.core.proof.structure import FileContents, normalize_onnx
from plif_export.core.targets.target import ExportJob, Target, load_onnx
from runtime.core.model.card import FORMS, Card


class OnnxTarget(Target):
    """The export target that writes the proved ONNX file; it names no engine, since the proof runs this very file."""

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    is_onnx: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = FORMS
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS

    def write(self, job: ExportJob, path: Path) -> None:
        path.write_bytes(job.proto.SerializeToString(deterministic=True))

    def normalized_contents(self, path: Path, card: Card) -> FileContents:
        return normalize_onnx(load_onnx(path))
