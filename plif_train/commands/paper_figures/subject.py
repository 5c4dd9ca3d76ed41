"""The subject of the paper's figures: a model or a folder of training runs, and samples."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from plif_train.commands.paper_figures.activity import (
    FirstLayerSpikes,
    choose_channels,
    record_artifact_spikes,
    record_spikes,
)
from plif_train.commands.paper_figures.draw import MissingData
from plif_train.commands.paper_figures.options import SubjectOptions
from plif_train.commands.paper_rows.conditions import Conditions, check_record, read_conditions
from plif_train.commands.paper_rows.logs import AuthorsRun, find_nearest_run, find_run
from plif_train.core.network.network import Network
from plif_train.hooks.kept_epochs.log import WEIGHTS, epochs_path, read_log, read_model_log, weights_path
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import parse_list
from runtime.core.base.options import with_fields
from runtime.core.data import open_dataset
from runtime.core.events import make_frames, open_source
from runtime.core.events.framing import resolve_framing
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import Card, read_card


@dataclass
class TrainingRun:
    """A training run that figures show: its model.pt, the metadata card in it, and the logs next to it.

    It may also be an exported network and its card.
    """

    path: Path
    card: Card
    name: str = ""  # of the file, with its folder if runs of the same name are drawn together

    def __post_init__(self) -> None:
        self.name = self.name or self.path.stem

    @cached_property
    def epochs(self) -> list[dict[str, str]]:
        return read_log(epochs_path(self.path)) if self.is_exported else read_model_log(self.path, self.training)

    @cached_property
    def weights(self) -> list[dict[str, str]]:
        _ = self.epochs  # checks that the logs belong to this model
        return read_log(weights_path(self.path), WEIGHTS)

    @property
    def is_exported(self) -> bool:
        """True if the network of a run is an exported artifact, not a model.pt."""
        return detect_kind(self.path).name != "model"

    def load_network(self) -> Network:
        """Load the network of a training run; raise MissingData for an exported one."""
        from plif_train.core.loop.checkpoint import load

        if self.is_exported:
            raise MissingData(f"{self.path}: exported, with tau folded into its weights; draw this of its model.pt")
        return load(self.path)

    @property
    def training(self) -> dict[str, Any]:
        return check_record(self.card, self.path)

    @cached_property
    def conditions(self) -> Conditions:
        return read_conditions(self.card, self.epochs, self.path)

    @cached_property
    def authors(self) -> AuthorsRun | None:
        """The training run of the PLIF paper's authors under the same conditions as ours, or None."""
        return find_run(self.conditions)

    @property
    def no_authors_note(self) -> str:
        """The reason why no accuracy of the PLIF paper's authors is drawn next to our training run.

        It is "" if theirs is drawn, or if they had no such data set.
        """
        match = None if self.authors else find_nearest_run(self.conditions)
        return f"the authors' {match[0].name} is not drawn beside {self.name}: {'; '.join(match[1])}" if match else ""


class FigureModel(SubjectOptions):
    """The trained models that the figures of the PLIF paper are drawn from, with the options of the drawing.

    `notes` names the files of a folder that were left out.
    """

    runs: list[TrainingRun]
    notes: tuple[str, ...] = ()

    @property
    def trained_runs(self) -> list[TrainingRun]:
        """The training runs whose network is a model.pt, not exported; raises MissingData if there are none."""
        runs = [run for run in self.runs if not run.is_exported]
        if not runs:
            raise MissingData(
                f"{self.runs[0].path}: exported, without the record of its training; draw it of its model.pt"
            )
        return runs

    @property
    def logged_runs(self) -> list[TrainingRun]:
        """The training runs that have a log by epoch; raises MissingData if there are none."""
        runs = [run for run in self.trained_runs if run.epochs]
        if not runs:
            path = epochs_path(self.trained_runs[0].path)
            raise MissingData(f"{path}: not there; it is written while training and belongs beside the model")
        return runs

    @cached_property
    def activity(self) -> FirstLayerSpikes:
        """The samples and the spikes of a network's first layer on them, computed once for all figures."""
        if self.data is None:
            raise MissingData("no samples: give --data NAME:DIR or a recording")
        run = self.runs[0]
        x, names = read_figure_samples(run.card, self.data, self.samples, self.only_class)
        if run.is_exported:
            return record_artifact_spikes(run.path, x, names, self.steps)
        return record_spikes(run.load_network(), x, names, self.steps)

    @property
    def caption_end(self) -> str:
        """The last words of a figure's caption: the name of the training run, if there are several."""
        return f", of {self.runs[0].name}" if len(self.runs) > 1 else ""

    def check(self) -> None:
        """Compute the data of the figures that show samples now, so that errors come before any is drawn.

        Nothing is computed without samples. Raises PlifError if they cannot be shown.
        """
        if self.data is not None:
            with suppress(MissingData):  # the figures that need the data report it
                _ = self.shown_channels

    @property
    def shown_channels(self) -> tuple[int, ...]:
        """The channels of a network's first layer that the figures show."""
        if self.channels is None:
            return choose_channels(self.activity)
        most = self.activity.spikes.shape[2]
        if wrong := [c for c in self.channels if not 0 <= c < most]:
            raise PlifError(f"channel {wrong[0]}: layer {self.activity.layer} has channels 0 to {most - 1}")
        return self.channels


@with_fields(SubjectOptions)
def open_subject(path: Path, **options: Any) -> FigureModel:
    """Open a model.pt, an exported ONNX artifact, or a folder of models, to draw figures from.

    Options are the fields of SubjectOptions. Other .pt files of a folder are left out, with a note. Raises PlifError
    when there is no model.
    """
    if not path.is_dir():
        return FigureModel(runs=[TrainingRun(path, read_card(path))], **options)
    runs, notes = [], []
    for file in sorted(file for file in path.rglob("*.pt") if not file.name.endswith(".resume.pt")):
        try:
            run = TrainingRun(file, read_card(file))
            _ = run.is_exported or (run.conditions, run.weights)  # refuses damaged files
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


def read_figure_samples(card: Card, data: str, count: int, only_class: str | None) -> tuple[np.ndarray, list[str]]:
    """Read samples for figures: x [N, T, C, H, W] (static: [N, C, H, W]) and the class name of each.

    They are of each class in turn, or of one recording.
    """
    framing, shape, sensor = resolve_framing(card), tuple(card["input"]["shape"]), card.get("sensor")
    if Path(data).is_file() or data.startswith("sim:"):
        source = open_source(data, trained=sensor and (sensor[0], sensor[1]))
        packets = list(source.packets(1 << 20))
        if framing is None or not packets:
            raise PlifError(f"{data}: no events, or the network takes images")
        frames = make_frames(np.concatenate(packets), framing, shape, source.sensor, source.upright)
        return frames[None], [Path(data).stem]
    dataset = open_dataset(
        data,
        "test",
        framing=framing,
        shape=shape,
        normalisation=card["normalisation"],
        classes=card["classes"],
        trained=sensor,
    )
    labels = _parse_classes(only_class, dataset.classes, data)
    by_class: dict[int, list[int]] = {label: [] for label in labels}
    for i in range(len(dataset)):
        label = dataset.label(i)
        if label in by_class and len(by_class[label]) < count:
            by_class[label].append(i)
    turns = max(map(len, by_class.values()), default=0)
    order = [by_class[c][turn] for turn in range(turns) for c in labels if turn < len(by_class[c])][:count]
    if not order:
        raise PlifError(f"{data}: no samples" + (f" of class '{only_class}'" if only_class else ""))
    x = [dataset.sample(i) for i in order]
    if len({sample.shape for sample in x}) > 1:
        raise PlifError(f"{data}: samples of several lengths; give a model whose framing has T=")
    return np.stack(x), [dataset.classes[dataset.label(i)] for i in order]


def _parse_classes(only: str | None, classes: tuple[str, ...], data: str) -> list[int]:
    """Return the class labels that a figure shows, in order, from the text of the option --class.

    A class may have a comma in its name.
    """
    if only is None:
        return list(range(len(classes)))
    names = [only] if only in classes else parse_list("--class", only)
    if unknown := [name for name in names if name not in classes]:
        raise PlifError(f"class '{unknown[0]}': not in {data}, expected some of {', '.join(classes)}")
    return [classes.index(name) for name in dict.fromkeys(names)]
