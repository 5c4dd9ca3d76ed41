"""The specification reads the lines of framing, decisions and resets as the product does, thousands of right and wrong ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
import pytest

from runtime.native.rules import read_framing
from tests.specification import decide, framing, reset
from tests.specification.lines import EDGES, Words
from tests.specification.subject import Subject
from tests.specification.text import Refused

GRAMMARS: dict[str, Callable[[str], Any]] = {"framing": framing.parse, "decide": decide.parse, "reset": reset.parse}


@cache
def lines(grammar: str, seed: int) -> list[tuple[str, dict[str, Any] | None]]:
    """Random lines, and what the specification reads in them."""
    words, found = Words(np.random.default_rng(seed)), list[tuple[str, dict[str, Any] | None]]()
    for line in [getattr(words, grammar)() for _ in range(6000)] + ["", *EDGES.split()]:
        try:
            found.append((line, asdict(GRAMMARS[grammar](line))))
        except Refused:
            found.append((line, None))
    return found


@pytest.mark.parametrize(
    ("grammar", "seed"), [("framing", 0), ("framing", 1), ("decide", 0), ("decide", 1), ("reset", 3)]
)
def test_a_line_says_what_the_specification_reads_in_it(subject: Subject, grammar: str, seed: int) -> None:
    right: Counter[str] = Counter()
    for line, expected in lines(grammar, seed):
        assert subject.read(grammar, line) == expected, line  # to the last bit
        right[expected["kind"] if expected else "refused"] += 1
    assert len(right) == {"decide": 6}.get(grammar, 5) and 200 < right.total() - right["refused"] < right.total() - 200


@pytest.mark.parametrize("native", (False, True))
def test_auto_is_what_the_specification_makes_of_it_for_a_network(native: bool) -> None:
    for line, said in lines("framing", 0):
        if said is not None:
            expected = asdict(framing.settled(framing.Framing(**said), native))
            assert {name: value or 0 for name, value in read_framing(line, native).items()} == expected, line
