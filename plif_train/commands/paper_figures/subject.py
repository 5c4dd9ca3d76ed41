"""What figures are drawn of: a model or a folder of training runs, and samples."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from plif_train.commands.paper_figures.activity import FirstLayerSpikes, choose, record, record_artifact
from plif_train.commands.paper_figures.draw import MissingPart
from plif_train.commands.paper_figures.options import SubjectOptions
from plif_train.commands.paper_rows.conditions import Conditions, checked_record, conditions_of
from plif_train.commands.paper_rows.logs import AuthorsRun, like, nearest
from plif_train.core.network.network import Network
from plif_train.hooks.kept_epochs.log import WEIGHTS, epochs_path, read, read_of, weights_path
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import read_list
from runtime.core.base.options import with_fields
from runtime.core.data import open_dataset
from runtime.core.events import frames_of, open_source
from runtime.core.events.framing import framing_of
from runtime.core.model.artifacts import kind_of
from runtime.core.model.card import Card, read_card


@dataclass
class TrainingRun:
    """One training: model.pt, its card, and its logs where they lie beside it; or an exported network and its card."""

    path: Path
    card: Card
    name: str = ""  # the file's, and its folder's where others of the same name are drawn with it

    def __post_init__(self) -> None:
        self.name = self.name or self.path.stem

    @cached_property
    def epochs(self) -> list[dict[str, str]]:
        return read(epochs_path(self.path)) if self.exported else read_of(self.path, self.training)

    @cached_property
    def weights(self) -> list[dict[str, str]]:
        _ = self.epochs  # which lie beside them, and belong to this model
        return read(weights_path(self.path), WEIGHTS)

    @property
    def exported(self) -> bool:
        """Whether this is an exported network: figures of samples show its own spikes."""
        return kind_of(self.path).name != "model"

    def network(self) -> Network:
        """The model. MissingPart for an exported network."""
        from plif_train.core.loop.checkpoint import load

        if self.exported:
            raise MissingPart(f"{self.path}: exported, with tau folded into its weights; draw this of its model.pt")
        return load(self.path)

    @property
    def training(self) -> dict[str, Any]:
        return checked_record(self.card, self.path)

    @cached_property
    def conditions(self) -> Conditions:
        return conditions_of(self.card, self.epochs, self.path)

    @cached_property
    def authors(self) -> AuthorsRun | None:
        """The authors' run under the same conditions."""
        return like(self.conditions)

    @property
    def why_alone(self) -> str:
        """Why no line of the authors stands beside this run: "" where one does, or they had no such data set."""
        found = None if self.authors else nearest(self.conditions)
        return f"the authors' {found[0].name} is not drawn beside {self.name}: {'; '.join(found[1])}" if found else ""


class FigureModel(SubjectOptions):
    """What figures are drawn of, and how. `notes` says which files of a folder were left out."""

    runs: list[TrainingRun]
    notes: tuple[str, ...] = ()

    @property
    def trained(self) -> list[TrainingRun]:
        """The runs that are no exported networks. MissingPart when there is none."""
        found = [run for run in self.runs if not run.exported]
        if not found:
            raise MissingPart(
                f"{self.runs[0].path}: exported, without the record of its training; draw it of its model.pt"
            )
        return found

    @property
    def logged(self) -> list[TrainingRun]:
        """The trainings with a log. MissingPart when there is none."""
        found = [run for run in self.trained if run.epochs]
        if not found:
            at = epochs_path(self.trained[0].path)
            raise MissingPart(f"{at}: not there; it is written while training and belongs beside the model")
        return found

    @cached_property
    def activity(self) -> FirstLayerSpikes:
        """Samples and the spikes of the first layer, computed once."""
        if self.data is None:
            raise MissingPart("no samples: give --data NAME:DIR or a recording")
        run = self.runs[0]
        x, names = samples_of(run.card, self.data, self.samples, self.only_class)
        if run.exported:
            return record_artifact(run.path, x, names, self.steps)
        return record(run.network(), x, names, self.steps)

    @property
    def whose(self) -> str:
        """The end of a caption: the name of the run, where there are several."""
        return f", of {self.runs[0].name}" if len(self.runs) > 1 else ""

    def check(self) -> None:
        """Computes what figures of samples show, where samples were named. PlifError when they cannot be shown."""
        if self.data is not None:
            with suppress(MissingPart):  # the figures that need it report it
                _ = self.chosen

    @property
    def chosen(self) -> tuple[int, ...]:
        """The channels to show."""
        if self.channels is None:
            return choose(self.activity)
        most = self.activity.spikes.shape[2]
        if wrong := [c for c in self.channels if not 0 <= c < most]:
            raise PlifError(f"channel {wrong[0]}: layer {self.activity.layer} has channels 0 to {most - 1}")
        return self.channels


@with_fields(SubjectOptions)
def open_subject(path: Path, **options: Any) -> FigureModel:
    """A model.pt, an exported ONNX artifact, or a folder of models; options: the fields of SubjectOptions.

    Other .pt files of a folder are left out, with a note. PlifError when there is no model.
    """
    if not path.is_dir():
        return FigureModel(runs=[TrainingRun(path, read_card(path))], **options)
    runs, notes = [], []
    for file in sorted(file for file in path.rglob("*.pt") if not file.name.endswith(".resume.pt")):
        try:
            run = TrainingRun(file, read_card(file))
            _ = run.exported or (run.conditions, run.weights)  # whatever of it is damaged
            runs.append(run)
        except PlifError as error:
            notes.append(f"left out: {error}")
    stems = [run.path.stem for run in runs]
    for run in runs:
        if stems.count(run.path.stem) > 1:
            run.name = run.path.relative_to(path).with_suffix("").as_posix()
    if not runs:
        raise PlifError(f"{path}: no model in it, expected model.pt files of plif train")
    return FigureModel(runs=runs, notes=tuple(notes), **options)


def samples_of(card: Card, data: str, count: int, only: str | None) -> tuple[np.ndarray, list[str]]:
    """x [N, T, C, H, W] (static: [N, C, H, W]) and the name of each: of each class in turn, or of one recording."""
    framing, shape, trained = framing_of(card), tuple(card["input"]["shape"]), card.get("sensor")
    if Path(data).is_file() or data.startswith("sim:"):
        source = open_source(data, trained=trained and (trained[0], trained[1]))
        packets = list(source.packets(1 << 20))
        if framing is None or not packets:
            raise PlifError(f"{data}: no events, or the network takes images")
        frames = frames_of(np.concatenate(packets), framing, shape, source.sensor, source.upright)
        return frames[None], [Path(data).stem]
    dataset = open_dataset(
        data,
        "test",
        framing=framing,
        shape=shape,
        normalisation=card["normalisation"],
        classes=card["classes"],
        trained=trained,
    )
    wanted = _classes(only, dataset.classes, data)
    by_class: dict[int, list[int]] = {label: [] for label in wanted}
    for i in range(len(dataset)):
        label = dataset.label(i)
        if label in by_class and len(by_class[label]) < count:
            by_class[label].append(i)
    turns = max(map(len, by_class.values()), default=0)
    order = [by_class[c][turn] for turn in range(turns) for c in wanted if turn < len(by_class[c])][:count]
    if not order:
        raise PlifError(f"{data}: no samples" + (f" of class '{only}'" if only else ""))
    x = [dataset.sample(i) for i in order]
    if len({sample.shape for sample in x}) > 1:
        raise PlifError(f"{data}: samples of several lengths; give a model whose framing has T=")
    return np.stack(x), [dataset.classes[dataset.label(i)] for i in order]


def _classes(only: str | None, classes: tuple[str, ...], data: str) -> list[int]:
    """Labels, in the order to show them. A class may have a comma in its name."""
    if only is None:
        return list(range(len(classes)))
    names = [only] if only in classes else read_list("--class", only)
    if unknown := [name for name in names if name not in classes]:
        raise PlifError(f"class '{unknown[0]}': not in {data}, expected some of {', '.join(classes)}")
    return [classes.index(name) for name in dict.fromkeys(names)]
