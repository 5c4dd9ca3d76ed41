"""--to triton: a folder NAME_triton/ that is the model repository of a Triton inference server, for many streams at once.

    card.json                     the card; Triton does not look at it
    NAME/config.pbtxt             one sequence for each stream, one state block for each state, labels
    NAME/labels.txt               the classes, one a line
    NAME/initial_state/...        where states start that do not start at 0
    NAME/1/model.onnx             or model.plan, or model.py beside model.onnx

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

from plif_export.core.proof.structure import Places, of_folder, of_onnx
from plif_export.core.readers.rules import refuse
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob, Target, load_onnx, map_problems, setting
from plif_export.targets.triton_repository.config import BACKENDS, INITIAL, ServingOptions, config, initial_files
from runtime.artifacts.triton_repository.kind import read_contents
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import number_or_word, whole, word
from runtime.core.engines.available import engine_names
from runtime.core.model.artifacts import CARD_FILE
from runtime.core.model.card import Card, encode
from runtime.core.model.digest import seal
from runtime.core.model.graph import Graph

MODEL_PY = Path(__file__).with_name("model.py")


class TritonTarget(Target):
    """It names no engine: the gate takes the ONNX file inside apart, which is the proved one."""

    name: ClassVar[str] = "triton"
    suffix: ClassVar[str] = "_triton"
    folder: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = ("step",)
    options: ClassVar[tuple[str, ...]] = (
        *("backend", "name", "max_batch", "sequences", "idle_s", "delay_us", "engine"),
    )

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        refuse(map_problems(graph))
        backend = _serving(options).backend
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
        serving, card = _serving(job.options), job.card
        name = job.options.get("name") or _safe(job.name.removesuffix(self.suffix))
        if name != _safe(name):
            raise PlifError(f"--set name={name}: expected letters, digits, _, - and . only")
        version = path / name / "1"
        version.mkdir(parents=True)
        (path / name / "config.pbtxt").write_text(config(card, name, serving), "utf-8")
        (path / name / "labels.txt").write_text("".join(f"{label}\n" for label in card["classes"]), "utf-8")
        if serving.backend != "python":
            for file, content in initial_files(card).items():
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
        seal(card, read_contents(path))
        (path / CARD_FILE).write_text(encode(card) + "\n", "utf-8")

    def inner_onnx(self, path: Path, card: Card) -> onnx.ModelProto:
        file = self._model(path, card) / "1" / "model.onnx"
        if not file.is_file():
            raise PlifError(f"{path}: holds a plan, which only its GPU can run; verify the ONNX form it was made from")
        return load_onnx(file)

    def named(self, path: Path, card: Card) -> str:
        return self._model(path, card).name + self.suffix

    def foreign(self, card: Card) -> str | None:
        return "the plan, which TensorRT measures its way to" if card["triton"]["backend"] == "tensorrt" else None

    def anatomy(self, path: Path, card: Card) -> Places:
        return of_folder(path, {"model.onnx": lambda file, _: of_onnx(load_onnx(file), False)})

    def _model(self, path: Path, card: Card) -> Path:
        about = card.get("triton")
        name, backend = (about.get(key) if isinstance(about, dict) else None for key in ("model", "backend"))
        if not isinstance(name, str) or name != _safe(name) or backend not in BACKENDS:
            raise PlifError(
                f"{path}: its card does not say which model and backend it is of; export it again: --to triton"
            )
        return path / name


def _safe(name: str) -> str:
    """As the name of a folder and of a model in Triton's addresses."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "model"


def _idle(text: str) -> float:
    value = number_or_word(text)
    if not isinstance(value, float) or not 0.001 <= value <= 1e6:
        raise ValueError("a number from 0.001 to 1e+06")
    return value


def _serving(options: Mapping[str, str]) -> ServingOptions:
    usual = ServingOptions()
    return ServingOptions(
        setting(options, "backend", word(*BACKENDS), usual.backend),
        setting(options, "max_batch", whole(1, 4096), usual.max_batch),
        setting(options, "sequences", whole(1, 65536), usual.sequences),
        setting(options, "idle_s", _idle, usual.idle_s),
        setting(options, "delay_us", whole(0, 10_000_000), usual.delay_us),
        setting(options, "engine", word(*engine_names()), usual.engine),
    )


TARGETS = (TritonTarget,)
