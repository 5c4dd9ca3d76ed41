"""NAME:VALUE,NAME=VALUE,...: the grammar of options that hold several settings, read by one parser.

    text  = item {"," item}                 spaces around an item, a name and a value mean nothing
    item  = NAME | NAME mark VALUE          mark: "=" or ":", one of them in all of a text

A reader makes a value of its text, and says in a ValueError what it expected. A refusal says where, found and expected:

    read_items("--vary", "mirror:2", {"mirror": number(0, 1), "stretch": span}, mark=":")
    PlifError: --vary mirror:2: 'mirror:2', expected mirror:NUMBER from 0 to 1

Beside it what is no list: WIDTHxHEIGHT, HOST:PORT, and the ?NAME=VALUE&... of a data set or a source. The notation of
networks (runtime/core/model/notation.py) and the rules of a stream (libplif) have grammars of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from runtime.core.base.errors import PlifError

Reader = Callable[[str], Any]

WORDS = {"none": None, "null": None, "true": True, "false": False}
LONGEST = 65536  # pixels a side: coordinates are uint16


def read_items(
    where: str, text: str, readers: Mapping[str, Reader] | Reader, *, mark: str = "=", example: str = ""
) -> dict[str, Any]:
    """ "a=1, b=x" -> {"a": 1.0, "b": "x"}, each name once. readers: of the names that are known, or one for any name."""
    found: dict[str, Any] = {}
    for item in text.split(","):
        name, marked, value = (part.strip() for part in item.partition(mark))
        if isinstance(readers, Mapping) and name not in readers:
            raise PlifError(f"{where} {text}: '{item.strip()}', expected {', '.join(readers)}{_as_in(example)}")
        if name in found:
            raise PlifError(f"{where} {text}: '{name}' stands there twice, expected it once")
        if not (name and marked and value):
            raise PlifError(f"{where} {text}: '{item.strip()}', expected NAME{mark}VALUE{_as_in(example)}")
        try:
            found[name] = (readers[name] if isinstance(readers, Mapping) else readers)(value)
        except ValueError as wrong:
            raise PlifError(f"{where} {text}: '{item.strip()}', expected {name}{mark}{wrong}") from None
    return found


def read_list(where: str, text: str, reader: Reader = str, *, example: str = "") -> tuple[Any, ...]:
    """ "1, 2" -> (1, 2); no part may be empty."""
    parts = [part.strip() for part in text.split(",")]
    try:
        if not all(parts):
            raise ValueError("something between the commas")
        return tuple(reader(part) for part in parts)
    except ValueError as wrong:
        raise PlifError(f"{where} {text}: expected {wrong}{_as_in(example)}") from None


def _as_in(example: str) -> str:
    return f", as in {example}" if example else ""


def number_or_word(text: str) -> str | float | bool | None:
    """ "none" -> None, "true" -> True, "1e-3" -> 0.001; else the text."""
    try:
        return WORDS[text.lower()] if text.lower() in WORDS else float(text)
    except ValueError:
        return text


def word_of(kinds: Any, expected: str) -> Reader:
    """Reads what number_or_word does, of these classes alone."""

    def read(text: str) -> object:
        value = number_or_word(text)
        if not isinstance(value, kinds):
            raise ValueError(expected)
        return value

    return read


def number(low: float, high: float = 1e6) -> Reader:
    """Reads a plain number, 0.5, from `low` to `high`."""

    def read(text: str) -> float:
        if not re.fullmatch(r"\d{1,6}(\.\d{1,9})?", text) or not low <= float(text) <= high:
            raise ValueError(f"NUMBER from {low:g} to {high:g}" if high < 1e6 else f"NUMBER from {low:g} on")
        return float(text)

    return read


def span(text: str) -> tuple[float, float]:
    """ "0.7-1.5" -> (0.7, 1.5)"""
    low, _, high = text.partition("-")
    try:
        ends = number(0)(low), number(0)(high)
    except ValueError:
        ends = 0.0, 0.0
    if not 0 < ends[0] <= ends[1]:
        raise ValueError("LOW-HIGH, rising numbers above 0, such as 0.7-1.5")
    return ends


def whole(low: int, high: int | None = None) -> Reader:
    """Reads a whole number from `low` to `high`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= (high or int(text))):
            raise ValueError(f"a whole number from {low} {'on' if high is None else f'to {high}'}")
        return int(text)

    return read


def word(*choices: str) -> Reader:
    """Reads one of these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(" or ".join(choices))
        return text

    return read


def read_query(where: str, query: str, readers: Mapping[str, Reader], example: str) -> dict[str, Any]:
    """ "seed=7&look=faint", as behind the ? of a URL -> {"seed": 7, "look": "faint"}, each name once."""
    pairs = parse_qsl(query, keep_blank_values=True)
    found: dict[str, Any] = {}
    wrong = sorted({name for name, _ in pairs} - set(readers))
    if wrong or (query and len(dict(pairs)) != query.count("&") + 1):
        names = ", ".join(f"{name}=" for name in readers)
        what = wrong[0] if wrong else query
        raise PlifError(f"{where}: '{what}' is not understood; expected {names} each once, as in {example}")
    for name, value in pairs:
        try:
            found[name] = readers[name](value)
        except ValueError as expected:
            raise PlifError(f"{where}: {name}='{value}', expected {expected}") from None
    return found


class SetSpec(NamedTuple):
    """NAME:DIR?OPTIONS, which names a data set: place is all behind the name, query None where there is no "?"."""

    name: str
    place: str
    folder: str
    query: str | None


def parse_set(text: str) -> SetSpec:
    """Any text is one; whether there is such a set, runtime.core.data says. A shell leaves the ~ in NAME:~/DIR as it is."""
    name, _, place = text.partition(":")
    place = os.path.expanduser(place)
    folder, mark, query = place.partition("?")
    return SetSpec(name, place, folder, query if mark else None)


def parse_size(where: str, text: str) -> tuple[int, int]:
    """'346x260' -> (346, 260). PlifError when the text is no size; the message begins with `where`, e.g. "--sensor big"."""
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text.lower())
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(1 <= side <= LONGEST for side in size):
        raise PlifError(f"{where}: expected WIDTHxHEIGHT, e.g. 346x260, with both from 1 to {LONGEST}")
    return size


def parse_address(where: str, text: str, example: str, host: str = "", least_port: int = 1) -> tuple[str, int]:
    """HOST:PORT -> (host, port), an IPv6 address without its brackets. host: where the text is a port alone."""
    name, colon, port = text.rpartition(":")
    name = name.removeprefix("[").removesuffix("]") if colon else host
    if not name or "/" in name or not re.fullmatch("[0-9]{1,5}", port) or not least_port <= int(port) <= 65535:
        raise PlifError(f"{where} {text}: expected {example}")
    return name, int(port)
