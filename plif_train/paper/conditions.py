"""What decides the accuracy of a training. Two runs stand beside each other only where all of this is equal."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from plif_train.loop.checkpoint import options_of
from plif_train.loop.recipe import Recipe
from plif_train.network.network import Options
from runtime.base.errors import PlifError
from runtime.model.card import Card

_POOLS = {"MP": "max", "AP": "average"}
# The fields of Recipe, Options and Meta that do not matter here, and why. All others are compared.
NOT_COMPARED = {
    "epochs": "runs are compared at the same epoch",
    "patience": "ends a training and changes nothing before",
    "seed": "one run a side: what is compared is not one draw of the weights",
    "precision": "said beside the accuracy; bf16 is accepted beside the authors' fp32",
    "device": "the same sums in another order; several at once are compared (processes)",
    "compile": "the same sums in another order",
    "classes": "their number is the network's; of one's own folders they are compared",
    "training": "the record that all of this is read from",
    "view": "follows from the data set",
    "sensor": "follows from the data set",
}
# What a training record may hold, null apart.
_RECORD: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("text", lambda value: isinstance(value, str),
     "dataset simulated origin from from_sha256 augmentation protocol objective bn precision"),
    ("a whole number", lambda value: type(value) is int,
     "train_samples val_samples test_samples limit_train batch_size t_max epoch epochs accumulate processes"),
    ("a map", lambda value: isinstance(value, dict), "dataset_options"),
    ("a number", lambda value: type(value) in (int, float), "lr rate_penalty clip_norm bias_limit"),
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
    network        the notation with N for its neurons and P for its pooling between layers
    init_tau       tau of a PLIF at the start, of a LIF for good; None: IF
    schedule       optimiser, batch, learning rate, statistics of BN, gradients
    """

    dataset: str
    origin: str
    train_samples: int | None
    test_samples: int | None
    selection: str | None
    classes: str | None
    protocol: str
    start: str | None
    input: str
    network: str
    neuron: str
    init_tau: float | None
    pool: str
    T: int
    framing: str | None
    loss: str
    augmentation: str | None
    schedule: str

    @property
    def judged(self) -> str:
        """What the accuracy that chooses the epoch is measured on: "test", or in protocol B "validation"."""
        return "validation" if self.protocol == "B" else "test"

    @property
    def judged_column(self) -> str:
        """The column of the log that has that accuracy."""
        return "val_accuracy" if self.judged == "validation" else "test_accuracy"

    def differences(self, other: Conditions) -> list[str]:
        """What differs, a line each: "T: 10, not 8". None: the two may be compared."""
        mine, theirs = asdict(self), asdict(other)
        return [
            f"{name.replace('_', ' ')}: {_word(mine[name])}, not {_word(theirs[name])}"
            for name in mine
            if mine[name] != theirs[name]
        ]

    def of(self, names: Sequence[str]) -> tuple[Any, ...]:
        """The values of these fields, to group runs by."""
        return tuple(getattr(self, name) for name in names)


def conditions_of(card: Card, epochs: Sequence[Mapping[str, str]] = (), where: object = "the card") -> Conditions:
    """The conditions that the card of a model.pt records; `epochs`, the rows of its log, tell whether lr changed."""
    record = record_of(card, where)
    options = options_of(card, where)
    network, neuron, pool = parts_of(card["notation"])
    bias = f", bias={_word(options.bias)}" if options.bias else ""
    said = ("bias", "init_tau", "dropout", "surrogate", "detach_reset")
    return Conditions(
        dataset=str(record.get("dataset")).partition(" ")[0],
        origin=record.get("simulated") or record.get("origin") or ("a mixture" if record.get("mixture") else "real"),
        train_samples=record.get("train_samples"),
        test_samples=record.get("test_samples"),
        selection=_selection(record),
        classes=", ".join(card["classes"]) if record.get("dataset") == "folder" else None,
        protocol=str(record.get("protocol")),
        start=(record.get("from_sha256") or "")[:12] or record.get("from"),
        input=input_of(card["input"]["kind"], card["input"]["shape"], card["normalisation"]),
        network=network + bias,
        neuron=", ".join([neuron, *_unusual(asdict(options), Options(), said)]),
        init_tau=None if neuron == "IF" else float(options.init_tau),
        pool=pool,
        T=card["T"],
        framing=card["framing"],
        loss=str(record.get("objective")),
        augmentation=record.get("augmentation") or _mixture(record.get("mixture")),
        schedule=schedule(record, options) + _lr_changed(record, epochs) + _processes_changed(record, epochs),
    )


def record_of(card: Card, where: object) -> dict[str, Any]:
    """The training record of a model's card. PlifError for an exported network, and for a value of another kind."""
    if "options" not in card:
        raise PlifError(f"{where}: an exported network; expected a model.pt of plif train")
    record: dict[str, Any] = card["training"] or {}
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


def _mixture(parts: Any) -> str | None:
    """Sets, their shares of an epoch and how they are varied, as the beginning of a hash: written out they fill a page."""
    if not parts:
        return None
    return f"recordings varied, mixture {hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]}"


def titles_of(several: Sequence[Conditions], names: Sequence[str]) -> list[str]:
    """Of each the data set, and of the fields in `names` those that are not the same in all of that set."""
    titles = []
    for one in several:
        same_set = [other for other in several if other.dataset == one.dataset]
        told = [name for name in names if len({getattr(other, name) for other in same_set}) > 1]
        titles.append(
            ", ".join([one.dataset, *(f"{name.replace('_', ' ')} {_word(getattr(one, name))}" for name in told)])
        )
    return titles


def input_of(kind: str, shape: Sequence[int], normalisation: Mapping[str, Sequence[float]] | None) -> str:
    """ "static 1x28x28, mean 0.286, std 0.353" """
    values = [f", {key} {' '.join(map(_word, normalisation[key]))}" for key in ("mean", "std")] if normalisation else []
    return f"{kind} {'x'.join(map(str, shape))}{''.join(values)}"


def schedule(record: Mapping[str, Any], options: Options) -> str:
    """One line for what the optimiser does. `record`: the fields of a Recipe, and the number of processes."""
    lr = record.get("lr")
    words = [f"lr {_word(lr)}", f"batches of {record.get('batch_size')}", f"cosine of {record.get('t_max')} epochs"]
    words += [f"BN {record.get('bn')}", f"dropout {options.dropout}", f"surrogate {options.surrogate}"]
    words += ["reset detached" if options.detach_reset else "reset not detached"]
    words += _unusual(record, Recipe(), ("lr", "batch_size", "t_max", "bn", "protocol", "loss"))
    processes = record.get("processes") or 1
    return ", ".join(words + ([f"{processes} processes"] if processes > 1 else []))


def _unusual(found: Mapping[str, Any], usual: Recipe | Options, said: tuple[str, ...]) -> list[str]:
    """name=value of the fields that are not as usual, but for those that are said elsewhere or do not matter."""
    return [
        f"{name}={_word(found[name])}"
        for name, value in asdict(usual).items()
        if name not in said and name not in NOT_COMPARED and found.get(name, value) != value
    ]


def _lr_changed(record: Mapping[str, Any], epochs: Sequence[Mapping[str, str]]) -> str:
    """Whether lr left the card's cosine: --t-max may be changed on --resume, and the card has the last one."""
    lr, t_max = record.get("lr"), record.get("t_max")
    if lr and t_max:
        for row in epochs:
            found, expected = float(row["lr"]), Recipe(lr=lr, t_max=t_max).lr_at(int(row["epoch"]) - 1)
            if not math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-9 * lr):
                return f", but lr {found:g} in epoch {row['epoch']} ({expected:g})"
    return ""


def _processes_changed(record: Mapping[str, Any], epochs: Sequence[Mapping[str, str]]) -> str:
    """Whether more processes shared a batch in some epoch than the card says: --devices may be changed on --resume."""
    most = max((int(row.get("processes") or 1) for row in epochs), default=1)
    return f", but {most} processes in an epoch" if most > (record.get("processes") or 1) else ""


def parts_of(notation: str) -> tuple[str, str, str]:
    """A network's notation -> (the same with N and P, its kind of neuron, its pooling between layers)."""
    body, vote = re.fullmatch(r"(.*?)(-APk(\d+)s\3)?", notation, re.DOTALL).group(1, 2)  # type: ignore[union-attr]
    neurons = re.findall(r"\b(PLIF|LIF|IF)\b", body)
    pools = re.findall(r"\b(MP|AP)(?=k)", body)
    network = re.sub(r"\b(MP|AP)(?=k)", "P", re.sub(r"\b(PLIF|LIF|IF)\b", "N", body)) + (vote or "")
    return network, _all(neurons), _all([_POOLS[pool] for pool in pools])


def _all(names: list[str]) -> str:
    return " and ".join(sorted(set(names))) or "none"


def _word(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
