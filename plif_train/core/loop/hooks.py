"""What parts in plif_train/hooks do to a training whose recipe has one of their keys.

Such a part says in its part.py where its keys are (OPTIONS); it acts where one of them has a value, by the Hook of its hook.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import torch

from plif_train.core.data.sets import TrainSet
from plif_train.core.loop.devices import World
from plif_train.core.loop.evaluate import Augment
from plif_train.core.network.network import Network
from plif_train.core.recipe import Recipe
from runtime.core.base.errors import PlifError
from runtime.core.events.fit import Fate
from runtime.core.events.framing import Framing, framing_of
from runtime.core.observers import hearing
from runtime.core.parts import find_parts, given_by_parts


class Hook:
    """Base of all: what it leaves out does nothing.

    begin     before any data are read: refuses what cannot be, with PlifError, or changes the network
    start     once the network is where it is trained
    learning  a block in which the optimiser, or a resume file, has the weights
    stepped   after a step of the optimiser
    """

    def __init__(self, net: Network, recipe: Recipe) -> None:
        self.net, self.recipe = net, recipe

    def begin(self) -> None: ...

    def start(self) -> None: ...

    def learning(self) -> AbstractContextManager[None]:
        return nullcontext()

    def stepped(self) -> None: ...


def hooks_of(net: Network, recipe: Recipe) -> list[Hook]:
    """The hooks that a recipe asks for."""
    found: list[Hook] = []
    for part in find_parts("hooks").values():
        if (
            part.options
            and not part.hears
            and any(vars(recipe)[name] is not None for name in get_type_hints(part.load(part.options)))
        ):
            found.append(part.load("hook:HOOK")(net, recipe))
    return found


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave; `epoch` counts from 1, rates and accuracies are 0..1, tau in time-steps.

    Rates are those of the test samples; in protocol B of the samples held back, and there is no test accuracy yet.
    """

    epoch: int
    lr: float
    loss: float
    train_accuracy: float
    val_accuracy: float | None
    test_accuracy: float | None
    firing_rates: dict[str, float]
    taus: dict[str, float | list[float]]
    seconds: float
    processes: int = 1


@dataclass(kw_only=True)
class TrainingState:
    """A training, and how far it is; `processes`: the most that have trained it together."""

    net: Network
    recipe: Recipe
    world: World
    about: Mapping[str, object]
    samples: dict[str, int]
    processes: int
    optimizer: torch.optim.Optimizer = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)
    done: int = 0
    best: dict[str, Any] = field(default_factory=lambda: {"accuracy": -1.0, "epoch": 0})


class TrainingCourse:
    """What a part keeps of a training beside its best epoch (HEARS = ("course",) in its part.py, `hear` in course.py). What it
    leaves out does nothing.

    compare  before the data are read, which `run` counts: notes, and PlifError for another training than that to go on from
    restore  makes `run` what it was, while the optimiser has the weights
    begin    before the first epoch, on the first process alone, as are those that follow
    add      after an epoch;  keep: the same, once its model.pt is written, while the optimiser has the weights
    left     what there is to say of a training that was interrupted
    """

    def compare(self, run: TrainingState) -> list[str]:
        return []

    def restore(self, run: TrainingState) -> None: ...

    def begin(self, run: TrainingState) -> None: ...

    def add(self, run: TrainingState, epoch: Epoch) -> None: ...

    def keep(self, run: TrainingState) -> None: ...

    def left(self) -> str | None: ...

    def close(self) -> None: ...


def courses_of(out: Path, resume: bool, overwrite: bool, tensorboard: bool) -> list[TrainingCourse]:
    """What keeps a training. PlifError when it cannot write to `out`, or would replace something else there."""
    if out.suffix != ".pt":  # all names come from its stem, and v1.0 and v1.1 would share theirs
        raise PlifError(f"{out}: expected a file whose name ends in .pt, as in --out model.pt")
    if out.is_dir():
        raise PlifError(f"{out}: is a folder; expected a place for a file, give another --out")
    parts = hearing("course", "hooks")
    if not parts and (resume or tensorboard):
        raise PlifError("--resume, --tensorboard: this plif keeps no course of a training; leave them out")
    found = [each for part in parts for each in part.load("course:hear")(out, resume, overwrite, tensorboard)]
    if out.exists() and not resume and not overwrite:
        raise PlifError(f"{out}: is there already: add --overwrite to replace it, or give another --out")
    return found


class TrainingData:
    """What a part gives in place of the samples of one set (HEARS = ("data",) in its part.py, and `of` in mixture.py)."""

    def check(self, recipe: Recipe) -> None:
        """PlifError for a recipe that cannot train on it."""

    def framing(self, net: Network) -> Framing:
        """Of the test."""
        raise NotImplementedError

    def labels(self, net: Network, limit: int | None) -> list[int]:
        """The classes of the samples that `load` reads, without reading them."""
        raise NotImplementedError

    def load(self, net: Network, limit: int | None, quiet: bool) -> tuple[TrainSet, list[Fate]]:
        """Reads the training splits into memory, so many samples of each; and what some of them are like."""
        raise NotImplementedError


def training_data(data: Sequence[str], recipe: Recipe) -> TrainingData | None:
    """What stands in place of the samples of a set; None where it is those. PlifError for several sets that no part joins."""
    found: TrainingData | None = None
    for part in hearing("data", "hooks"):
        found = found or part.load("mixture:of")(data, recipe)
    if found is None and len(data) > 1:
        raise PlifError(f"--data: {len(data)} of them, and this plif trains on one set; expected one")
    return found


def augmentation_of(text: str, data: str) -> Augment | None:
    """What `augment` of a recipe says for a data set NAME:DIR: none, a function's name, or SET:FUNCTION,...; the functions are a
    part's."""
    known: dict[str, Augment] = given_by_parts("hooks", "augmentation_functions") or {}
    found = None
    for part in text.split(",") if text != "none" else ():
        of, _, function = part.strip().rpartition(":")
        asked = of in ("", data.partition(":")[0])
        if function not in known and (known or asked):
            raise PlifError(f"augment {text}: expected {', '.join(('none', *known))}, or SET:FUNCTION,...")
        if asked:
            found = known[function]
    return found


def seen_framing(net: Network) -> Framing | None:
    """The network's framing in the view that it learns, which its card will ask for."""
    return framing_of({"framing": net.framing, "view": net.meta.view})


@contextmanager
def learning(hooks: Sequence[Hook]) -> Iterator[None]:
    """The blocks of all of them."""
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook.learning())
        yield
