"""config.pbtxt of a Triton model with one sequence for each stream: how it is written, parsed, and compared with a card.

One `state` block for each state of the card: Triton keeps the tensor for every sequence and starts it from `initial_state`.
Without one the first step would see uninitialised memory. All dims leave the batch axis out.
Source: Triton's docs/user_guide/implicit_state_management.md and protobuf/model_config.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.model.card import Card

BACKENDS = ("onnxruntime", "tensorrt", "python")
INITIAL = "initial_state"  # Triton's name of the folder for data files
Message = list[tuple[str, Any]]  # fields of a protobuf message, in order, repeated ones repeated


class Word(str):
    """A value without quotes: the name of an enum's member."""


@dataclass(frozen=True)
class ServingOptions:
    """What `--set` says about serving. idle_s: Triton forgets a sequence that long without a request."""

    backend: str = "onnxruntime"
    max_batch: int = 8
    sequences: int = 64
    idle_s: float = 60.0
    delay_us: int = 500


def config(card: Card, name: str, serving: ServingOptions) -> str:
    """The text of config.pbtxt."""
    keeps = serving.backend != "python"  # that backend silently ignores `state`, so model.py keeps the membranes
    batching: Message = [
        ("max_sequence_idle_microseconds", round(1e6 * serving.idle_s)),
        (
            "oldest",
            [("max_candidate_sequences", serving.sequences), ("max_queue_delay_microseconds", serving.delay_us)],
        ),
    ]
    if keeps:
        batching += [("state", _state(state)) for state in card["states"]]
    fields: Message = [("name", name), ("backend", serving.backend)]
    if serving.backend == "tensorrt":
        fields.append(("platform", "tensorrt_plan"))
    fields += [
        ("max_batch_size", serving.max_batch),
        ("input", [*_tensor(card["graph"]["input"], card["input"]["shape"])]),
        ("output", [*_tensor("y", [len(card["classes"])]), ("label_filename", "labels.txt")]),
        ("sequence_batching", batching),
    ]
    if not keeps:
        fields.append(("instance_group", [("count", 1), ("kind", Word("KIND_CPU"))]))  # one process has the membranes
    return "\n".join(_lines(fields)) + "\n"


def _tensor(name: str, shape: list[int]) -> Message:
    return [("name", name), ("data_type", Word("TYPE_FP32")), ("dims", list(shape))]


def _state(state: dict[str, Any]) -> Message:
    kind: Message = [("data_type", Word("TYPE_FP32")), ("dims", list(state["shape"]))]
    start: tuple[str, Any] = ("zero_data", True) if state["initial"] == 0 else ("data_file", state["name"])
    return [
        ("input_name", state["input"]),
        ("output_name", state["output"]),
        *kind,
        ("initial_state", [("name", f"{state['name']}.initial"), *kind, start]),
    ]


def initial_files(card: Card) -> dict[str, bytes]:
    """The files that start states which do not start at 0: name -> float32, little-endian."""
    return {
        state["name"]: np.full(state["shape"], state["initial"], "<f4").tobytes()
        for state in card["states"]
        if state["initial"] != 0
    }


def _lines(message: Message, indent: str = "") -> Iterator[str]:
    for key, value in message:
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            yield f"{indent}{key} {{"
            yield from _lines(value, indent + "  ")
            yield f"{indent}}}"
        else:
            yield f"{indent}{key}: {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Word):
        return value
    if isinstance(value, str):
        escaped = value.encode("unicode_escape").decode().replace('"', '\\"')
        return f'"{escaped}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- read again ---------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<word>[A-Za-z0-9_.+-]+)|(?P<sign>[{}\[\]:,;])"""
)


def parse(text: str, where: str) -> Message:
    """The fields of a protobuf text message. Raises PlifError with the line for what is none."""
    tokens: list[tuple[str, str, int]] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        line = text.count("\n", 0, at) + 1
        if found is None:
            raise PlifError(f"{where}: line {line}: {text[at : at + 20]!r} is not protobuf text")
        if found.lastgroup is not None:
            tokens.append((found.lastgroup, found.group(), line))
        at = found.end()
    message, rest = _message(tokens, 0, where)
    if rest != len(tokens):
        raise PlifError(f"{where}: line {tokens[rest][2]}: a '{tokens[rest][1]}' too many")
    return message


def _message(tokens: list[tuple[str, str, int]], at: int, where: str) -> tuple[Message, int]:
    fields: Message = []
    while at < len(tokens) and tokens[at][1] != "}":
        kind, name, line = tokens[at]
        if kind != "word":
            raise PlifError(f"{where}: line {line}: found {name}; expected the name of a field")
        at += 1
        if at < len(tokens) and tokens[at][1] == ":":
            at += 1
        values, at = _values(tokens, at, where, line)
        fields += [(name, value) for value in values]
        while at < len(tokens) and tokens[at][1] in ",;":
            at += 1
    return fields, at


def _values(tokens: list[tuple[str, str, int]], at: int, where: str, line: int) -> tuple[list[Any], int]:
    """One value, or those of a list; numbers of a list become one list again, as `dims` is written."""
    if at < len(tokens) and tokens[at][1] == "[":
        at += 1
        values: list[Any] = []
        while at < len(tokens) and tokens[at][1] != "]":
            value, at = _one(tokens, at, where, line)
            values.append(value)
            at += int(at < len(tokens) and tokens[at][1] == ",")
        if at >= len(tokens):
            raise PlifError(f"{where}: line {line}: a [ is not closed")
        return (values if values and isinstance(values[0], list) else [values]), at + 1
    value, at = _one(tokens, at, where, line)
    return [value], at


def _one(tokens: list[tuple[str, str, int]], at: int, where: str, line: int) -> tuple[Any, int]:
    if at >= len(tokens):
        raise PlifError(f"{where}: line {line}: a value is missing")
    kind, text, _ = tokens[at]
    if text == "{":
        message, at = _message(tokens, at + 1, where)
        if at >= len(tokens):
            raise PlifError(f"{where}: line {line}: a {{ is not closed")
        return message, at + 1
    if kind == "string":
        return text[1:-1].encode().decode("unicode_escape"), at + 1
    if kind != "word":
        raise PlifError(f"{where}: line {line}: found {text}; expected a value")
    return int(text) if re.fullmatch(r"-?\d+", text) else {"true": True, "false": False}.get(text, Word(text)), at + 1


def faults(folder: Path, card: Card, backend: str) -> Iterator[tuple[str, str]]:
    """Where a model's folder differs from the card: (layer or "config", what).

    How the model is served (batch, sequences, times) is the user's choice and is not compared.
    """
    where = folder / "config.pbtxt"
    try:
        found = parse(where.read_text("utf-8"), str(where))
    except (OSError, UnicodeDecodeError):
        raise PlifError(f"{where}: cannot be read; export it again") from None
    wanted = parse(config(card, folder.name, ServingOptions(backend)), "the card")
    for key in ("name", "backend", "platform", "input", "output"):
        if _all(found, key) != _all(wanted, key):
            yield "config", f"its {key} is {_shown(_all(found, key))}; the card gives {_shown(_all(wanted, key))}"
    if (_all(found, "max_batch_size") or [0])[0] < 1:
        yield "config", "its max_batch_size is below 1, and the first axis of every tensor is the batch"
    batching, expected = ((_all(m, "sequence_batching") or [[]])[0] for m in (found, wanted))
    if not batching:
        yield "config", "it has no sequence_batching, so nothing keeps the membranes"
    states = {str((_all(s, "input_name") or ["?"])[0]): s for s in _all(batching, "state")}
    layers = {state["input"]: state["layer"] for state in card["states"]}
    for state in _all(expected, "state"):
        name = _all(state, "input_name")[0]
        if sorted(map(str, states.pop(name, []))) != sorted(map(str, state)):
            yield layers[name], f"the state block of {name} is missing, or not what the card gives"
    for name in states:
        yield "config", f"it has a state block of {name}, which the card does not have"
    files = initial_files(card) if _all(expected, "state") else {}
    for name, content in files.items():
        file = folder / INITIAL / name
        if not file.is_file() or file.read_bytes() != content:
            yield next(s["layer"] for s in card["states"] if s["name"] == name), f"{INITIAL}/{name} is not its start"


def _all(message: Message, key: str) -> list[Any]:
    return [value for name, value in message if name == key]


def _shown(values: list[Any]) -> str:
    return " ".join(str(values[0] if len(values) == 1 else values).split())[:80] if values else "missing"
