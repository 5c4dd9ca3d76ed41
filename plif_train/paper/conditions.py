"""What decides the accuracy of a training. Two runs stand beside each other only where all of this is equal."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from runtime.model.card import Card

_POOLS = {"MP": "max", "AP": "average"}


@dataclass(frozen=True)
class Conditions:
    """The conditions of one training.

    origin         "real", or what the recordings or pictures are instead
    train_samples  without those held back; None where a card does not say
    network        the notation with N for its neurons and P for its pooling between layers
    init_tau       tau of a PLIF at the start, of a LIF for good; None: IF
    schedule       optimiser, batch, learning rate, statistics of BN, gradients
    """

    dataset: str
    origin: str
    train_samples: int | None
    test_samples: int | None
    protocol: str
    network: str
    neuron: str
    init_tau: float | None
    pool: str
    T: int
    framing: str | None
    loss: str
    augmentation: str | None
    schedule: str

    def differences(self, other: Conditions) -> list[str]:
        """What differs, a line each: "T: 10, not 8". None: the two may be compared."""
        mine, theirs = asdict(self), asdict(other)
        return [
            f"{name.replace('_', ' ')}: {_word(mine[name])}, not {_word(theirs[name])}"
            for name in mine
            if mine[name] != theirs[name]
        ]

    def without(self, *names: str) -> tuple[Any, ...]:
        """All but these, to group runs that differ in nothing else."""
        return tuple(value for name, value in asdict(self).items() if name not in names)


def conditions_of(card: Card) -> Conditions:
    """The conditions that the card of a model.pt records."""
    training, options, notation = card["training"] or {}, card["options"], card["notation"]
    network, neuron, pool = parts_of(notation)
    special = [
        f"{name}={_word(options.get(name))}"
        for name, usual in (("tau", "layer"), ("v_threshold", 1.0), ("v_reset", 0.0), ("decay_input", True))
        if options.get(name, usual) != usual
    ]
    return Conditions(
        dataset=str(training.get("dataset")).partition(" ")[0],
        origin=str(training.get("simulated") or training.get("origin") or "real"),
        train_samples=training.get("train_samples"),
        test_samples=training.get("test_samples"),
        protocol=str(training.get("protocol")),
        network=network,
        neuron=", ".join([neuron, *special]),
        init_tau=None if neuron == "IF" else float(options["init_tau"]),
        pool=pool,
        T=card["T"],
        framing=card["framing"],
        loss=str(training.get("objective")),
        augmentation=training.get("augmentation"),
        schedule=schedule(
            training.get("lr"), training.get("batch_size"), training.get("t_max"), training.get("bn"),
            options.get("dropout"), options.get("surrogate"), options.get("detach_reset"), training.get("rate_penalty"),
        ),
    )  # fmt: skip


def schedule(
    lr: Any, batch: Any, t_max: Any, bn: Any, dropout: Any, surrogate: Any, detached: Any, penalty: Any = 0.0
) -> str:
    """One line for what the optimiser does."""
    words = [f"lr {lr:g}" if lr else "lr ?", f"batches of {batch}", f"cosine of {t_max} epochs", f"BN {bn}"]
    words += [f"dropout {dropout}", f"surrogate {surrogate}", "reset detached" if detached else "reset not detached"]
    return ", ".join(words + ([f"rate penalty {penalty:g}"] if penalty else []))


def parts_of(notation: str) -> tuple[str, str, str]:
    """A network's notation -> (the same with N and P, its kind of neuron, its pooling between layers)."""
    body, vote = re.fullmatch(r"(.*?)(-APk(\d+)s\3)?", notation).group(1, 2)  # type: ignore[union-attr]
    neurons = re.findall(r"\b(PLIF|LIF|IF)\b", body)
    pools = re.findall(r"\b(MP|AP)(?=k)", body)
    network = re.sub(r"\b(MP|AP)(?=k)", "P", re.sub(r"\b(PLIF|LIF|IF)\b", "N", body)) + (vote or "")
    return network, _all(neurons), _all([_POOLS[pool] for pool in pools])


def _all(names: list[str]) -> str:
    return " and ".join(sorted(set(names))) or "none"


def _word(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
