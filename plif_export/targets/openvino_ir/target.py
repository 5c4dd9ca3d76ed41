"""The target --to openvino: a folder NAME_openvino/ with OpenVINO's form of the network, and the card.

model.xml, model.bin    the network (IR), weights as they are: nothing is compressed
card.json               the card; its digest has the SHA-256 of both files

--set stateful=true     the membranes stay inside OpenVINO from step to step (ReadValue, Assign) and are no inputs and
                        outputs. The runtime sets and reads them there, so reset, snapshot and rows work as ever.
                        Measured slower than the default in float32 (docs/openvino.md), so it is an option.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from plif_export.core.proof.structure import Difference, FileContents, find_differences, normalize_folder
from plif_export.core.targets.target import ExportJob, Target, onnx_bytes, onnx_sha256, parse_flag
from plif_export.targets.openvino_ir.nodes import normalize_network
from runtime.artifacts.openvino_ir.contents import BIN, XML
from runtime.artifacts.openvino_ir.contents import read_contents as read_openvino
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.model.artifacts import CARD_FILE
from runtime.core.model.card import Card, encode_card
from runtime.core.model.digest import write_digest
from runtime.core.model.graph import Graph

if TYPE_CHECKING:
    import openvino as ov

AS_TEXT = f"{XML} as text"


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
        """Return the nodes and constants of an OpenVINO network, model.xml as text, and every other file."""
        contents = normalize_folder(path, dict.fromkeys((XML, BIN), lambda _, data: data))
        xml, weights = contents.pop(XML), contents.pop(BIN)
        assert isinstance(xml, bytes) and isinstance(weights, bytes), "as read_contents has read them"
        contents[AS_TEXT] = xml.decode("utf-8", "backslashreplace")
        try:
            return {XML: normalize_network(xml, weights), **contents}
        except (ValueError, RecursionError) as error:
            return {XML: f"not to be compared: {error}", BIN: weights, **contents}

    def compare_contents(self, artifact: tuple[Path, Card], expected: tuple[Path, Card]) -> Iterator[Difference]:
        """Compare the nodes, whatever version the card names; with the same OpenVINO version also model.xml as text."""
        actual, wanted = (self.normalized_contents(path, card) for path, card in (artifact, expected))
        versions = [card["versions"].get("openvino") for _, card in (artifact, expected)]
        if versions[0] != versions[1] and isinstance(actual[XML], dict) and isinstance(wanted[XML], dict):
            del actual[AS_TEXT], wanted[AS_TEXT]
        yield from find_differences(actual, wanted)


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
