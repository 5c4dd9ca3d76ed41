"""The facts of a .plif file for programs without a JSON reader, and the replacement of its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.artifacts.plif_file import file
from runtime.artifacts.plif_file.program import Facts, State, hash_contents, parse_plif
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.events.framing import is_native
from runtime.core.model.card import Card, encode_card, get_decide_rule, get_exit_margin
from runtime.core.model.digest import write_digest
from runtime.core.model.grids import GRIDS
from runtime.core.model.records import to_map_shape

MOST_TEXT = 4096  # bytes of a name or a framing


def encode_strings(facts: Facts, context: str | Path) -> bytes:
    """Encode the section `strings` (names and rules) of a .plif file from its facts."""
    rule = [facts.decide] if facts.decide else []
    encoded = [
        text.encode() for text in (facts.framing, *facts.classes, *(state.name for state in facts.states), *rule)
    ]
    if any(b"\0" in text or len(text) > MOST_TEXT for text in encoded):
        raise PlifError(f"{context}: a class, a state or the framing has a zero byte in its name; rename it")
    return b"".join(text + b"\0" for text in encoded)


def collect_facts(card: Card) -> Facts:
    """Collect the facts of a network that a .plif file repeats in addition to its card."""
    return Facts(
        shape=tuple(card["input"]["shape"]),
        classes=tuple(card["classes"]),
        voters=int(card["output"].get("voters", 1)),
        T=int(card["T"]),
        static=card["input"]["kind"] == "static",
        int8=card["precision"] in GRIDS,
        framing=card["framing"] or "",
        upright=card.get("view") is not None,
        decide=get_decide_rule(card) or "",
        exit=encode_exit(card),
        native=is_native(card),
        keeps=card.get("flush_denormals") is False,
        states=tuple(
            State(state["name"], to_map_shape(state["shape"]), float(np.float32(state["initial"])))
            for state in card["states"]
        ),
    )


def encode_exit(card: Card) -> int:
    """Return the margin of an early exit in billionths, as written in the rule `sum,exit=`; 0 for no early exit."""
    margin = get_exit_margin(card)
    return 0 if margin is None else max(1, min(round(1e9 * margin), (1 << 31) - 1))


def replace_card(artifact: Path, card: Card) -> bytes:
    """Replace the card of a .plif file; return the bytes of the new file, with a new digest.

    The cards may differ in `exit` or `decide`.
    """
    sections, numbers = file.split_file(artifact, read_regular(artifact, file.EXPECTED))
    del sections["card"]
    facts = dict(zip(file.FACTS, numbers, strict=True))
    new_facts = collect_facts(card)
    sections["strings"] = encode_strings(new_facts, artifact)
    numbers = tuple({**facts, "exit": new_facts.exit, "decide": int(bool(new_facts.decide))}.values())
    write_digest(card, hash_contents(artifact, sections, numbers))
    return file.pack_file(encode_card(card), sections, numbers)


def read_program(path: Path, card: Card) -> bytes:
    """Read the program in a .plif file; refuse a file with other facts than its card."""
    return check_facts(path, read_regular(path, file.EXPECTED), card)


def check_facts(path: Path, data: bytes, card: Card) -> bytes:
    facts = parse_plif(path, data).facts
    if facts != collect_facts(card):
        raise PlifError(f"{path}: says {facts} beside its card, which says otherwise; export it again")
    return data
