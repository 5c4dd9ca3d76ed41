"""The JSON records of a card, key by key; the single source of truth for their keys and types.

card.py checks a card against these records, and docs/schemas/card.json is generated from them. To add a key, add it
here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

Form = Literal["step", "unrolled", "loop"]
Output = Literal["votes", "spikes", "currents", "membrane"]


class InputRecord(TypedDict):
    """The card's record of the input of a network at one step.

    shape   [C, H, W], without the batch; networks of other libraries may have other shapes
    """

    kind: Literal["events", "static"]
    shape: list[int]


class NormalisationRecord(TypedDict):
    """The mean to subtract from each channel of an image, and the std to divide it by."""

    mean: list[float]
    std: list[float]


class DigestRecord(TypedDict):
    """The digest of an artifact in its card: hashes of its parts (runtime/core/model/digest.py).

    sha256  of all parts;  parts: the SHA-256 of each
    """

    sha256: str
    parts: dict[str, str]


class CardRecord(TypedDict):
    """The keys that the cards of models and of artifacts share.

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


class OptionalCardKeys(TypedDict, total=False):
    """The optional keys that the cards of models and of artifacts share.

    view        pictures were turned upright in training
    sensor      [width, height] of the recordings of its training, where all had the same
    decide      the `rule` that decides feeds without an end, and the data that it was found on
    follow      the same of two rows a step, the second of which sees a small figure enlarged (stream --follow)
    trained_on  size, rate, polarity and events a pixel of the recordings of its training
    """

    view: Literal["upright"]
    sensor: list[int]
    decide: dict[str, object]
    follow: dict[str, object]
    trained_on: dict[str, object]


class ModelCard(CardRecord, OptionalCardKeys):
    """The card (metadata) of a model.pt.

    notation  the layers;  options: of its neurons and of its training
    training  the record of the training, or null
    """

    notation: str
    options: dict[str, object]
    training: dict[str, object] | None


class NodeRecord(TypedDict):
    """A node in a card's `graph`; `params` maps the names of parameters to those of tensors in the file."""

    name: str
    op: str
    inputs: list[str]
    shape: list[int]
    attrs: dict[str, Any]
    params: dict[str, str]


class GraphRecord(TypedDict):
    """The `graph` of a card: its input, output and nodes."""

    input: str
    output: str
    hoisted: list[str]
    nodes: list[NodeRecord]


class StateRecord(TypedDict):
    """One state variable in a card's `states`: the tensor that holds it before a step, and the one after it."""

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
    """The card's record of the output y of a network.

    voters  neurons that vote for a class
    shape   without the batch, if y is a map and not one number for each class
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
    """The result of the export proof (parity with PyTorch) in a card, as in `plif verify --json`.

    With rounded weights also:

    rounding_mismatches   spikes that differ from the model in fp32, in one step from equal states
    rounded_spikes        spikes of the model in fp32 that depend on rounded weights; the others prove nothing
                          about rounding
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


class ArtifactCard(_Artifact, OptionalCardKeys, total=False):
    """The card (metadata) of an exported artifact.

    notation       the layers, where the model has one
    batch          a fixed number of streams, or null
    taus           of each layer: a number, one a channel, or null for no leak
    v_threshold    of all layers, or {layer: its own};  v_reset: likewise, null for a soft reset
    source_sha256  of the model's file, or null
    parity         the result of the proof, or why there is none
    classes_named  false if the classes have no names, so that they are numbers
    digest         binds card, weights and graph to each other
    options        of the target, that `--set` gave
    provenance     the origin of the network, according to its maker
    exit           the `margin` of an early exit, and the data that it was found on
    flush_denormals  false if an engine that replaces subnormal numbers by 0 would give other spikes; else no
                     such key
    target         the target of the export: no such key of an ONNX file;  memory: of a microcontroller, in bytes
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


def require_integer(number: object, least: int = 0) -> int:
    """Return an integer of a card; ValueError if it is no 32-bit integer of at least `least`."""
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number < 1 << 31:
        raise ValueError(f"{str(number)[:40]}, where a whole number from {least} on is expected")
    return number


def to_map_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Convert a card's shape to a map [C, H, W].

    A vector of n is [n, 1, 1], a row of places is [C, 1, L]; of more spatial axes all but the last become one: [C, D
    * H, W]. Raises ValueError for an invalid shape.
    """
    c, *inner = (require_integer(n, 1) for n in shape)
    return c, require_integer(math.prod(inner[:-1]), 1), inner[-1] if inner else 1
