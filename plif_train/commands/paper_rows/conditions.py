"""Conditions that decide the accuracy of a training: its recipe, and its data.

Two runs are compared only if all conditions are equal, field by field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from plif_train.core.recipe import KEYS, Recipe, replace_keys
from plif_train.hooks.kept_epochs.recorded import resolve_recipe, training_record
from runtime.core.base.errors import PlifError
from runtime.core.model.card import Card

# The keys of a recipe, and fields of Meta, that are not compared, and why. All others are.
NOT_COMPARED = {
    "epochs": "runs are compared at the same epoch",
    "patience": "ends a training and changes nothing before",
    "seed": "one run a side: what is compared is not one draw of the weights",
    "precision": "said beside the accuracy; bf16 is accepted beside the authors' fp32",
    "device": "the same sums in another order; several at once are compared (processes)",
    "compile": "the same sums in another order",
    "size": "the input has it",
    "channels": "the network has them",
    "hidden": "the network has them",
    "limit_train": "a limit that cut the set is part of the selection",
    "limit_test": "the number of test samples says it",
    "classes": "their number is the network's; of one's own folders they are compared",
    "training": "the record that all of this is read from",
    "rules": "how feeds are decided, long after",
    "view": "follows from the data set",
    "sensor": "follows from the data set",
    "trained_on": "follows from the data set",
}
# The types of the values that a training record may have, apart from null.
_RECORD: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("text", lambda value: isinstance(value, str), "dataset simulated origin from from_sha256 augmentation"),
    ("a whole number", lambda value: type(value) is int,
     "train_samples val_samples test_samples limit_train epoch epochs processes"),
    ("a map", lambda value: isinstance(value, dict), "dataset_options"),
    ("a number from 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1,
     "test_accuracy val_accuracy"),
)  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """The conditions of one training that decide its accuracy, such as data set, network and recipe.

    origin           "real", or the substitute for real recordings or pictures; "a mixture" of sets not all of which are
                     drawn
    train_samples    without those held back; None if a card does not say
    selection        the samples to train on: options of the set, a limit that cut it. None: those of the set
    classes          of custom folders; None: those of the set
    start            the weights it began with, by the hash of their file, or its name; None: new ones
    input            kind, shape and normalisation
    processes        the largest number that trained it together
    lr_left          the epoch in which lr was not the recipe's cosine: t_max may be changed on --resume, and the card
                     has the last one
    recipe           with its actual network: N for its neurons and P for its pooling between layers
    """

    dataset: str
    origin: str
    train_samples: int | None
    test_samples: int | None
    selection: str | None
    classes: str | None
    start: str | None
    input: str
    recipe: Recipe
    processes: int = 1
    lr_left: str | None = None

    @property
    def judged(self) -> str:
        """The split by which a training selects its best epoch: "test", or in protocol B "validation"."""
        return "validation" if self.recipe.protocol == "B" else "test"

    @property
    def judged_column(self) -> str:
        """The log column with the accuracy that selects the best epoch of a training."""
        return "val_accuracy" if self.judged == "validation" else "test_accuracy"

    def differences(self, reference: Conditions) -> list[str]:
        """List the conditions in which another training differs from a training, a line each: "T: 10, not 8".

        An empty list means that the two may be compared.
        """
        pairs = ((name, self[name], reference[name]) for name in COMPARED)
        return [
            f"{_format_name(name)}: {_format_value(mine)}, not {_format_value(theirs)}"
            for name, mine, theirs in pairs
            if mine != theirs
        ]

    def __getitem__(self, name: str) -> Any:
        """Return the value of one condition of a training, given its name in COMPARED."""
        return getattr(self.recipe if name in KEYS else self, name)

    def select(self, names: Sequence[str]) -> tuple[Any, ...]:
        """Return the values of the named conditions of a training: the key by which runs are grouped."""
        return tuple(self[name] for name in names)


COMPARED = [declared.name for declared in fields(Conditions) if declared.name != "recipe"]
COMPARED += [name for name in KEYS if name not in NOT_COMPARED]


def read_conditions(card: Card, epochs: Sequence[Mapping[str, str]] = (), context: object = "the card") -> Conditions:
    """Read the conditions of a training (data set, recipe ..) from its log and the card in its model.pt.

    `epochs`, the rows of the log, tell whether lr changed.
    """
    record = check_record(card, context)
    recipe = resolve_recipe(card, context)
    most = max((int(row.get("processes") or 1) for row in epochs), default=1)
    return Conditions(
        dataset=str(record.get("dataset")).partition(" ")[0],
        origin=record.get("simulated") or record.get("origin") or ("a mixture" if recipe.data else "real"),
        train_samples=record.get("train_samples"),
        test_samples=record.get("test_samples"),
        selection=_describe_selection(record),
        classes=", ".join(card["classes"]) if record.get("dataset") == "folder" else None,
        start=(record.get("from_sha256") or "")[:12] or record.get("from"),
        input=describe_input(card["input"]["kind"], card["input"]["shape"], card["normalisation"]),
        processes=max(most, record.get("processes") or 1),
        lr_left=_find_lr_change(recipe, epochs),
        recipe=normalise_recipe(recipe, record.get("augmentation")),
    )


def normalise_recipe(recipe: Recipe, augmentation: str | None) -> Recipe:
    """Return a training recipe in a comparable form: neuron kind and pooling apart from the network's notation.

    The network of the recipe is in the notation.
    """
    network, kind, pool = split_notation(str(recipe.network))
    settings = (recipe.neuron or "PLIF").partition(",")[1:]
    return replace_keys(recipe, {
        "network": network, "neuron": "".join((kind, *settings)), "pool": pool, "augment": augmentation or "none",
        "init_tau": None if kind == "IF" else recipe.init_tau, "t_max": recipe.t_max or recipe.epochs,
    })  # fmt: skip


def check_record(card: Card, context: object) -> dict[str, Any]:
    """Check the types of the training record in a model's card and return the record.

    Raises PlifError for an exported network, and for a value of another kind.
    """
    record = training_record(card, context)
    for expected, is_valid, names in _RECORD:
        for name in names.split():
            if (value := record.get(name)) is not None and not is_valid(value):
                raise PlifError(f"{context}: {name} in the training record is {str(value)[:40]!r}; expected {expected}")
    return record


def _describe_selection(record: Mapping[str, Any]) -> str | None:
    options, limit = record.get("dataset_options") or {}, record.get("limit_train")
    words = [
        f"{name}={value}"
        for name, value in sorted(options.items())
        if name != "order" and (name, value) != ("train", "all")  # `order` sorts classes, not samples
    ]
    if limit is not None and limit <= (record.get("train_samples") or 0) + (record.get("val_samples") or 0):
        words.append(f"{limit} spread over the training split")
    return ", ".join(words) or None


def make_titles(several: Sequence[Conditions], names: Sequence[str]) -> list[str]:
    """Make a title for each training: its data set, and the named conditions that vary among trainings on it."""
    titles = []
    for conditions in several:
        same_set = [candidate for candidate in several if candidate.dataset == conditions.dataset]
        varying = [name for name in names if len({candidate[name] for candidate in same_set}) > 1]
        titles.append(
            ", ".join(
                [conditions.dataset, *(f"{_format_name(name)} {_format_value(conditions[name])}" for name in varying)]
            )
        )
    return titles


def describe_input(kind: str, shape: Sequence[int], normalisation: Mapping[str, Sequence[float]] | None) -> str:
    """Describe the input of a network: "static 1x28x28, mean 0.286, std 0.353"."""
    values = (
        [f", {key} {' '.join(map(_format_value, normalisation[key]))}" for key in ("mean", "std")]
        if normalisation
        else []
    )
    return f"{kind} {'x'.join(map(str, shape))}{''.join(values)}"


def _find_lr_change(recipe: Recipe, epochs: Sequence[Mapping[str, str]]) -> str | None:
    for row in epochs:
        lr, expected = float(row["lr"]), recipe.lr_at(int(row["epoch"]) - 1)
        if not math.isclose(lr, expected, rel_tol=1e-5, abs_tol=1e-9 * recipe.lr):
            return f"{lr:g} in epoch {row['epoch']} ({expected:g})"
    return None


def split_notation(notation: str) -> tuple[str, str, str | None]:
    """Split a network's architecture string into (network, kind of neuron, pooling between layers).

    The network has N for its neurons and P for its pooling. The pooling is None if there is none, or several kinds.
    """
    body, vote = re.fullmatch(r"(.*?)(-APk(\d+)s\3)?", notation, re.DOTALL).group(1, 2)  # type: ignore[union-attr]
    neurons = sorted(set(re.findall(r"\b(PLIF|LIF|IF)\b", body)))
    pools = set(re.findall(r"\b(MP|AP)(?=k)", body))
    network = re.sub(r"\b(PLIF|LIF|IF)\b", "N", body)
    if len(pools) == 1:
        network = re.sub(r"\b(MP|AP)(?=k)", "P", network)
    return network + (vote or ""), " and ".join(neurons) or "none", pools.pop() if len(pools) == 1 else None


def _format_name(name: str) -> str:
    return name if name in KEYS else name.replace("_", " ")


def _format_value(value: Any) -> str:
    text = "none" if value in (None, ()) else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) < 80 else f"{text[:77]}..."
