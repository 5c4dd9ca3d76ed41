"""What decides the accuracy of a training: its recipe, and its data. Two runs stand beside each other only where all of it is
equal, field by field."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from plif_train.core.recipe import KEYS, Recipe, changed
from plif_train.hooks.kept_epochs.recorded import record_of, resolved
from runtime.core.base.errors import PlifError
from runtime.core.model.card import Card

# The keys of a recipe, and fields of Meta, that do not matter here, and why. All others are compared.
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
    "decide": "how feeds are decided, long after",
    "view": "follows from the data set",
    "sensor": "follows from the data set",
    "trained_on": "follows from the data set",
}
# What a training record may hold of the data, null apart.
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
    """The conditions of one training.

    origin         "real", or what the recordings or pictures are instead; "a mixture" of sets not all of which are drawn
    train_samples  without those held back; None where a card does not say
    selection      which samples are trained on: options of the set, a limit that cut it. None: those of the set
    classes        of one's own folders; None: those of the set
    start          the weights it began with, by the hash of their file, or its name; None: new ones
    input          kind, shape and normalisation
    processes      the most that trained it together
    lr_left        where lr was not the recipe's cosine: t_max may be changed on --resume, and the card has the last one
    recipe         with its network as it is: N for its neurons and P for its pooling between layers
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
        """What the accuracy that chooses the epoch is measured on: "test", or in protocol B "validation"."""
        return "validation" if self.recipe.protocol == "B" else "test"

    @property
    def judged_column(self) -> str:
        """The column of the log that has that accuracy."""
        return "val_accuracy" if self.judged == "validation" else "test_accuracy"

    def differences(self, other: Conditions) -> list[str]:
        """What differs, a line each: "T: 10, not 8". None: the two may be compared."""
        pairs = ((name, self[name], other[name]) for name in COMPARED)
        return [f"{_title(name)}: {_word(mine)}, not {_word(theirs)}" for name, mine, theirs in pairs if mine != theirs]

    def __getitem__(self, name: str) -> Any:
        """One of COMPARED."""
        return getattr(self.recipe if name in KEYS else self, name)

    def of(self, names: Sequence[str]) -> tuple[Any, ...]:
        """The values of these, to group runs by."""
        return tuple(self[name] for name in names)


COMPARED = [each.name for each in fields(Conditions) if each.name != "recipe"]
COMPARED += [name for name in KEYS if name not in NOT_COMPARED]


def conditions_of(card: Card, epochs: Sequence[Mapping[str, str]] = (), where: object = "the card") -> Conditions:
    """The conditions that the card of a model.pt records; `epochs`, the rows of its log, tell whether lr changed."""
    record = checked_record(card, where)
    recipe = resolved(card, where)
    most = max((int(row.get("processes") or 1) for row in epochs), default=1)
    return Conditions(
        dataset=str(record.get("dataset")).partition(" ")[0],
        origin=record.get("simulated") or record.get("origin") or ("a mixture" if recipe.data else "real"),
        train_samples=record.get("train_samples"),
        test_samples=record.get("test_samples"),
        selection=_selection(record),
        classes=", ".join(card["classes"]) if record.get("dataset") == "folder" else None,
        start=(record.get("from_sha256") or "")[:12] or record.get("from"),
        input=input_of(card["input"]["kind"], card["input"]["shape"], card["normalisation"]),
        processes=max(most, record.get("processes") or 1),
        lr_left=_lr_left(recipe, epochs),
        recipe=compared(recipe, record.get("augmentation")),
    )


def compared(recipe: Recipe, augmentation: str | None) -> Recipe:
    """A recipe whose network is in the notation, as it is compared: neurons and pooling for themselves."""
    network, kind, pool = parts_of(str(recipe.network))
    settings = (recipe.neuron or "PLIF").partition(",")[1:]
    return changed(recipe, {
        "network": network, "neuron": "".join((kind, *settings)), "pool": pool, "augment": augmentation or "none",
        "init_tau": None if kind == "IF" else recipe.init_tau, "t_max": recipe.t_max or recipe.epochs,
    })  # fmt: skip


def checked_record(card: Card, where: object) -> dict[str, Any]:
    """The training record of a model's card. PlifError for an exported network, and for a value of another kind."""
    record = record_of(card, where)
    for expected, holds, names in _RECORD:
        for name in names.split():
            if (found := record.get(name)) is not None and not holds(found):
                raise PlifError(f"{where}: {name} in the training record is {str(found)[:40]!r}; expected {expected}")
    return record


def _selection(record: Mapping[str, Any]) -> str | None:
    options, limit = record.get("dataset_options") or {}, record.get("limit_train")
    words = [
        f"{name}={value}"
        for name, value in sorted(options.items())
        if name != "order" and (name, value) != ("train", "all")  # an order is one of classes, not of samples
    ]
    if limit is not None and limit <= (record.get("train_samples") or 0) + (record.get("val_samples") or 0):
        words.append(f"{limit} spread over the training split")
    return ", ".join(words) or None


def titles_of(several: Sequence[Conditions], names: Sequence[str]) -> list[str]:
    """Of each the data set, and of `names` those that are not the same in all of that set."""
    titles = []
    for one in several:
        same_set = [other for other in several if other.dataset == one.dataset]
        told = [name for name in names if len({other[name] for other in same_set}) > 1]
        titles.append(", ".join([one.dataset, *(f"{_title(name)} {_word(one[name])}" for name in told)]))
    return titles


def input_of(kind: str, shape: Sequence[int], normalisation: Mapping[str, Sequence[float]] | None) -> str:
    """ "static 1x28x28, mean 0.286, std 0.353" """
    values = [f", {key} {' '.join(map(_word, normalisation[key]))}" for key in ("mean", "std")] if normalisation else []
    return f"{kind} {'x'.join(map(str, shape))}{''.join(values)}"


def _lr_left(recipe: Recipe, epochs: Sequence[Mapping[str, str]]) -> str | None:
    for row in epochs:
        found, expected = float(row["lr"]), recipe.lr_at(int(row["epoch"]) - 1)
        if not math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-9 * recipe.lr):
            return f"{found:g} in epoch {row['epoch']} ({expected:g})"
    return None


def parts_of(notation: str) -> tuple[str, str, str | None]:
    """A network's notation -> (the same with N and P, its kind of neuron, its pooling between layers where there is one)."""
    body, vote = re.fullmatch(r"(.*?)(-APk(\d+)s\3)?", notation, re.DOTALL).group(1, 2)  # type: ignore[union-attr]
    neurons = sorted(set(re.findall(r"\b(PLIF|LIF|IF)\b", body)))
    pools = set(re.findall(r"\b(MP|AP)(?=k)", body))
    network = re.sub(r"\b(PLIF|LIF|IF)\b", "N", body)
    if len(pools) == 1:
        network = re.sub(r"\b(MP|AP)(?=k)", "P", network)
    return network + (vote or ""), " and ".join(neurons) or "none", pools.pop() if len(pools) == 1 else None


def _title(name: str) -> str:
    return name if name in KEYS else name.replace("_", " ")


def _word(value: Any) -> str:
    text = "none" if value in (None, ()) else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) < 80 else f"{text[:77]}..."
