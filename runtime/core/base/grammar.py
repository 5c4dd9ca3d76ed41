"""Parsers for option values with several settings: NAME:VALUE,NAME=VALUE,...

    text  = item {"," item}                 spaces around an item, a name and a value mean nothing
    item  = NAME | NAME mark VALUE          mark: "=" or ":", the same one in the whole text

A parser turns text into a value, and raises a ValueError that says which text it expected. A refusal names the
option, the text and the expected form:

    parse_items("--vary", "mirror:2", {"mirror": number_parser(0, 1), "stretch": parse_range}, mark=":")
    PlifError: --vary mirror:2: 'mirror:2', expected mirror:NUMBER from 0 to 1

Further parsers here read WIDTHxHEIGHT, HOST:PORT, and the ?NAME=VALUE&... of a data set or a source. The notation of
networks (runtime/core/model/notation.py) and the rules of a stream (libplif) have grammars of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from runtime.core.base.errors import PlifError

Parser = Callable[[str], Any]

CONSTANTS = {"none": None, "null": None, "true": True, "false": False}
MAX_SIDE = 65536  # pixels a side: coordinates are uint16


def parse_items(
    option: str, text: str, parsers: Mapping[str, Parser] | Parser, *, mark: str = "=", example: str = ""
) -> dict[str, Any]:
    """Parse NAME=VALUE settings: "a=1, b=x" becomes {"a": 1.0, "b": "x"}; each name occurs once.

    parsers  {name: its parser}, or one parser for any name
    mark     the sign between a name and its value
    """
    values: dict[str, Any] = {}
    for setting in text.split(","):
        name, sign, value = (part.strip() for part in setting.partition(mark))
        if isinstance(parsers, Mapping) and name not in parsers:
            raise PlifError(
                f"{option} {text}: '{setting.strip()}', expected {', '.join(parsers)}{_format_example(example)}"
            )
        if name in values:
            raise PlifError(f"{option} {text}: '{name}' stands there twice, expected it once")
        if not (name and sign and value):
            raise PlifError(f"{option} {text}: '{setting.strip()}', expected NAME{mark}VALUE{_format_example(example)}")
        try:
            values[name] = (parsers[name] if isinstance(parsers, Mapping) else parsers)(value)
        except ValueError as wrong:
            raise PlifError(f"{option} {text}: '{setting.strip()}', expected {name}{mark}{wrong}") from None
    return values


def parse_list(option: str, text: str, parse: Parser = str, *, example: str = "") -> tuple[Any, ...]:
    """Parse a list of values between commas: "1, 2" becomes (1, 2); refuse an empty element."""
    parts = [part.strip() for part in text.split(",")]
    try:
        if not all(parts):
            raise ValueError("something between the commas")
        return tuple(parse(part) for part in parts)
    except ValueError as wrong:
        raise PlifError(f"{option} {text}: expected {wrong}{_format_example(example)}") from None


def _format_example(example: str) -> str:
    return f", as in {example}" if example else ""


def parse_scalar(text: str) -> str | float | bool | None:
    """Parse a setting: "none" becomes None, "true" True, "1e-3" 0.001; other text stays text."""
    try:
        return CONSTANTS[text.lower()] if text.lower() in CONSTANTS else float(text)
    except ValueError:
        return text


def scalar_parser(types: Any, expected: str) -> Parser:
    """Return a parser of settings (see parse_scalar) that refuses values of other Python types than the given ones."""

    def read(text: str) -> object:
        value = parse_scalar(text)
        if not isinstance(value, types):
            raise ValueError(expected)
        return value

    return read


def number_parser(low: float, high: float = 1e6) -> Parser:
    """Return a parser of plain decimal numbers, such as 0.5, from `low` to `high`."""

    def read(text: str) -> float:
        if not re.fullmatch(r"\d{1,6}(\.\d{1,9})?", text) or not low <= float(text) <= high:
            raise ValueError(f"NUMBER from {low:g} to {high:g}" if high < 1e6 else f"NUMBER from {low:g} on")
        return float(text)

    return read


def parse_range(text: str) -> tuple[float, float]:
    """Parse a range of positive numbers: "0.7-1.5" becomes (0.7, 1.5)."""
    low, _, high = text.partition("-")
    try:
        ends = number_parser(0)(low), number_parser(0)(high)
    except ValueError:
        ends = 0.0, 0.0
    if not 0 < ends[0] <= ends[1]:
        raise ValueError("LOW-HIGH, rising numbers above 0, such as 0.7-1.5")
    return ends


def integer_parser(low: int, high: int | None = None) -> Parser:
    """Return a parser of integers from `low` to `high`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= (high or int(text))):
            raise ValueError(f"a whole number from {low} {'on' if high is None else f'to {high}'}")
        return int(text)

    return read


def choice_parser(*choices: str) -> Parser:
    """Return a parser that accepts one of the given words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(" or ".join(choices))
        return text

    return read


def parse_query(context: str, query: str, parsers: Mapping[str, Parser], example: str) -> dict[str, Any]:
    """Parse the query of a URL: "seed=7&look=faint" becomes {"seed": 7, "look": "faint"}, each name once."""
    pairs = parse_qsl(query, keep_blank_values=True)
    values: dict[str, Any] = {}
    wrong = sorted({name for name, _ in pairs} - set(parsers))
    if wrong or (query and len(dict(pairs)) != query.count("&") + 1):
        names = ", ".join(f"{name}=" for name in parsers)
        problem = wrong[0] if wrong else query
        raise PlifError(f"{context}: '{problem}' is not understood; expected {names} each once, as in {example}")
    for name, value in pairs:
        try:
            values[name] = parsers[name](value)
        except ValueError as expected:
            raise PlifError(f"{context}: {name}='{value}', expected {expected}") from None
    return values


class DatasetAddress(NamedTuple):
    """The parts of a data set's address NAME:DIR?OPTIONS.

    place  all text after NAME:
    query  the text after the "?"; None if there is no "?"
    """

    name: str
    place: str
    folder: str
    query: str | None


def parse_dataset_address(text: str) -> DatasetAddress:
    """Split a data set's address NAME:DIR?OPTIONS into its parts; any text is accepted.

    runtime.core.data refuses unknown names. A shell leaves the ~ in NAME:~/DIR, so it is expanded here.
    """
    name, _, place = text.partition(":")
    place = os.path.expanduser(place)
    folder, mark, query = place.partition("?")
    return DatasetAddress(name, place, folder, query if mark else None)


def parse_size(context: str, text: str) -> tuple[int, int]:
    """Parse WIDTHxHEIGHT in pixels: "346x260" becomes (346, 260).

    context  the start of the message of a PlifError, such as "--sensor big"
    """
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text.lower())
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise PlifError(f"{context}: expected WIDTHxHEIGHT, e.g. 346x260, with both from 1 to {MAX_SIDE}")
    return size


def parse_address(option: str, text: str, example: str, host: str = "", least_port: int = 1) -> tuple[str, int]:
    """Parse HOST:PORT into (host, port); an IPv6 address loses its brackets.

    host  the host where the text is a port alone
    """
    name, colon, port = text.rpartition(":")
    name = name.removeprefix("[").removesuffix("]") if colon else host
    if not name or "/" in name or not re.fullmatch("[0-9]{1,5}", port) or not least_port <= int(port) <= 65535:
        raise PlifError(f"{option} {text}: expected {example}")
    return name, int(port)
