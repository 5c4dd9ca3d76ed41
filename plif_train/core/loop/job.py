"""Jobs of `plif train` on each of its ranks: network, data sets, checks, training, a line an epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from plif_train.core.data.sets import TrainSet, load_samples, spread_indices
from plif_train.core.loop.devices import World, open_device
from plif_train.core.loop.evaluate import Augment
from plif_train.core.loop.hooks import (
    Epoch,
    TrainingRecorder,
    TrainingState,
    create_hooks,
    find_augmentation,
    find_training_data,
    open_recorders,
    oriented_framing,
)
from plif_train.core.loop.training import count_samples, train
from plif_train.core.network.choice import build_for_dataset, check_outputs, network_overrides
from plif_train.core.network.network import Network
from plif_train.core.options import TrainingOptions
from plif_train.core.recipe import Recipe, replace_keys
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.base.grammar import parse_dataset_address
from runtime.core.base.text import say
from runtime.core.data import Dataset, open_dataset, parse_spec
from runtime.core.data.dataset import EventSet
from runtime.core.events.fit import describe_training
from runtime.core.observers import find_observers

MEASURED_RECORDINGS = 64  # recordings of a set that are read a second time, for statistics


@dataclass
class TrainingJob:
    """A training job: a recipe, and the options outside it, such as files and devices.

    options      where the data lie, where the model goes, whether it resumes; the first data set is also the test
    augment      a function in place of the recipe's augmentation
    command      for the record
    started      files are being written
    """

    recipe: Recipe
    options: TrainingOptions
    augment: Augment | None = None
    on_epoch: Callable[[Epoch], None] | None = None  # instead of a line on stderr
    command: str = ""
    started: bool = field(default=False, init=False)
    courses: list[TrainingRecorder] = field(default_factory=list, init=False)  # from `check` on

    def __post_init__(self) -> None:
        self.data, self.out, self.start = self.options.data, self.options.out, self.options.start
        names = tuple(data_set.partition(":")[0] for data_set in self.data)
        for data_set in self.data:
            parse_spec(data_set)
        if self.recipe.data and self.recipe.data != names:
            expected = ", ".join(self.recipe.data)
            raise PlifError(f"--data {', '.join(names)}: the recipe trains on {expected}; give these, in this order")
        if not self.out.parent.is_dir():
            raise PlifError(f"{self.out.parent}: no such folder, expected one to write {self.out.name} to")
        self.recipe = replace_keys(self.recipe, {"data": names})
        self.first = self.data[0]
        self.overrides = network_overrides(self.recipe, self.first, self.start)
        self.limits = {"train": self.recipe.limit_train, "test": self.recipe.limit_test}
        self.part_data = find_training_data(self.data, self.recipe)  # None: the samples of the set itself
        recipe_augmentation = find_augmentation(self.recipe.augment, self.first)
        self.augmentation = self.augment or (None if self.part_data else recipe_augmentation)

    def check(self) -> None:
        """Refuse a training job with an impossible network, or an output path that is taken.

        Reads no data and takes no memory.
        """
        if self.start is None:
            with torch.device("meta"):
                self._network()
        if self.part_data:
            self.part_data.check(self.recipe)
        self.courses = open_recorders(self.out, self.options.resume, self.options.overwrite, self.options.tensorboard)
        if self.start is not None and self.out.exists() and self.out.samefile(self.start):
            raise PlifError(f"--out {self.out}: is the file that --from begins with; give another place")

    def _network(self) -> Network:
        if self.start is None:
            return build_for_dataset(str(self.recipe.network), self.first, self.overrides)
        part = next(iter(find_observers("start", "hooks")), None)
        if part is None:
            raise PlifError(f"--from {self.start}: this plif begins every training anew; leave it out")
        net, notes = part.load("start_from:start_from")(self.start, self.first, self.overrides)
        for note in notes:
            say(f"note: {note}", err=True)
        return net

    def run(self, world: World, device: str) -> dict[str, object]:
        """Run a training job in this process (one of several, perhaps) and return the training record."""
        recipe = replace(self.recipe, device=device)
        open_device(device)
        torch.manual_seed(recipe.seed)
        net = self._network()
        for hook in create_hooks(net, recipe):
            hook.begin()
        if (view := parse_spec(self.first)[0].about.view) is not None:
            net.meta = replace(net.meta, view=view)
        # Augmentation works on images in 0..1, so these are normalised after it; otherwise the reader normalises.
        normalisation = net.normalisation if self.augmentation else None
        datasets = self._open_data(net, None if normalisation else net.normalisation)
        sensors = {split: dataset.fix_sensor() for split, dataset in datasets.items() if isinstance(dataset, EventSet)}
        net.meta = replace(net.meta, sensor=sensors.get("train"))
        self.about = {
            "command": self.command,
            "dataset": self.first.partition(":")[0],
            "dataset_options": parse_spec(self.first)[2],
            **read_simulation_note(*self.data),
            **make_origin_note(*datasets.values()),
            **{
                f"limit_{split}": limit if limit and limit < len(datasets[split]) else None
                for split, limit in self.limits.items()
            },
            "augmentation": self.augmentation.__name__ if self.augmentation else None,
            **(make_start_note(self.start) if self.start else {}),
        }
        self._check_data(net, datasets, recipe, world)  # all refusals come before a reading that may take an hour
        quiet = world.rank > 0
        train_set: TrainSet
        if self.part_data:
            train_set, statistics = self.part_data.load(net, self.limits["train"], quiet)
            net.meta = replace(net.meta, trained_on=describe_training(statistics, net.meta.shape))
        else:
            train_set = load_samples(
                datasets["train"], self.limits["train"], "reading train", self.options.cache, quiet
            )
            net.meta = replace(
                net.meta, trained_on=_measure_recordings(datasets["train"], len(train_set), net.meta.shape)
            )
        test_set = load_samples(datasets["test"], self.limits["test"], "reading test", self.options.cache, quiet)
        self.started = True
        return train(
            net, train_set, test_set, recipe, self.out,
            about=self.about, resume=self.options.resume, overwrite=self.options.overwrite, augment=self.augmentation,
            prepare=_make_normaliser(normalisation),
            on_epoch=None if world.rank else self.on_epoch or _EpochReporter(net, recipe.epochs),
            tensorboard=self.options.tensorboard, world=world,
        )  # fmt: skip

    def _open_data(self, net: Network, normalisation: dict[str, list[float]] | None) -> dict[str, Dataset]:
        """Open the training and the test split of a training job, with classes ordered as in the training split."""
        datasets = {}
        for split in self.limits:
            dataset = open_dataset(
                self.first,
                split,
                framing=self.part_data.framing(net) if self.part_data else oriented_framing(net),
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
            datasets[split] = dataset
        return datasets

    def _check_data(self, net: Network, datasets: dict[str, Dataset], recipe: Recipe, world: World) -> None:
        indices = {split: spread_indices(datasets[split], limit) for split, limit in self.limits.items()}
        if self.part_data:
            labels = torch.tensor(self.part_data.labels(net, self.limits["train"]))
        else:
            labels = torch.tensor([datasets["train"].label(i) for i in indices["train"]])
        samples = count_samples(recipe, labels, len(indices["test"]), world)
        state = TrainingState(
            net=net, recipe=recipe, world=world, about=self.about, samples=samples, processes=world.size
        )
        for note in (note for course in self.courses for note in course.compare(state) if not world.rank):
            say(f"note: {note}", err=True)
        if net.meta.kind == "events":
            frames = len(datasets["train"].sample(indices["train"][0]))
            if frames != net.T:
                raise PlifError(f"framing '{net.framing}' gives {frames} frames, but T is {net.T}; give --T {frames}")


class _EpochReporter:
    """A reporter of training epochs on stderr, which warns once if the last layer stays silent."""

    def __init__(self, net: Network, epochs: int) -> None:
        self.last, self.epochs = next(reversed(net.neurons()), ""), epochs
        self.hinted = False

    def __call__(self, epoch: Epoch) -> None:
        say(_format_epoch(epoch, self.epochs), err=True)
        silent = epoch.firing_rates.get(self.last, 1.0) == 0
        if silent and not self.hinted:
            say(
                f"note: {self.last}, the last layer, did not fire, so every answer is the first class; if it stays so, "
                "try a larger --lr, more events a frame, or BN before the neurons",
                err=True,
            )
        self.hinted = silent


def _format_epoch(epoch: Epoch, epochs: int) -> str:
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


def read_simulation_note(data: str, *more_data: str) -> dict[str, str]:
    """Return the note for a model's card that its data set was simulated by plif.

    Recordings of such a set are not real. The note is empty if one of several sets is real.
    """
    if not all(read_simulation_note(data_set) for data_set in more_data):
        return {}
    folder = parse_dataset_address(data).folder
    path = Path(folder) / "simulated.json"
    if not folder or not path.is_file():
        return {}
    try:
        return {"simulated": str(json.loads(path.read_text(encoding="utf-8"))["what"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise PlifError(
            f"{path}: not the note of a simulated set, expected JSON with 'what'; make the set again"
        ) from None


def _measure_recordings(dataset: Dataset, limit: int, shape: tuple[int, int, int]) -> dict[str, object] | None:
    """Measure statistics of a split's recordings for the model's card; None for images.

    MEASURED_RECORDINGS of them are read.
    """
    if not isinstance(dataset, EventSet):
        return None
    return describe_training(
        [dataset.frames(i)[1] for i in spread_indices(dataset, min(limit, MEASURED_RECORDINGS))], shape
    )


def make_start_note(start: Path) -> dict[str, str]:
    """Return the note for a model's card on the weights that its training began with.

    It has the file's name and its SHA-256, because names repeat.
    """
    return {"from": start.name, "from_sha256": hashlib.sha256(read_regular(start)).hexdigest()}


def make_origin_note(*datasets: Dataset) -> dict[str, str]:
    """Return the note for a model's card that its images are JPEG copies of the original ones, or {}."""
    paths = (str(dataset.path(i)).lower() for dataset in datasets for i in range(len(dataset)))
    return {"origin": "copies as JPEG"} if any(path.endswith((".jpg", ".jpeg")) for path in paths) else {}


def _make_normaliser(normalisation: dict[str, list[float]] | None) -> Augment | None:
    """Make a function that normalises images [B, C, H, W] by channel, (x - mean) / std; None without values."""
    if normalisation is None:
        return None
    mean, std = (torch.tensor(normalisation[key]).reshape(-1, 1, 1) for key in ("mean", "std"))
    return lambda x: (x - mean) / std
