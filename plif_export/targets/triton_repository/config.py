"""The config.pbtxt of a Triton model with one sequence for each stream.

It has one `state` block for each state of the card: Triton keeps the tensor for every sequence and starts it from
`initial_state`. Without one the first step would read uninitialised memory. All dims leave the batch axis out.
Source: Triton's docs/user_guide/implicit_state_management.md and protobuf/model_config.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from runtime.core.model.card import Card

BACKENDS = ("onnxruntime", "tensorrt", "python")
INITIAL = "initial_state"  # Triton's name of the folder for data files
Field: TypeAlias = "str | int | list[int] | PbMessage"


class PbMessage(list["tuple[str, Field]"]):
    """A protobuf message to write as text: its fields in order, repeated ones repeated."""


class EnumName(str):
    """The name of an enum member in a protobuf text, which is written without quotes."""


@dataclass(frozen=True)
class ServingOptions:
    """The options (`--set`) of how Triton serves an exported model.

    idle_s: Triton drops a sequence after so many seconds without a request; engine: of the backend python, "" for the
    fastest one on the server
    """

    backend: str = "onnxruntime"
    max_batch: int = 8
    sequences: int = 64
    idle_s: float = 60.0
    delay_us: int = 500
    engine: str = ""


def format_config(card: Card, name: str, serving: ServingOptions) -> str:
    """Return the text of config.pbtxt, the configuration of a Triton model."""
    triton_keeps_state = (
        serving.backend != "python"
    )  # the python backend silently ignores `state`, so model.py keeps the membranes
    oldest = PbMessage(
        [("max_candidate_sequences", serving.sequences), ("max_queue_delay_microseconds", serving.delay_us)]
    )
    batching = PbMessage([("max_sequence_idle_microseconds", round(1e6 * serving.idle_s)), ("oldest", oldest)])
    if triton_keeps_state:
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
    if (
        not triton_keeps_state or "flush_denormals" in card
    ):  # the membranes are in one process; a GPU may flush subnormal numbers
        count: list[tuple[str, Field]] = [] if triton_keeps_state else [("count", 1)]
        fields.append(("instance_group", PbMessage([*count, ("kind", EnumName("KIND_CPU"))])))
    if serving.engine and not triton_keeps_state:
        value = PbMessage([("string_value", serving.engine)])
        fields.append(("parameters", PbMessage([("key", "engine"), ("value", value)])))
    return "\n".join(_lines(fields)) + "\n"


def _tensor(name: str, shape: list[int]) -> PbMessage:
    return PbMessage([("name", name), ("data_type", EnumName("TYPE_FP32")), ("dims", list(shape))])


def _state(state: Card) -> PbMessage:
    kind: list[tuple[str, Field]] = [("data_type", EnumName("TYPE_FP32")), ("dims", list(state["shape"]))]
    start: tuple[str, Field] = ("zero_data", True) if state["initial"] == 0 else ("data_file", state["name"])
    initial = PbMessage([("name", f"{state['name']}.initial"), *kind, start])
    ends: list[tuple[str, Field]] = [("input_name", state["input"]), ("output_name", state["output"])]
    return PbMessage([*ends, *kind, ("initial_state", initial)])


def initial_state_files(card: Card) -> dict[str, bytes]:
    """Return the files of a Triton model's initial states other than 0: name -> float32 bytes, little-endian."""
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
    if isinstance(value, EnumName):
        return value
    if isinstance(value, str):
        escaped = value.encode("unicode_escape").decode().replace('"', '\\"')
        return f'"{escaped}"'
    return str(value).lower() if isinstance(value, bool) else str(value)
