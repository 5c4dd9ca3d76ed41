"""What one `plif train` does on each of its ranks: network, data sets, checks, training, a line an epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from plif_train.core.data.sets import TrainSet, load_samples, spread
from plif_train.core.loop.devices import World, open_device
from plif_train.core.loop.evaluate import Augment
from plif_train.core.loop.hooks import (
    Epoch,
    TrainingCourse,
    TrainingState,
    augmentation_of,
    courses_of,
    hooks_of,
    seen_framing,
    training_data,
)
from plif_train.core.loop.training import count_samples, train
from plif_train.core.network.choice import check_outputs, network_for, overrides_of
from plif_train.core.network.network import Network
from plif_train.core.options import TrainingOptions
from plif_train.core.recipe import Recipe, changed
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.base.grammar import parse_set
from runtime.core.base.text import say
from runtime.core.data import Dataset, find, open_dataset
from runtime.core.data.dataset import EventSet
from runtime.core.events.fit import trained_on
from runtime.core.observers import hearing

LOOKED_AT = 64  # recordings of a set that are read once more


@dataclass
class TrainingJob:
    """A recipe, and what is no part of one: where the data lie, where the model goes, and what this run is to do.

    how        its first data set is also the test
    augment    a function in place of the recipe's augmentation
    command    for the record
    started    files are being written
    """

    recipe: Recipe
    how: TrainingOptions
    augment: Augment | None = None
    on_epoch: Callable[[Epoch], None] | None = None  # instead of a line on stderr
    command: str = ""
    started: bool = field(default=False, init=False)
    courses: list[TrainingCourse] = field(default_factory=list, init=False)  # from `check` on

    def __post_init__(self) -> None:
        self.data, self.out, self.start = self.how.data, self.how.out, self.how.start
        names = tuple(one.partition(":")[0] for one in self.data)
        for one in self.data:
            find(one)
        if self.recipe.data and self.recipe.data != names:
            asked = ", ".join(self.recipe.data)
            raise PlifError(f"--data {', '.join(names)}: the recipe trains on {asked}; give these, in this order")
        if not self.out.parent.is_dir():
            raise PlifError(f"{self.out.parent}: no such folder, expected one to write {self.out.name} to")
        self.recipe = changed(self.recipe, {"data": names})
        self.first = self.data[0]
        self.overrides = overrides_of(self.recipe, self.first, self.start)
        self.limits = {"train": self.recipe.limit_train, "test": self.recipe.limit_test}
        self.in_place = training_data(self.data, self.recipe)  # of the set as it is
        own = augmentation_of(self.recipe.augment, self.first)
        self.augmentation = self.augment or (None if self.in_place else own)

    def check(self) -> None:
        """PlifError for a network that cannot be, or a place that is taken. Reads no data and takes no memory."""
        if self.start is None:
            with torch.device("meta"):
                self._network()
        if self.in_place:
            self.in_place.check(self.recipe)
        self.courses = courses_of(self.out, self.how.resume, self.how.overwrite, self.how.tensorboard)
        if self.start is not None and self.out.exists() and self.out.samefile(self.start):
            raise PlifError(f"--out {self.out}: is the file that --from begins with; give another place")

    def _network(self) -> Network:
        if self.start is None:
            return network_for(str(self.recipe.network), self.first, self.overrides)
        part = next(iter(hearing("start", "hooks")), None)
        if part is None:
            raise PlifError(f"--from {self.start}: this plif begins every training anew; leave it out")
        net, notes = part.load("start_from:start_from")(self.start, self.first, self.overrides)
        for note in notes:
            say(f"note: {note}", err=True)
        return net

    def run(self, world: World, device: str) -> dict[str, object]:
        """Trains as one rank; returns the training record."""
        recipe = replace(self.recipe, device=device)
        open_device(device)
        torch.manual_seed(recipe.seed)
        net = self._network()
        for hook in hooks_of(net, recipe):
            hook.begin()
        if (view := find(self.first)[0].about.view) is not None:
            net.meta = replace(net.meta, view=view)
        # Augmentation works on plain images, so those are normalised after it; others as the reader gives them.
        late = net.normalisation if self.augmentation else None
        opened = self._open_data(net, None if late else net.normalisation)
        sensors = {split: one.settle_sensor() for split, one in opened.items() if isinstance(one, EventSet)}
        net.meta = replace(net.meta, sensor=sensors.get("train"))
        self.about = {
            "command": self.command,
            "dataset": self.first.partition(":")[0],
            "dataset_options": find(self.first)[2],
            **simulation_note(*self.data),
            **origin_note(*opened.values()),
            **{
                f"limit_{split}": limit if limit and limit < len(opened[split]) else None
                for split, limit in self.limits.items()
            },
            "augmentation": self.augmentation.__name__ if self.augmentation else None,
            **(start_note(self.start) if self.start else {}),
        }
        self._check_data(net, opened, recipe, world)  # whatever can be refused, before a reading that may take an hour
        quiet = world.rank > 0
        train_set: TrainSet
        if self.in_place:
            train_set, seen = self.in_place.load(net, self.limits["train"], quiet)
            net.meta = replace(net.meta, trained_on=trained_on(seen, net.meta.shape))
        else:
            train_set = load_samples(opened["train"], self.limits["train"], "reading train", self.how.cache, quiet)
            net.meta = replace(net.meta, trained_on=_trained_on(opened["train"], len(train_set), net.meta.shape))
        test_set = load_samples(opened["test"], self.limits["test"], "reading test", self.how.cache, quiet)
        self.started = True
        return train(
            net, train_set, test_set, recipe, self.out,
            about=self.about, resume=self.how.resume, overwrite=self.how.overwrite, augment=self.augmentation,
            prepare=_normaliser(late), on_epoch=None if world.rank else self.on_epoch or _Report(net, recipe.epochs),
            tensorboard=self.how.tensorboard, world=world,
        )  # fmt: skip

    def _open_data(self, net: Network, normalisation: dict[str, list[float]] | None) -> dict[str, Dataset]:
        """Both splits, of the network's classes, in the order that the training split has."""
        opened = {}
        for split in self.limits:
            dataset = open_dataset(
                self.first,
                split,
                framing=self.in_place.framing(net) if self.in_place else seen_framing(net),
                shape=net.meta.shape,
                normalisation=normalisation,
                classes=net.classes if split == "test" or self.start else None,
            )
            name, network = self.first.partition(":")[0], self.recipe.network
            if dataset.kind != net.meta.kind:
                raise PlifError(
                    f"data set {name} holds {dataset.kind} samples, but {network or self.start} takes {net.meta.kind}"
                )
            check_outputs(net, network or str(net.notation), name, len(dataset.classes))
            net.meta = replace(net.meta, classes=tuple(dataset.classes))
            opened[split] = dataset
        return opened

    def _check_data(self, net: Network, opened: dict[str, Dataset], recipe: Recipe, world: World) -> None:
        indices = {split: spread(opened[split], limit) for split, limit in self.limits.items()}
        if self.in_place:
            labels = torch.tensor(self.in_place.labels(net, self.limits["train"]))
        else:
            labels = torch.tensor([opened["train"].label(i) for i in indices["train"]])
        samples = count_samples(recipe, labels, len(indices["test"]), world)
        run = TrainingState(
            net=net, recipe=recipe, world=world, about=self.about, samples=samples, processes=world.size
        )
        for note in (note for course in self.courses for note in course.compare(run) if not world.rank):
            say(f"note: {note}", err=True)
        if net.meta.kind == "events":
            frames = len(opened["train"].sample(indices["train"][0]))
            if frames != net.T:
                raise PlifError(f"framing '{net.framing}' gives {frames} frames, but T is {net.T}; give --T {frames}")


class _Report:
    """Says on stderr what each epoch gave, and once when the last layer stays silent."""

    def __init__(self, net: Network, epochs: int) -> None:
        self.last, self.epochs = next(reversed(net.neurons()), ""), epochs
        self.hinted = False

    def __call__(self, epoch: Epoch) -> None:
        say(_line_of(epoch, self.epochs), err=True)
        silent = epoch.firing_rates.get(self.last, 1.0) == 0
        if silent and not self.hinted:
            say(
                f"note: {self.last}, the last layer, did not fire, so every answer is the first class; if it stays so, "
                "try a larger --lr, more events a frame, or BN before the neurons",
                err=True,
            )
        self.hinted = silent


def _line_of(epoch: Epoch, epochs: int) -> str:
    rates = " ".join(f"{layer} {rate:.3f}" for layer, rate in epoch.firing_rates.items())
    taus = " ".join(
        f"{layer} {tau:.2f}" if isinstance(tau, float) else f"{layer} {min(tau):.2f}..{max(tau):.2f}"
        for layer, tau in epoch.taus.items()
    )
    val = "" if epoch.val_accuracy is None else f"  val {epoch.val_accuracy:.4f}"
    test = "" if epoch.test_accuracy is None else f"  test {epoch.test_accuracy:.4f}"
    return (
        f"epoch {epoch.epoch}/{epochs}  loss {epoch.loss:.4f}  train {epoch.train_accuracy:.4f}{val}{test}  "
        f"{epoch.seconds:.1f} s  rates {rates}  tau {taus}"
    )


def simulation_note(data: str, *others: str) -> dict[str, str]:
    """What a set that plif made says of itself, for the card: its recordings are not real ones. Nothing if some others' are."""
    if not all(simulation_note(other) for other in others):
        return {}
    place = parse_set(data).folder
    note = Path(place) / "simulated.json"
    if not place or not note.is_file():
        return {}
    try:
        return {"simulated": str(json.loads(note.read_text(encoding="utf-8"))["what"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise PlifError(
            f"{note}: not the note of a simulated set, expected JSON with 'what'; make the set again"
        ) from None


def _trained_on(dataset: Dataset, limit: int, shape: tuple[int, int, int]) -> dict[str, object] | None:
    """What the recordings of a split are like, for the card, by LOOKED_AT of them; None of images."""
    if not isinstance(dataset, EventSet):
        return None
    return trained_on([dataset.frames(i)[1] for i in spread(dataset, min(limit, LOOKED_AT))], shape)


def start_note(start: Path) -> dict[str, str]:
    """Which weights a training began with, for the card: the file's name, and its contents, as names repeat."""
    return {"from": start.name, "from_sha256": hashlib.sha256(read_regular(start)).hexdigest()}


def origin_note(*datasets: Dataset) -> dict[str, str]:
    """What pictures are instead of the original ones, for the card: JPEG, if any of either split is."""
    paths = (str(one.path(i)).lower() for one in datasets for i in range(len(one)))
    return {"origin": "copies as JPEG"} if any(path.endswith((".jpg", ".jpeg")) for path in paths) else {}


def _normaliser(normalisation: dict[str, list[float]] | None) -> Augment | None:
    """Images [B, C, H, W] -> (x - mean) / std, by channel."""
    if normalisation is None:
        return None
    mean, std = (torch.tensor(normalisation[key]).reshape(-1, 1, 1) for key in ("mean", "std"))
    return lambda x: (x - mean) / std
