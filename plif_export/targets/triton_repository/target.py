"""The target --to triton: a folder NAME_triton/, the model repository of a Triton inference server.

It serves many streams at once.

    card.json                     the card; Triton does not read it
    NAME/config.pbtxt             one sequence for each stream, one state block for each state, labels
    NAME/labels.txt               the classes, one a line
    NAME/initial_state/...        the initial states other than 0
    NAME/1/model.onnx             or model.plan, or model.py next to model.onnx

--set backend=onnxruntime  Triton keeps the membranes (implicit state) and runs the ONNX file
      backend=tensorrt     the same with a TensorRT plan, built here: needs the GPU that will run it
      backend=python       plif's runtime runs inside Triton and keeps the membranes: any of its engines
--set name=NAME  max_batch=8  sequences=64  idle_s=60  delay_us=500  engine=event
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import onnx

from plif_export.core.proof.structure import FileContents, normalize_folder, normalize_onnx
from plif_export.core.readers.rules import refuse_problems
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob, Target, find_map_output, load_onnx, parse_setting
from plif_export.targets.triton_repository.config import (
    BACKENDS,
    INITIAL,
    ServingOptions,
    format_config,
    initial_state_files,
)
from runtime.artifacts.triton_repository.kind import read_contents
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import choice_parser, integer_parser, parse_scalar
from runtime.core.engines.available import engine_names
from runtime.core.model.artifacts import CARD_FILE
from runtime.core.model.card import Card, encode_card
from runtime.core.model.digest import write_digest
from runtime.core.model.graph import Graph

MODEL_PY = Path(__file__).with_name("model.py")


class TritonTarget(Target):
    """The export target that writes a Triton model repository around the proved ONNX file."""

    name: ClassVar[str] = "triton"
    suffix: ClassVar[str] = "_triton"
    folder: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = ("step",)
    options: ClassVar[tuple[str, ...]] = (
        *("backend", "name", "max_batch", "sequences", "idle_s", "delay_us", "engine"),
    )

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        refuse_problems(find_map_output(graph))
        backend = _parse_serving(options).backend
        if card["batch"] is not None:
            raise PlifError("--batch: Triton makes batches of its own, of up to --set max_batch=N; leave --batch out")
        unnamed = [name for name in card["classes"] if "\n" in name or "\r" in name]
        if unnamed:
            raise PlifError(f"class {unnamed[0]!r}: Triton's labels are lines; give it a name of one line")
        if backend == "tensorrt":
            if card["precision"] != "fp32":
                raise PlifError(
                    f"--precision {card['precision']} with backend=tensorrt: written by --to tensorrt --set raw=true; "
                    "put that plan in place of model.plan, or use fp32 here"
                )
            find_target("tensorrt").check(graph, card, {"raw": "true"})

    def write(self, job: ExportJob, path: Path) -> None:
        serving, card = _parse_serving(job.options), job.card
        name = job.options.get("name") or _sanitize_name(job.name.removesuffix(self.suffix))
        if name != _sanitize_name(name):
            raise PlifError(f"--set name={name}: expected letters, digits, _, - and . only")
        version = path / name / "1"
        version.mkdir(parents=True)
        (path / name / "config.pbtxt").write_text(format_config(card, name, serving), "utf-8")
        (path / name / "labels.txt").write_text("".join(f"{label}\n" for label in card["classes"]), "utf-8")
        if serving.backend != "python":
            for file, content in initial_state_files(card).items():
                (path / name / INITIAL).mkdir(exist_ok=True)
                (path / name / INITIAL / file).write_bytes(content)
        if serving.backend == "tensorrt":
            bare = replace(job, card=dict(job.card), options={"raw": "true"})
            find_target("tensorrt").write(bare, version / "model.plan")
        else:
            (version / "model.onnx").write_bytes(job.proto.SerializeToString(deterministic=True))
        if serving.backend == "python":
            (version / "model.py").write_text(MODEL_PY.read_text("utf-8"), "utf-8")
        card.update(target=self.name, triton={"model": name, "backend": serving.backend})
        write_digest(card, read_contents(path))
        (path / CARD_FILE).write_text(encode_card(card) + "\n", "utf-8")

    def inner_onnx(self, path: Path, card: Card) -> onnx.ModelProto:
        file = self._model(path, card) / "1" / "model.onnx"
        if not file.is_file():
            raise PlifError(f"{path}: holds a plan, which only its GPU can run; verify the ONNX form it was made from")
        return load_onnx(file)

    def stored_name(self, path: Path, card: Card) -> str:
        return self._model(path, card).name + self.suffix

    def unreproducible(self, card: Card) -> str | None:
        return "the plan, which TensorRT measures its way to" if card["triton"]["backend"] == "tensorrt" else None

    def normalized_contents(self, path: Path, card: Card) -> FileContents:
        return normalize_folder(path, {"model.onnx": lambda file, _: normalize_onnx(load_onnx(file), False)})

    def _model(self, path: Path, card: Card) -> Path:
        about = card.get("triton")
        name, backend = (about.get(key) if isinstance(about, dict) else None for key in ("model", "backend"))
        if not isinstance(name, str) or name != _sanitize_name(name) or backend not in BACKENDS:
            raise PlifError(
                f"{path}: its card does not say which model and backend it is of; export it again: --to triton"
            )
        return path / name


def _sanitize_name(name: str) -> str:
    """Return a name changed so that it is valid for a folder and for a model in Triton's URLs."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "model"


def _parse_idle(text: str) -> float:
    value = parse_scalar(text)
    if not isinstance(value, float) or not 0.001 <= value <= 1e6:
        raise ValueError("a number from 0.001 to 1e+06")
    return value


def _parse_serving(options: Mapping[str, str]) -> ServingOptions:
    defaults = ServingOptions()
    return ServingOptions(
        parse_setting(options, "backend", choice_parser(*BACKENDS), defaults.backend),
        parse_setting(options, "max_batch", integer_parser(1, 4096), defaults.max_batch),
        parse_setting(options, "sequences", integer_parser(1, 65536), defaults.sequences),
        parse_setting(options, "idle_s", _parse_idle, defaults.idle_s),
        parse_setting(options, "delay_us", integer_parser(0, 10_000_000), defaults.delay_us),
        parse_setting(options, "engine", choice_parser(*engine_names()), defaults.engine),
    )


TARGETS = (TritonTarget,)
