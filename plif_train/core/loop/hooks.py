"""Extension points of a training: the classes that parts in plif_train/hooks subclass.

A part with recipe keys names them in its part.py (OPTIONS). If one of these keys has a value, the Hook in the hook.py
of the part acts.
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
from runtime.core.events.fit import EventOutcome
from runtime.core.events.framing import Framing, resolve_framing
from runtime.core.observers import find_observers
from runtime.core.parts import find_parts, load_from_parts


class Hook:
    """Base class of a training hook, whose methods are called during a training; each does nothing by default.

    begin                 before any data are read: refuses impossible settings with PlifError, or changes the network
    start                 once the network is on the device of the training
    use_master_weights    a block in which the optimiser, or a resume file, sees the weights
    after_step            after a step of the optimiser
    """

    def __init__(self, net: Network, recipe: Recipe) -> None:
        self.net, self.recipe = net, recipe

    def begin(self) -> None: ...

    def start(self) -> None: ...

    def use_master_weights(self) -> AbstractContextManager[None]:
        return nullcontext()

    def after_step(self) -> None: ...


def create_hooks(net: Network, recipe: Recipe) -> list[Hook]:
    """Create the training hooks that the keys of a recipe switch on."""
    hooks: list[Hook] = []
    for part in find_parts("hooks").values():
        if (
            part.options
            and not part.hears
            and any(vars(recipe)[name] is not None for name in get_type_hints(part.load(part.options)))
        ):
            hooks.append(part.load("hook:HOOK")(net, recipe))
    return hooks


@dataclass(frozen=True)
class Epoch:
    """The results of one training epoch: loss, accuracies, firing rates and taus.

    `epoch` counts from 1, rates and accuracies are 0..1, tau in time-steps. Rates are those of the test samples. In
    protocol B they are those of the samples held back, and there is no test accuracy yet.
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
    """The state of a training: network, optimiser, and the number of epochs that are complete.

    `processes` is the largest number of processes that have trained it together.
    """

    net: Network
    recipe: Recipe
    world: World
    about: Mapping[str, object]
    samples: dict[str, int]
    processes: int
    optimizer: torch.optim.Optimizer = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)
    epochs_done: int = 0
    best: dict[str, Any] = field(default_factory=lambda: {"accuracy": -1.0, "epoch": 0})


class TrainingRecorder:
    """Base class of a recorder of a training, which writes files of its progress, such as a log.

    Its part has HEARS = ("course",) in its part.py, and `hear` in course.py. A method that a subclass leaves out does
    nothing.

    compare        before the data are read; `state` has their counts: returns notes, and raises PlifError if the files
                   are those of another training than the one to resume
    restore        sets `state` to the saved one, while the optimiser has the weights
    begin          before the first epoch, on the first process only, as all methods below
    add_epoch      after an epoch
    save_epoch     the same, once its model.pt is written, while the optimiser has the weights
    resume_hint    the text for the user after a training was interrupted
    """

    def compare(self, state: TrainingState) -> list[str]:
        return []

    def restore(self, state: TrainingState) -> None: ...

    def begin(self, state: TrainingState) -> None: ...

    def add_epoch(self, state: TrainingState, epoch: Epoch) -> None: ...

    def save_epoch(self, state: TrainingState) -> None: ...

    def resume_hint(self) -> str | None: ...

    def close(self) -> None: ...


def open_recorders(out: Path, resume: bool, overwrite: bool, tensorboard: bool) -> list[TrainingRecorder]:
    """Open the recorders of a training, which write its log and its resume file.

    Raises PlifError if they cannot write next to `out`, or would replace another file there.
    """
    if out.suffix != ".pt":  # all names come from its stem, and v1.0 and v1.1 would share theirs
        raise PlifError(f"{out}: expected a file whose name ends in .pt, as in --out model.pt")
    if out.is_dir():
        raise PlifError(f"{out}: is a folder; expected a place for a file, give another --out")
    parts = find_observers("course", "hooks")
    if not parts and (resume or tensorboard):
        raise PlifError("--resume, --tensorboard: this plif keeps no course of a training; leave them out")
    courses = [course for part in parts for course in part.load("course:hear")(out, resume, overwrite, tensorboard)]
    if out.exists() and not resume and not overwrite:
        raise PlifError(f"{out}: is there already: add --overwrite to replace it, or give another --out")
    return courses


class TrainingData:
    """Base class of training data that a plug-in part supplies in place of one data set's samples.

    The part has HEARS = ("data",) in its part.py, and `create_training_data` in mixture.py.
    """

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe that cannot train on this training data."""

    def framing(self, net: Network) -> Framing:
        """Return the framing (how events become frames) of the test split of the training data."""
        raise NotImplementedError

    def labels(self, net: Network, limit: int | None) -> list[int]:
        """Return the class labels of the training samples that `load` would read, without reading them."""
        raise NotImplementedError

    def load(self, net: Network, limit: int | None, quiet: bool) -> tuple[TrainSet, list[EventOutcome]]:
        """Read the training splits into memory, at most `limit` samples of each.

        Also returns the statistics of some of the samples.
        """
        raise NotImplementedError


def find_training_data(data: Sequence[str], recipe: Recipe) -> TrainingData | None:
    """Find the plug-in part that supplies training data for these data sets; None for one set's own samples.

    Raises PlifError for several sets if no part joins them.
    """
    source: TrainingData | None = None
    for part in find_observers("data", "hooks"):
        source = source or part.load("mixture:create_training_data")(data, recipe)
    if source is None and len(data) > 1:
        raise PlifError(f"--data: {len(data)} of them, and this plif trains on one set; expected one")
    return source


def find_augmentation(text: str, data: str) -> Augment | None:
    """Find the augmentation function that the recipe key `augment` names for a data set NAME:DIR.

    The text is none, a function's name, or SET:FUNCTION,...; a part supplies the functions.
    """
    functions: dict[str, Augment] = load_from_parts("hooks", "augmentation_functions") or {}
    augmentation = None
    for part in text.split(",") if text != "none" else ():
        set_name, _, name = part.strip().rpartition(":")
        applies = set_name in ("", data.partition(":")[0])
        if name not in functions and (functions or applies):
            raise PlifError(f"augment {text}: expected {', '.join(('none', *functions))}, or SET:FUNCTION,...")
        if applies:
            augmentation = functions[name]
    return augmentation


def oriented_framing(net: Network) -> Framing | None:
    """Return a network's framing (how events become frames) with the orientation of its training data.

    The orientation is the `view` of its card, so the card asks for this framing, too.
    """
    return resolve_framing({"framing": net.framing, "view": net.meta.view})


@contextmanager
def use_master_weights(hooks: Sequence[Hook]) -> Iterator[None]:
    """Put the float32 master weights of all hooks into the network for a block, such as an optimiser step."""
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook.use_master_weights())
        yield
