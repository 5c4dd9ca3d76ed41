"""--to onnx: the proved file itself. ONNX Runtime and the event engine open it, and every other target starts from it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from plif_export.core.passes import PRECISIONS
from plif_export.core.proof.structure import Places, of_onnx
from plif_export.core.targets.target import ExportJob, Target, load_onnx
from runtime.core.model.card import FORMS, Card


class OnnxTarget(Target):
    """It names no engine, since the gate runs this very file."""

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    forms: ClassVar[tuple[str, ...]] = FORMS
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS

    def write(self, job: ExportJob, path: Path) -> None:
        path.write_bytes(job.proto.SerializeToString(deterministic=True))

    def anatomy(self, path: Path, card: Card) -> Places:
        return of_onnx(load_onnx(path))
