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
from typing import TypeAlias

import numpy as np

from runtime.base.errors import PlifError
from runtime.model.card import Card

BACKENDS = ("onnxruntime", "tensorrt", "python")
INITIAL = "initial_state"  # Triton's name of the folder for data files
Field: TypeAlias = "str | int | list[int] | PbMessage"


class PbMessage(list["tuple[str, Field]"]):
    """The fields of a protobuf message, in order, repeated ones repeated."""

    def all(self, key: str) -> list[Field]:
        return [value for name, value in self if name == key]

    def messages(self, key: str) -> list[PbMessage]:
        return [value for value in self.all(key) if isinstance(value, PbMessage)]


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
    waiting = PbMessage(
        [("max_candidate_sequences", serving.sequences), ("max_queue_delay_microseconds", serving.delay_us)]
    )
    batching = PbMessage([("max_sequence_idle_microseconds", round(1e6 * serving.idle_s)), ("oldest", waiting)])
    if keeps:
        batching += [("state", _state(state)) for state in card["states"]]
    fields = PbMessage([("name", name), ("backend", serving.backend)])
    if serving.backend == "tensorrt":
        fields.append(("platform", "tensorrt_plan"))
    output = PbMessage([*_tensor("y", [len(card["classes"])]), ("label_filename", "labels.txt")])
    fields += [
        ("max_batch_size", serving.max_batch),
        ("input", _tensor(card["graph"]["input"], card["input"]["shape"])),
        ("output", output),
        ("sequence_batching", batching),
    ]
    if not keeps:  # one process has the membranes
        fields.append(("instance_group", PbMessage([("count", 1), ("kind", Word("KIND_CPU"))])))
    return "\n".join(_lines(fields)) + "\n"


def _tensor(name: str, shape: list[int]) -> PbMessage:
    return PbMessage([("name", name), ("data_type", Word("TYPE_FP32")), ("dims", list(shape))])


def _state(state: Card) -> PbMessage:
    kind: list[tuple[str, Field]] = [("data_type", Word("TYPE_FP32")), ("dims", list(state["shape"]))]
    start: tuple[str, Field] = ("zero_data", True) if state["initial"] == 0 else ("data_file", state["name"])
    initial = PbMessage([("name", f"{state['name']}.initial"), *kind, start])
    ends: list[tuple[str, Field]] = [("input_name", state["input"]), ("output_name", state["output"])]
    return PbMessage([*ends, *kind, ("initial_state", initial)])


def initial_files(card: Card) -> dict[str, bytes]:
    """The files that start states which do not start at 0: name -> float32, little-endian."""
    return {
        state["name"]: np.full(state["shape"], state["initial"], "<f4").tobytes()
        for state in card["states"]
        if state["initial"] != 0
    }


def _lines(message: PbMessage, indent: str = "") -> Iterator[str]:
    for key, value in message:
        if isinstance(value, PbMessage) and value:
            yield f"{indent}{key} {{"
            yield from _lines(value, indent + "  ")
            yield f"{indent}}}"
        else:
            yield f"{indent}{key}: {_value(value)}"


def _value(value: Field) -> str:
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


def parse(text: str, where: str) -> PbMessage:
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


def _message(tokens: list[tuple[str, str, int]], at: int, where: str) -> tuple[PbMessage, int]:
    fields = PbMessage()
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


def _values(tokens: list[tuple[str, str, int]], at: int, where: str, line: int) -> tuple[list[Field], int]:
    """One value, or those of a list; numbers of a list become one list again, as `dims` is written."""
    if at >= len(tokens) or tokens[at][1] != "[":
        value, at = _one(tokens, at, where, line)
        return [value], at
    at += 1
    values: list[Field] = []
    while at < len(tokens) and tokens[at][1] != "]":
        value, at = _one(tokens, at, where, line)
        values.append(value)
        at += int(at < len(tokens) and tokens[at][1] == ",")
    if at >= len(tokens):
        raise PlifError(f"{where}: line {line}: a [ is not closed")
    numbers = [value for value in values if isinstance(value, int)]
    return ([numbers] if len(numbers) == len(values) else values), at + 1


def _one(tokens: list[tuple[str, str, int]], at: int, where: str, line: int) -> tuple[Field, int]:
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
        if found.all(key) != wanted.all(key):
            yield "config", f"its {key} is {_shown(found.all(key))}; the card gives {_shown(wanted.all(key))}"
    if not any(isinstance(size, int) and size > 0 for size in found.all("max_batch_size")[:1]):
        yield "config", "its max_batch_size is below 1, and the first axis of every tensor is the batch"
    batching, expected = ((m.messages("sequence_batching") or [PbMessage()])[0] for m in (found, wanted))
    if not batching:
        yield "config", "it has no sequence_batching, so nothing keeps the membranes"
    states = {str((s.all("input_name") or ["?"])[0]): s for s in batching.messages("state")}
    layers = {state["input"]: state["layer"] for state in card["states"]}
    for state in expected.messages("state"):
        name = str(state.all("input_name")[0])
        if sorted(map(str, states.pop(name, PbMessage()))) != sorted(map(str, state)):
            yield layers[name], f"the state block of {name} is missing, or not what the card gives"
    for name in states:
        yield "config", f"it has a state block of {name}, which the card does not have"
    files = initial_files(card) if expected.messages("state") else {}
    for name, content in files.items():
        file = folder / INITIAL / name
        if not file.is_file() or file.read_bytes() != content:
            yield next(s["layer"] for s in card["states"] if s["name"] == name), f"{INITIAL}/{name} is not its start"


def _shown(values: list[Field]) -> str:
    return " ".join(str(values[0] if len(values) == 1 else values).split())[:80] if values else "missing"
