"""--to onnx: the proved file itself. ONNX Runtime and the event engine open it, and every other target starts from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from plif_export.targets import Made
from runtime.model.card import Card
from runtime.model.graph import Graph


class OnnxTarget:
    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    folder: ClassVar[bool] = False
    dialect: ClassVar[str] = "integer"
    forms: ClassVar[tuple[str, ...]] = ("step", "unrolled")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    options: ClassVar[tuple[str, ...]] = ()
    engine: ClassVar[str | None] = None  # the gate runs this very file

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        """Whatever the writers of the ONNX forms can write."""

    def write(self, made: Made, path: Path) -> None:
        path.write_bytes(made.proto.SerializeToString(deterministic=True))
