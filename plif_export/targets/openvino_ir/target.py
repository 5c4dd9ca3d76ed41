"""The target --to openvino: a folder NAME_openvino/ with OpenVINO's form of the network, and the card.

model.xml, model.bin    the network (IR), weights as they are: nothing is compressed
card.json               the card; its digest has the SHA-256 of both files

--set stateful=true     the membranes stay inside OpenVINO from step to step (ReadValue, Assign) and are no inputs and
                        outputs. The runtime sets and reads them there, so reset, snapshot and rows work as ever.
                        Measured slower than the default in float32 (docs/openvino.md), so it is an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from plif_export.core.proof.structure import FileContents, normalize_folder
from plif_export.core.targets.target import ExportJob, Target, onnx_bytes, onnx_sha256, parse_flag
from runtime.artifacts.openvino_ir.contents import BIN, XML
from runtime.artifacts.openvino_ir.contents import read_contents as read_openvino
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.model.artifacts import CARD_FILE
from runtime.core.model.card import Card, encode_card
from runtime.core.model.digest import write_digest
from runtime.core.model.graph import Graph

if TYPE_CHECKING:
    import openvino as ov


class OpenVinoTarget(Target):
    """The export target that writes OpenVINO IR from an ONNX graph (style qdq), proved in the engine `openvino`.

    OpenVINO compiles the qdq form into int8 kernels.
    """

    name: ClassVar[str] = "openvino"
    suffix: ClassVar[str] = "_openvino"
    folder: ClassVar[bool] = True
    dialect: ClassVar[str] = "qdq"
    options: ClassVar[tuple[str, ...]] = ("stateful",)
    engine: ClassVar[str | None] = "openvino"

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        if find_spec("openvino") is None:
            raise MissingExtra("--to openvino", "openvino")
        if parse_flag(options, "stateful") and card["precision"] == "int8":
            raise PlifError(
                "--set stateful=true: OpenVINO cannot compile int8 with the states inside; leave it out, or use fp32"
            )

    def write(self, job: ExportJob, path: Path) -> None:
        import openvino as ov

        stateful = parse_flag(job.options, "stateful")
        try:
            # without the card: OpenVINO would copy it into model.xml as a second card
            model = ov.Core().read_model(onnx_bytes(job.proto))
        except Exception as error:  # OpenVINO raises RuntimeError and its own exception classes
            raise PlifError(f"OpenVINO cannot read the network ({' '.join(str(error).split())[:160]})") from None
        if stateful:
            _make_stateful(model, job.card)
        _name_by_position(model)
        path.mkdir()
        ov.save_model(model, path / "model.xml", compress_to_fp16=False)
        job.card.update(target=self.name, stateful=stateful, onnx_sha256=onnx_sha256(job.proto))
        job.card["versions"]["openvino"] = ov.__version__.split("-")[0]
        write_digest(job.card, read_openvino(path))
        (path / CARD_FILE).write_text(encode_card(job.card) + "\n", "utf-8")

    def normalized_contents(self, path: Path, card: Card) -> FileContents:
        if self.unreproducible(card) is not None:
            return {}
        return normalize_folder(path, {BIN: lambda _, data: np.frombuffer(data, "<f4") if len(data) % 4 == 0 else data})

    def unreproducible(self, card: Card) -> str | None:
        import openvino as ov

        theirs, ours = card["versions"].get("openvino"), ov.__version__.split("-")[0]
        return (
            None
            if theirs == ours
            else f"{XML} and {BIN}, which OpenVINO {theirs} made and OpenVINO {ours} makes otherwise"
        )

    def unchecked_fields(self, card: Card, made_from: str) -> Card:
        return {"target": self.name, "stateful": card.get("stateful"), "onnx_sha256": made_from}


def _make_stateful(model: ov.Model, card: Card) -> None:
    """Turn each pair of a state's input and output into one OpenVINO variable with the state's name."""
    from openvino._offline_transformations import apply_make_stateful_transformation

    apply_make_stateful_transformation(model, {state["input"]: state["output"] for state in card["states"]})


def _name_by_position(model: ov.Model) -> None:
    """Name the operations that OpenVINO added by their position, so that equal networks are equal bytes.

    OpenVINO itself numbers them through the whole process.
    """
    for i, op in enumerate(model.get_ordered_ops()):
        if op.get_friendly_name().rpartition("_")[0] == op.get_type_name():
            op.set_friendly_name(f"{op.get_type_name()}_{i}")


TARGETS = (OpenVinoTarget,)
