"""What a .plif file says of its network beside the card, for programs without a JSON reader; and the card of one that exists."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.artifacts.plif_file import file
from runtime.artifacts.plif_file.program import Facts, State, contents_of, plif_of
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.events.framing import is_native
from runtime.core.model.card import Card, card_margin, card_rule, encode
from runtime.core.model.digest import seal
from runtime.core.model.grids import GRIDS
from runtime.core.model.records import as_map

MOST_TEXT = 4096  # bytes of a name or a framing


def strings_of(facts: Facts, where: str | Path) -> bytes:
    """The section `strings`."""
    rule = [facts.decide] if facts.decide else []
    encoded = [text.encode() for text in (facts.framing, *facts.classes, *(one.name for one in facts.states), *rule)]
    if any(b"\0" in text or len(text) > MOST_TEXT for text in encoded):
        raise PlifError(f"{where}: a class, a state or the framing has a zero byte in its name; rename it")
    return b"".join(text + b"\0" for text in encoded)


def facts_of(card: Card) -> Facts:
    """What a card says of its network, as a .plif file has to say it beside the card."""
    return Facts(
        shape=tuple(card["input"]["shape"]),
        classes=tuple(card["classes"]),
        voters=int(card["output"].get("voters", 1)),
        T=int(card["T"]),
        static=card["input"]["kind"] == "static",
        int8=card["precision"] in GRIDS,
        framing=card["framing"] or "",
        upright=card.get("view") is not None,
        decide=card_rule(card) or "",
        exit=exit_fact(card),
        native=is_native(card),
        keeps=card.get("flush_denormals") is False,
        states=tuple(
            State(state["name"], as_map(state["shape"]), float(np.float32(state["initial"])))
            for state in card["states"]
        ),
    )


def exit_fact(card: Card) -> int:
    """The margin of an early exit in billionths, as the rule `sum,exit=` writes it; 0 for none."""
    margin = card_margin(card)
    return 0 if margin is None else max(1, min(round(1e9 * margin), (1 << 31) - 1))


def with_card(artifact: Path, card: Card) -> bytes:
    """The .plif file `artifact` with this card, which differs from its own in `exit` or `decide`, and the digest that fits."""
    sections, numbers = file.take_apart(artifact, read_regular(artifact, file.EXPECTED))
    del sections["card"]
    facts = dict(zip(file.FACTS, numbers, strict=True))
    said = facts_of(card)
    sections["strings"] = strings_of(said, artifact)
    numbers = tuple({**facts, "exit": said.exit, "decide": int(bool(said.decide))}.values())
    seal(card, contents_of(artifact, sections, numbers))
    return file.pack(encode(card), sections, numbers)


def read_program(path: Path, card: Card) -> bytes:
    """The bytes of a file that says beside its card what the card says. Raises PlifError for another."""
    return require_same(path, read_regular(path, file.EXPECTED), card)


def require_same(path: Path, data: bytes, card: Card) -> bytes:
    said = plif_of(path, data).facts
    if said != facts_of(card):
        raise PlifError(f"{path}: says {said} beside its card, which says otherwise; export it again")
    return data
