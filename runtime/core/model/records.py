"""What the JSON of a card says, key by key. card.py holds a card against this, and docs/schemas/card.json is made of it; to add a
key, say it here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

Form = Literal["step", "unrolled", "loop"]
Output = Literal["votes", "spikes", "currents", "membrane"]


class InputRecord(TypedDict):
    """One step of the input.

    shape   [C, H, W], without the batch; of networks of other libraries also other ones
    """

    kind: Literal["events", "static"]
    shape: list[int]


class NormalisationRecord(TypedDict):
    """What is subtracted from each channel of an image, and by what it is then divided."""

    mean: list[float]
    std: list[float]


class DigestRecord(TypedDict):
    """runtime/core/model/digest.py.

    sha256  of all parts;  parts: the SHA-256 of each
    """

    sha256: str
    parts: dict[str, str]


class CardRecord(TypedDict):
    """What both kinds of card say.

    T               time-steps of a sample
    classes         in the order of the outputs
    framing         how events become frames; null for still images
    normalisation   of still images, else null
    versions        of the libraries that made the file
    """

    format: str
    format_version: int
    input: InputRecord
    T: int
    classes: list[str]
    framing: str | None
    normalisation: NormalisationRecord | None
    versions: dict[str, str]


class MayBeInCard(TypedDict, total=False):
    """What a card of either kind may say.

    view        pictures were turned upright in training
    sensor      [width, height] of the recordings of its training, where all had the same
    decide      by which `rule` feeds without an end are decided, and what that was found on
    trained_on  size, rate, polarity and events a pixel of the recordings of its training
    """

    view: Literal["upright"]
    sensor: list[int]
    decide: dict[str, object]
    trained_on: dict[str, object]


class ModelCard(CardRecord, MayBeInCard):
    """Of a model.pt.

    notation  the layers;  options: of its neurons and of its training
    training  what the training recorded, or null
    """

    notation: str
    options: dict[str, object]
    training: dict[str, object] | None


class NodeRecord(TypedDict):
    """A node of a card's `graph`; params: {name: the tensor of the file}."""

    name: str
    op: str
    inputs: list[str]
    shape: list[int]
    attrs: dict[str, Any]
    params: dict[str, str]


class GraphRecord(TypedDict):
    """A card's `graph`."""

    input: str
    output: str
    hoisted: list[str]
    nodes: list[NodeRecord]


class StateRecord(TypedDict):
    """One of a card's `states`: a tensor in, and one out."""

    name: str
    input: str
    output: str
    shape: list[int]
    dtype: str
    initial: float
    layer: str
    variable: str  # of the layer: "v" for the membrane, "i" for a current, ...


class _Output(TypedDict):
    kind: Output


class OutputRecord(_Output, total=False):
    """What y is.

    voters  neurons that vote for a class
    shape   without the batch, where y is a map and not one number for each class
    """

    voters: int
    shape: list[int]


class _Parity(TypedDict):
    passed: bool
    steps: int
    streams: int
    spikes: int
    spike_mismatches: int
    excused: int
    max_abs_dv: float
    free_running_mismatches: int
    decisions: int
    decisions_changed: int
    untested: list[str]
    not_proved: list[str]


class ParityRecord(_Parity, total=False):
    """What `plif verify --json` says of the proof on the day of the export. With rounded weights also:

    rounding_mismatches   spikes that differ from the model in fp32, in one step from equal states
    rounded_spikes        of the model in fp32, that rounded weights had a part in: what the others show is nothing about rounding
    rounded_fire          whether a layer with rounded weights fires on that input from reset
    flips                 {layer: spikes that differ from the model in fp32, on its own spikes}
    """

    rounding_mismatches: int
    rounded_spikes: int
    rounded_fire: bool
    flips: dict[str, int]


PARITY = tuple(_Parity.__annotations__)


class _Artifact(CardRecord):
    notation: str | None
    form: Form
    precision: str
    math: str
    batch: int | None
    states: list[StateRecord]
    taus: dict[str, float | list[float] | None]
    v_threshold: float | dict[str, float]
    v_reset: float | dict[str, float | None] | None
    output: OutputRecord
    graph: GraphRecord
    source_sha256: str | None
    parity: ParityRecord | str | None


class ArtifactCard(_Artifact, MayBeInCard, total=False):
    """Of an exported artifact.

    notation       the layers, where the model has one
    batch          a fixed number of streams, or null
    taus           of each layer: a number, one a channel, or null for no leak
    v_threshold    of all layers, or {layer: its own};  v_reset: likewise, null for a soft reset
    source_sha256  of the model's file, or null
    parity         of the proof, or why there is none
    classes_named  false where nobody named the classes, so that they are numbers
    digest         what binds card, weights and graph to each other
    options        of the target, that `--set` gave
    provenance     where the network comes from: its maker says so
    exit           the `margin` of an early exit, and what it was found on
    flush_denormals  false where an engine that makes 0 of subnormal numbers would give other spikes; else no such key
    target         what was written: no such key of an ONNX file;  memory: of a microcontroller, in bytes
    engine, stateful, onnx_sha256, triton, nir, files   of single targets
    """

    classes_named: bool
    digest: DigestRecord
    options: dict[str, str]
    provenance: dict[str, object]
    exit: dict[str, object]
    flush_denormals: bool
    target: str
    memory: dict[str, int]
    engine: dict[str, object]
    stateful: bool
    onnx_sha256: str
    triton: dict[str, str]
    nir: dict[str, object]
    files: dict[str, str]


def whole(number: object, least: int = 0) -> int:
    """A number of the card. Raises ValueError for what is none, or not one of 32 bits, or smaller than `least`."""
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number < 1 << 31:
        raise ValueError(f"{str(number)[:40]}, where a whole number from {least} on is expected")
    return number


def as_map(shape: Sequence[int]) -> tuple[int, int, int]:
    """A card's shape as [C, H, W]; a vector of n is [n, 1, 1], a row of places [C, 1, L], and of more axes of space all but the
    last are one: [C, D * H, W]. Raises ValueError for what is no shape."""
    c, *inner = (whole(n, 1) for n in shape)
    return c, whole(math.prod(inner[:-1]), 1), inner[-1] if inner else 1
