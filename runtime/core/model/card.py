"""The card: one JSON document inside every file that says what the file is, readable without torch and without ONNX.

A model.pt carries a *model card* (what was trained). An exported artifact carries an *artifact card*: the facts of the model
card, the graph, the states and the parity result. `read_card` tells them apart by content (runtime/core/model/artifacts.py). It
loads no weights and runs no code of the file: the zip of a model.pt is read by an unpickler that admits tensors and one
string, ONNX is read field by field at the protobuf wire level, and the card of an engine stands in front of its plan.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

from runtime.core.base.errors import PlifError
from runtime.core.base.text import printable
from runtime.core.model.artifacts import CARD_KEY, kind_of
from runtime.core.model.neurons import EQUATIONS
from runtime.core.model.records import ArtifactCard, Form, ModelCard, Output, StateRecord

__all__ = [
    "CARD_KEY",
    "Card",
    "check_artifact_card",
    "check_model_card",
    "encode",
    "output_shape",
    "parse_card",
    "read_card",
]

MODEL_FORMAT = "plif-model"
MODEL_FORMAT_VERSION = 1
ARTIFACT_FORMAT = "plif-artifact"
ARTIFACT_FORMAT_VERSION = 1

MOST_NAME = 256  # characters of a class or a layer
MOST_RULE = 2048  # characters of a rule of deciding
MOST_STEPS = 4096  # time-steps: T, also of a framing (docs/limits.md)
MOST_NUMBERS = 1 << 28  # in an input or a state of one stream
FORMS = get_args(Form)
RANGES = ("rate", "polarity", "events_a_pixel")  # that `trained_on` has (runtime/core/events/fit.py)
MOST = (2 - 2**-23) * 2.0**127  # the largest float32, in which engines compute

Card = dict[str, Any]


def read_card(path: str | Path) -> Card:
    """The card of a model.pt or an exported artifact. Raises PlifError when it has none, or one that is not valid."""
    path = Path(path)
    kind = kind_of(path)
    card = parse_card(path, kind.card_text(path))
    check = check_model_card if kind.name == "model" else check_artifact_card
    check(card, str(path))
    return card


def encode(card: Mapping[str, object]) -> str:
    """The card as JSON text. Keys are sorted and there are no spaces, so that equal cards are equal bytes.

    Raises ValueError for NaN and infinity, which JSON lacks.
    """
    return json.dumps(card, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def card_margin(card: Card) -> float | None:
    """The margin that the card holds; None where there is none. Raises PlifError for one that is no margin."""
    record = card.get("exit")
    if record is None:
        return None
    margin = record.get("margin") if isinstance(record, dict) else None
    return check_margin(margin, "the card's exit.margin")


def card_rule(card: Card) -> str | None:
    """How a feed without an end is decided, as --decide takes it (`decide`, of plif eval --calibrate-decide); None: not said."""
    return None if card.get("decide") is None else str(card["decide"]["rule"])


def check_margin(margin: object, where: str) -> float:
    """The margin, where it is a finite number above 0."""
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 1e30:
        raise PlifError(f"{where}: expected a share of all possible spikes above 0, such as 0.25")
    return float(margin)


def parse_card(path: Path, text: str) -> Card:
    """The card that `text` holds, as JSON. Raises PlifError, which names `path`, when it is not a JSON object."""
    try:
        card = json.loads(
            text, parse_constant=_no_number, parse_float=_decimal, parse_int=_whole, object_pairs_hook=_once
        )
    except _Twice as key:
        raise PlifError(f"{path}: its card says '{key}' twice; expected each key once") from None
    except _NotFinite as number:
        raise PlifError(f"{path}: its card has the number {number}; expected what a float32 can hold") from None
    except (ValueError, RecursionError):
        raise PlifError(f"{path}: its card is not valid JSON; the file was damaged or not written by plif") from None
    if not isinstance(card, dict):
        raise PlifError(f"{path}: its card is a JSON {type(card).__name__}; expected an object")
    return card


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


class _Twice(Exception):
    """A key of an object that has it already: readers differ in which they take."""


def _once(pairs: list[tuple[str, object]]) -> Card:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


class _NotFinite(Exception):
    """A number of a card that is infinite for an engine: 1e999, and 1e39, which a float32 cannot hold."""


def _decimal(text: str) -> float:
    number = float(text)
    if not abs(number) <= MOST:
        raise _NotFinite(text[:40])
    return number


def _whole(text: str) -> int:
    _decimal(text)
    return int(text)


def check_model_card(card: Card, where: str = "model card") -> None:
    """Raises PlifError for a model card of another version, or with a key that is missing or of another type."""
    _check_common(card, where, MODEL_FORMAT, MODEL_FORMAT_VERSION, ModelCard)


def check_artifact_card(card: Card, where: str = "artifact card") -> None:
    """Raises PlifError for an artifact card of another version, or with a key that is missing or of another type."""
    _check_common(card, where, ARTIFACT_FORMAT, ARTIFACT_FORMAT_VERSION, ArtifactCard)
    if card["form"] not in FORMS:
        raise PlifError(f"{where}: form '{card['form']}'; expected one of {', '.join(FORMS)}")
    if not card["states"]:
        raise PlifError(f"{where}: it has no states, so nothing in it remembers; export the model again")
    if card["batch"] is not None and not _positive(card["batch"]):
        raise PlifError(f"{where}: batch {card['batch']}; expected a positive number of streams, or null")
    graph = card["graph"]
    if not isinstance(graph.get("input"), str) or not isinstance(graph.get("output"), str) or not graph.get("nodes"):
        raise PlifError(f"{where}: its graph lacks an input, an output or its nodes; export the model again")
    for state in card["states"]:
        missing = [key for key in required(StateRecord) if not isinstance(state, dict) or key not in state]
        if missing:
            raise PlifError(f"{where}: a state lacks {', '.join(missing)}; export the model again")
        _check_shape(state["shape"], f"{where}: state {state['name']}")
        texts = all(isinstance(state[key], str) for key in ("name", "input", "output", "dtype", "layer", "variable"))
        for key in ("name", "layer"):
            _check_name(str(state[key]), where)
        if not texts or not _number(state["initial"]):
            raise PlifError(f"{where}: state {state['name']} has a name, tensor or initial value of the wrong kind")
    if len({state["name"] for state in card["states"]}) != len(card["states"]):
        raise PlifError(f"{where}: two states have the same name; export the model again")
    for layer, tau in card["taus"].items():
        if tau is not None and not all(map(_number, tau if isinstance(tau, list) and tau else [tau])):
            raise PlifError(
                f"{where}: tau of {layer} is {_short(tau)}; expected a number, one for each channel, or null"
            )
    if not isinstance(card.get("flush_denormals", False), bool):
        raise PlifError(f"{where}: flush_denormals {_short(card['flush_denormals'])}; expected false, or no such key")
    output = card["output"]
    if output.get("kind") not in get_args(Output) or not _positive(output.get("voters", 1)):
        raise PlifError(
            f"{where}: output {output}; expected a kind of {', '.join(get_args(Output))} and a number of voters"
        )
    if "shape" in output:
        _check_shape(output["shape"], f"{where}: output")
    _check_programs(graph["nodes"], where)


def in_a_line(card: Card) -> str:
    """ "artifact, step form, fp32, 2x34x34 -> 10 classes, T 10" """
    kind = f"artifact, {card['form']} form, {card['precision']}" if "states" in card else f"model, {card['notation']}"
    sizes = "x".join(map(str, card["input"]["shape"]))
    return printable(f"{kind}, {sizes} -> {len(card['classes'])} classes, T {card['T']}", 300)


def output_shape(card: Card) -> list[int]:
    """Of y without the batch: [classes], or the map that a network gives."""
    return list(card["output"].get("shape", (len(card["classes"]),)))


def _check_programs(nodes: Any, where: str) -> None:
    """Refuses a traced neuron whose program does not fit: what a card says is run by whoever interprets its graph."""
    for node in nodes if isinstance(nodes, list) else [nodes]:
        attrs = node.get("attrs") if isinstance(node, dict) else None
        if not isinstance(attrs, dict):
            raise PlifError(f"{where}: its graph has a node that is no layer; export the model again")
        own = EQUATIONS.get(attrs["kind"]) if isinstance(attrs.get("kind"), str) else None
        if own is not None and own.check is not None:
            params, inputs = node.get("params"), node.get("inputs")
            if not isinstance(params, dict) or not isinstance(inputs, list):
                raise PlifError(
                    f"{where}: a {own.kind.lower()} neuron lacks its params or inputs; export the model again"
                )
            own.check(attrs, params, len(inputs), f"{where}: layer {node.get('name')}")


def _check_format(card: Card, where: str, name: str, version: int) -> None:
    found, found_version = card.get("format"), card.get("format_version")
    if found != name:
        raise PlifError(f"{where}: format '{found}'; expected '{name}'")
    if not isinstance(found_version, int):
        raise PlifError(f"{where}: format_version {found_version!r}; expected a whole number")
    if found_version > version:
        raise PlifError(
            f"{where}: format version {found_version} is newer than this plif reads ({version}); update plif"
        )
    if found_version < version:
        raise PlifError(
            f"{where}: format version {found_version} is older than this plif reads ({version}); save it again"
        )


def _check_keys(card: Card, where: str, record: type) -> None:
    keys = required(record)
    missing = [key for key in keys if key not in card]
    if missing:
        raise PlifError(f"{where}: the card lacks {', '.join(missing)}; the file was damaged or edited")
    for key, kinds in keys.items():
        if not isinstance(card[key], kinds) or (isinstance(card[key], bool) and bool not in kinds):
            expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise PlifError(f"{where}: {key} is a {type(card[key]).__name__}; expected {expected}")


def _check_common(card: Card, where: str, name: str, version: int, record: type) -> None:
    """Checks what both kinds of card have: format, keys, T, input, classes and normalisation."""
    _check_format(card, where, name, version)
    _check_keys(card, where, record)
    if not _positive(card["T"]) or card["T"] > MOST_STEPS:
        raise PlifError(f"{where}: T is {_short(card['T'])}; expected a number of time-steps from 1 to {MOST_STEPS}")
    if card["input"].get("kind") not in ("events", "static"):
        raise PlifError(f"{where}: input kind {card['input'].get('kind')!r}; expected events or static")
    _check_shape(card["input"].get("shape"), f"{where}: input")
    dims = len(card["input"]["shape"])
    # Networks with a notation take images. Those of other libraries have none, and may take vectors, sequences and volumes.
    if dims != 3 and (card["notation"] is not None or dims > 4):
        raise PlifError(f"{where}: input shape {card['input']['shape']}; expected [channels, height, width]")
    if card.get("view") not in (None, "upright"):
        raise PlifError(f"{where}: view {_short(card['view'])}; expected upright, or no such key")
    decide = card.get("decide")
    rule = decide.get("rule") if isinstance(decide, dict) else None
    if decide is not None and not (isinstance(rule, str) and 0 < len(rule) <= MOST_RULE and rule.isprintable()):
        raise PlifError(f"{where}: decide {_short(decide)}; expected its rule as --decide takes it, or no such key")
    sensor = card.get("sensor")  # (width, height) of the recordings that it was trained on, where all had the same
    if sensor is not None and not _is_size(sensor):
        raise PlifError(f"{where}: sensor {_short(sensor)}; expected [width, height], or no such key")
    seen = card.get("trained_on", {})  # runtime/core/events/fit.py
    ranges = [seen[name] for name in RANGES if name in seen] if isinstance(seen, dict) else [None]
    if not all(map(_is_range, ranges)) or (seen.get("size") is not None and not _is_size(seen["size"])):
        expected = f"size [width, height] or null, {', '.join(RANGES)} [low, high], or no such key"
        raise PlifError(f"{where}: trained_on {_short(seen)}; expected {expected}")
    if not card["classes"] or not all(isinstance(name, str) for name in card["classes"]):
        raise PlifError(f"{where}: classes must be a list of names, one for each output")
    for name in card["classes"]:
        _check_name(name, where)
    normalisation = card["normalisation"]
    if normalisation is not None:
        channels = card["input"]["shape"][0]
        for key in ("mean", "std"):
            values = normalisation.get(key)
            if not isinstance(values, list) or len(values) != channels or not all(map(_number, values)):
                raise PlifError(
                    f"{where}: normalisation.{key} is {_short(values)}; expected {channels} numbers, one for each channel"
                )


def _check_name(name: str, where: str) -> None:
    if len(name) > MOST_NAME:
        raise PlifError(f"{where}: the name '{name[:40]}...' has {len(name)} characters; expected at most {MOST_NAME}")
    if any("\ud800" <= char <= "\udfff" for char in name):  # of a file name that is not UTF-8, or half of a pair
        raise PlifError(f"{where}: the name '{name}' holds what is no character; expected text that UTF-8 can hold")


def _check_shape(shape: object, where: str) -> None:
    if not isinstance(shape, list) or not shape or not all(_positive(n) for n in shape):
        raise PlifError(f"{where}: shape {_short(shape)}; expected a list of positive sizes")
    if math.prod(shape) > MOST_NUMBERS:
        raise PlifError(f"{where}: shape {_short(shape)} has more than {MOST_NUMBERS} numbers, the most that is read")


def _short(value: object) -> str:
    """A value of the card for an error message, which hostile ones could make a page long."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 1 << 64 else "a number of more than 64 bits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_size(said: object) -> bool:
    return isinstance(said, list) and len(said) == 2 and all(map(_positive, said))


def _is_range(said: object) -> bool:
    return isinstance(said, list) and len(said) == 2 and all(map(_number, said)) and 0 <= said[0] <= said[1]


def _positive(n: object) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**31


def _number(n: object) -> bool:
    return isinstance(n, int | float) and not isinstance(n, bool)


def kinds_of(hint: object) -> tuple[type, ...]:
    """The types of Python that `json` gives for an annotation: float -> (float, int)."""
    origin = get_origin(hint)
    if origin is UnionType:
        return tuple(kind for each in get_args(hint) for kind in kinds_of(each))
    if origin is Literal:
        return (str,)
    if hint is float:
        return float, int
    found = dict if is_typeddict(hint) else origin or hint
    assert isinstance(found, type)
    return (found,)


@cache
def required(record: type) -> dict[str, tuple[type, ...]]:
    """The keys that a record must have, and of which types they are."""
    optional: frozenset[str] = vars(record)["__optional_keys__"]
    return {key: kinds_of(hint) for key, hint in get_type_hints(record).items() if key not in optional}
