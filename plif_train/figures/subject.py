"""What figures are drawn of: a model or a folder of training runs, and samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from plif_train.figures.activity import Activity, choose, record
from plif_train.figures.draw import NotHere
from plif_train.log import epochs_path, read, weights_path
from plif_train.network import Network
from runtime.card import Card, read_card
from runtime.data import open_dataset
from runtime.errors import PlifError
from runtime.events import open_source
from runtime.events.framer import frames_of


@dataclass
class Run:
    """One training: model.pt, its card, and its logs where they lie beside it."""

    path: Path
    card: Card

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def epochs(self) -> list[dict[str, str]]:
        return read(epochs_path(self.path))

    @cached_property
    def weights(self) -> list[dict[str, str]]:
        return read(weights_path(self.path))

    @property
    def training(self) -> dict[str, Any]:
        return self.card["training"] or {}


@dataclass
class Subject:
    """`channels` None chooses them; `steps` is T_s, None all; `only_class` restricts the samples to one class."""

    runs: list[Run]
    data: str | None = None
    samples: int = 10
    channels: tuple[int, ...] | None = None
    steps: int | None = None
    only_class: str | None = None
    _activity: Activity | None = field(default=None, repr=False)

    def logged(self, what: str) -> list[Run]:
        """The runs with a log. NotHere when there is none."""
        found = [run for run in self.runs if getattr(run, what)]
        if not found:
            at = (epochs_path if what == "epochs" else weights_path)(self.runs[0].path)
            raise NotHere(f"{at}: not there; it is written while training and belongs beside the model")
        return found

    @property
    def activity(self) -> Activity:
        """Samples and the spikes of the first layer, computed once."""
        if self._activity is None:
            if self.data is None:
                raise NotHere("no samples: give --data NAME:DIR or a recording")
            from plif_train.checkpoint import load

            net = load(self.runs[0].path)
            x, names = samples_of(net, self.data, self.samples, self.only_class)
            self._activity = record(net, x, names, self.steps)
        return self._activity

    @property
    def chosen(self) -> tuple[int, ...]:
        """The channels to show."""
        if self.channels is None:
            return choose(self.activity)
        most = self.activity.spikes.shape[2]
        if wrong := [c for c in self.channels if not 0 <= c < most]:
            raise PlifError(f"channel {wrong[0]}: layer {self.activity.layer} has channels 0 to {most - 1}")
        return self.channels


def open_subject(path: Path, **options: Any) -> Subject:
    """A model.pt, or a folder of them. PlifError when there is none."""
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.pt") if not file.name.endswith(".resume.pt"))
    if not files:
        raise PlifError(f"{path}: no model in it, expected model.pt files of plif train")
    return Subject([Run(file, read_card(file)) for file in files], **options)


def samples_of(net: Network, data: str, count: int, only: str | None) -> tuple[np.ndarray, list[str]]:
    """x [N, T, C, H, W] (static: [N, C, H, W]) and the name of each: of each class in turn, or of one recording."""
    if Path(data).is_file() or data.startswith("sim:"):
        source = open_source(data)
        packets = list(source.packets(1 << 20))
        if net.framing is None or not packets:
            raise PlifError(f"{data}: no events, or the network takes images")
        events = np.concatenate(packets)
        frames = frames_of(events, net.framing, net.meta.shape, source.sensor, source.upright)
        return frames[None], [Path(data).stem]
    dataset = open_dataset(
        data, "test", framing=net.framing, shape=net.meta.shape, normalisation=net.normalisation, classes=net.classes
    )
    if only is not None and only not in dataset.classes:
        raise PlifError(f"class '{only}': not in {data}, expected one of {', '.join(dataset.classes)}")
    by_class: dict[int, list[int]] = {}
    for i in range(len(dataset)):
        label = dataset.label(i)
        if only in (None, dataset.classes[label]) and len(by_class.setdefault(label, [])) < count:
            by_class[label].append(i)
    turns = max(map(len, by_class.values()), default=0)
    order = [by_class[c][turn] for turn in range(turns) for c in sorted(by_class) if turn < len(by_class[c])][:count]
    if not order:
        raise PlifError(f"{data}: no samples" + (f" of class '{only}'" if only else ""))
    x = [dataset.sample(i) for i in order]
    if len({sample.shape for sample in x}) > 1:
        raise PlifError(f"{data}: samples of several lengths; give a model whose framing has T=")
    return np.stack(x), [dataset.classes[dataset.label(i)] for i in order]
