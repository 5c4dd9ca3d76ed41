"""The card: one JSON document of metadata inside every file, readable without torch and without ONNX.

A model.pt carries a *model card* (what was trained). An exported artifact carries an *artifact card*: the facts of
the model card, the graph, the states and the parity result. `read_card` detects which of them by content
(runtime/core/model/artifacts.py). It loads no weights and runs no code of the file. The zip of a model.pt is read by
an unpickler that admits tensors and one string, ONNX is read field by field at the protobuf wire level, and the card
of an engine is stored before its plan.
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
from runtime.core.model.artifacts import CARD_KEY, detect_kind
from runtime.core.model.neurons import EQUATIONS
from runtime.core.model.records import ArtifactCard, Form, ModelCard, Output, StateRecord

__all__ = [
    "CARD_KEY",
    "Card",
    "check_artifact_card",
    "check_model_card",
    "encode_card",
    "output_shape",
    "parse_card",
    "read_card",
]

MODEL_FORMAT = "plif-model"
MODEL_FORMAT_VERSION = 1
ARTIFACT_FORMAT = "plif-artifact"
ARTIFACT_FORMAT_VERSION = 1

MAX_NAME = 256  # characters of a class or a layer
MAX_RULE = 2048  # characters of a decide rule
RULE_KEYS = ("decide", "follow")  # rules for decisions: of one network row, and of two with a view that follows
MAX_STEPS = 4096  # time-steps: T, also of a framing (docs/limits.md)
MAX_NUMBERS = 1 << 28  # in an input or a state of one stream
FORMS = get_args(Form)
RANGES = ("rate", "polarity", "events_a_pixel")  # the ranges in `trained_on` (runtime/core/events/fit.py)
MAX_FLOAT32 = (2 - 2**-23) * 2.0**127  # the largest float32, in which engines compute

Card = dict[str, Any]


def read_card(path: str | Path) -> Card:
    """Read the card of a model.pt or an exported artifact. Raises PlifError if it is missing or invalid."""
    path = Path(path)
    kind = detect_kind(path)
    card = parse_card(path, kind.card_text(path))
    check = check_model_card if kind.name == "model" else check_artifact_card
    check(card, str(path))
    return card


def encode_card(card: Mapping[str, object]) -> str:
    """Return a card as JSON text with sorted keys: equal cards, equal bytes. Raises ValueError for NaN and infinity."""
    return json.dumps(card, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def get_exit_margin(card: Card) -> float | None:
    """Return the early-exit margin of a card; None if it has none. Raises PlifError for an invalid one."""
    if (record := card.get("exit")) is None:
        return None
    margin = record.get("margin") if isinstance(record, dict) else None
    return check_margin(margin, "the card's exit.margin")


def get_decide_rule(card: Card, key: str = "decide") -> str | None:
    """Return a card's rule for endless streams under a key of RULE_KEYS (`plif eval --calibrate-decide`), or None."""
    return None if card.get(key) is None else str(card[key]["rule"])


def get_rules(card: Card) -> dict[str, dict[str, object]]:  # each with the record of its calibration
    return {key: card[key] for key in RULE_KEYS if card.get(key) is not None}


def check_margin(margin: object, context: str) -> float:
    """Return an early-exit margin as a float; refuse any value but a finite number above 0."""
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 1e30:
        raise PlifError(f"{context}: expected a share of all possible spikes above 0, such as 0.25")
    return float(margin)


def parse_card(path: Path, text: str) -> Card:
    """Parse the JSON text of a card. Raises PlifError, which names the path, if it is no JSON object."""
    try:
        card = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_parse_decimal,
            parse_int=_parse_integer,
            object_pairs_hook=_build_object,
        )
    except _DuplicateKey as key:
        raise PlifError(f"{path}: its card says '{key}' twice; expected each key once") from None
    except _NonFiniteNumber as number:
        raise PlifError(f"{path}: its card has the number {number}; expected what a float32 can hold") from None
    except (ValueError, RecursionError):
        raise PlifError(f"{path}: its card is not valid JSON; the file was damaged or not written by plif") from None
    if not isinstance(card, dict):
        raise PlifError(f"{path}: its card is a JSON {type(card).__name__}; expected an object")
    return card


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


class _DuplicateKey(Exception):
    """The error for a key that a JSON object in a card has twice, which JSON readers treat differently."""


def _build_object(pairs: list[tuple[str, object]]) -> Card:
    card = dict(pairs)
    if len(card) != len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateKey(next(name for name in names if names.count(name) > 1))
    return card


class _NonFiniteNumber(Exception):
    """The error for a number in a card that overflows float32, such as 1e999 or 1e39."""


def _parse_decimal(text: str) -> float:
    number = float(text)
    if not abs(number) <= MAX_FLOAT32:
        raise _NonFiniteNumber(text[:40])
    return number


def _parse_integer(text: str) -> int:
    _parse_decimal(text)
    return int(text)


def check_model_card(card: Card, context: str = "model card") -> None:
    """Refuse a model card with another format version, a missing key or a value of a wrong type."""
    _check_common(card, context, MODEL_FORMAT, MODEL_FORMAT_VERSION, ModelCard)


def check_artifact_card(card: Card, context: str = "artifact card") -> None:
    """Refuse an artifact card with another format version, a missing key or a value of a wrong type."""
    _check_common(card, context, ARTIFACT_FORMAT, ARTIFACT_FORMAT_VERSION, ArtifactCard)
    if card["form"] not in FORMS:
        raise PlifError(f"{context}: form '{card['form']}'; expected one of {', '.join(FORMS)}")
    if not card["states"]:
        raise PlifError(f"{context}: it has no states, so nothing in it remembers; export the model again")
    if card["batch"] is not None and not _is_positive_int(card["batch"]):
        raise PlifError(f"{context}: batch {card['batch']}; expected a positive number of streams, or null")
    graph = card["graph"]
    if not isinstance(graph.get("input"), str) or not isinstance(graph.get("output"), str) or not graph.get("nodes"):
        raise PlifError(f"{context}: its graph lacks an input, an output or its nodes; export the model again")
    for state in card["states"]:
        missing = [key for key in required_keys(StateRecord) if not isinstance(state, dict) or key not in state]
        if missing:
            raise PlifError(f"{context}: a state lacks {', '.join(missing)}; export the model again")
        _check_shape(state["shape"], f"{context}: state {state['name']}")
        texts = all(isinstance(state[key], str) for key in ("name", "input", "output", "dtype", "layer", "variable"))
        for key in ("name", "layer"):
            _check_name(str(state[key]), context)
        if not texts or not _is_number(state["initial"]):
            raise PlifError(f"{context}: state {state['name']} has a name, tensor or initial value of the wrong kind")
    if len({state["name"] for state in card["states"]}) != len(card["states"]):
        raise PlifError(f"{context}: two states have the same name; export the model again")
    for layer, tau in card["taus"].items():
        if tau is not None and not all(map(_is_number, tau if isinstance(tau, list) and tau else [tau])):
            raise PlifError(
                f"{context}: tau of {layer} is {_abbreviate(tau)}; expected a number, one for each channel, or null"
            )
    if not isinstance(card.get("flush_denormals", False), bool):
        raise PlifError(
            f"{context}: flush_denormals {_abbreviate(card['flush_denormals'])}; expected false, or no such key"
        )
    output = card["output"]
    if output.get("kind") not in get_args(Output) or not _is_positive_int(output.get("voters", 1)):
        raise PlifError(
            f"{context}: output {output}; expected a kind of {', '.join(get_args(Output))} and a number of voters"
        )
    if "shape" in output:
        _check_shape(output["shape"], f"{context}: output")
    _check_programs(graph["nodes"], context)


def summarize_card(card: Card) -> str:
    """Return a summary of a card in one line: "artifact, step form, fp32, 2x34x34 -> 10 classes, T 10"."""
    kind = f"artifact, {card['form']} form, {card['precision']}" if "states" in card else f"model, {card['notation']}"
    sizes = "x".join(map(str, card["input"]["shape"]))
    return printable(f"{kind}, {sizes} -> {len(card['classes'])} classes, T {card['T']}", 300)


def output_shape(card: Card) -> list[int]:
    """Return the shape of y without the batch, from a card: [classes], or the map that the network returns."""
    return list(card["output"].get("shape", (len(card["classes"]),)))


def _check_programs(nodes: Any, context: str) -> None:
    """Refuse a card with a traced neuron (a neuron as a program of operations) whose program is invalid."""
    kinds = {"name": str, "op": str, "attrs": dict, "params": dict, "inputs": list}
    for node in nodes if isinstance(nodes, list) else [None]:
        if not isinstance(node, dict) or not all(isinstance(node.get(key), kind) for key, kind in kinds.items()):
            raise PlifError(f"{context}: its graph has a node that is no layer; export the model again")
        attrs = node["attrs"]
        equation = EQUATIONS.get(attrs["kind"]) if isinstance(attrs.get("kind"), str) else None
        if equation is not None and equation.check is not None:
            equation.check(attrs, node["params"], len(node["inputs"]), f"{context}: layer {node['name']}")


def _check_format(card: Card, context: str, name: str, version: int) -> None:
    format_name, format_version = card.get("format"), card.get("format_version")
    if format_name != name:
        raise PlifError(f"{context}: format '{format_name}'; expected '{name}'")
    if not isinstance(format_version, int):
        raise PlifError(f"{context}: format_version {format_version!r}; expected a whole number")
    if format_version > version:
        raise PlifError(
            f"{context}: format version {format_version} is newer than this plif reads ({version}); update plif"
        )
    if format_version < version:
        raise PlifError(
            f"{context}: format version {format_version} is older than this plif reads ({version}); save it again"
        )


def _check_keys(card: Card, context: str, record: type) -> None:
    keys = required_keys(record)
    missing = [key for key in keys if key not in card]
    if missing:
        raise PlifError(f"{context}: the card lacks {', '.join(missing)}; the file was damaged or edited")
    for key, kinds in keys.items():
        if not isinstance(card[key], kinds) or (isinstance(card[key], bool) and bool not in kinds):
            expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise PlifError(f"{context}: {key} is a {type(card[key]).__name__}; expected {expected}")


def _check_common(card: Card, context: str, name: str, version: int, record: type) -> None:
    """Check the keys that both kinds of card have: format, T, input, classes, normalisation and more."""
    _check_format(card, context, name, version)
    _check_keys(card, context, record)
    if not _is_positive_int(card["T"]) or card["T"] > MAX_STEPS:
        raise PlifError(f"{context}: T is {_abbreviate(card['T'])}; expected time-steps from 1 to {MAX_STEPS}")
    if card["input"].get("kind") not in ("events", "static"):
        raise PlifError(f"{context}: input kind {card['input'].get('kind')!r}; expected events or static")
    _check_shape(card["input"].get("shape"), f"{context}: input")
    dims = len(card["input"]["shape"])
    # Networks with a notation take images. Those of other libraries have none, and may take vectors, sequences and volumes.
    if dims != 3 and (card["notation"] is not None or dims > 4):
        raise PlifError(f"{context}: input shape {card['input']['shape']}; expected [channels, height, width]")
    if card.get("view") not in (None, "upright"):
        raise PlifError(f"{context}: view {_abbreviate(card['view'])}; expected upright, or no such key")
    for key, found in get_rules(card).items():
        rule = found.get("rule") if isinstance(found, dict) else None
        if not (isinstance(rule, str) and 0 < len(rule) <= MAX_RULE and rule.isprintable()):
            raise PlifError(
                f"{context}: {key} {_abbreviate(found)}; expected its rule as --decide takes it, or no such key"
            )
    sensor = card.get("sensor")  # (width, height) of the recordings that it was trained on, where all had the same
    if sensor is not None and not _is_size(sensor):
        raise PlifError(f"{context}: sensor {_abbreviate(sensor)}; expected [width, height], or no such key")
    trained_on = card.get("trained_on", {})  # runtime/core/events/fit.py
    ranges = [trained_on[name] for name in RANGES if name in trained_on] if isinstance(trained_on, dict) else [None]
    if not all(map(_is_range, ranges)) or (trained_on.get("size") is not None and not _is_size(trained_on["size"])):
        expected = f"size [width, height] or null, {', '.join(RANGES)} [low, high], or no such key"
        raise PlifError(f"{context}: trained_on {_abbreviate(trained_on)}; expected {expected}")
    if not card["classes"] or not all(isinstance(name, str) for name in card["classes"]):
        raise PlifError(f"{context}: classes must be a list of names, one for each output")
    for name in card["classes"]:
        _check_name(name, context)
    normalisation = card["normalisation"]
    if normalisation is not None:
        channels = card["input"]["shape"][0]
        for key in ("mean", "std"):
            values = normalisation.get(key)
            if not isinstance(values, list) or len(values) != channels or not all(map(_is_number, values)):
                raise PlifError(
                    f"{context}: normalisation.{key} is {_abbreviate(values)}; expected {channels} numbers, one for each channel"
                )


def _check_name(name: str, context: str) -> None:
    if len(name) > MAX_NAME:
        raise PlifError(f"{context}: the name '{name[:40]}...' has {len(name)} characters; expected at most {MAX_NAME}")
    if any("\ud800" <= char <= "\udfff" for char in name):  # a surrogate: a name not in UTF-8, or half of a pair
        raise PlifError(f"{context}: the name '{name}' holds what is no character; expected text that UTF-8 can hold")


def _check_shape(shape: object, context: str) -> None:
    if not isinstance(shape, list) or not shape or not all(_is_positive_int(n) for n in shape):
        raise PlifError(f"{context}: shape {_abbreviate(shape)}; expected a list of positive sizes")
    if math.prod(shape) > MAX_NUMBERS:
        raise PlifError(
            f"{context}: shape {_abbreviate(shape)} has more than {MAX_NUMBERS} numbers, the most that is read"
        )


def _abbreviate(value: object) -> str:
    """Return a value of a card for an error message, cut to 80 characters."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 1 << 64 else "a number of more than 64 bits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_positive_int, value))


def _is_range(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and 0 <= value[0] <= value[1]


def _is_positive_int(n: object) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**31


def _is_number(n: object) -> bool:
    return isinstance(n, int | float) and not isinstance(n, bool)


def json_types(hint: object) -> tuple[type, ...]:
    """Return the Python types that `json` creates for a type annotation: float -> (float, int)."""
    origin = get_origin(hint)
    if origin is UnionType:
        return tuple(kind for option in get_args(hint) for kind in json_types(option))
    if origin is Literal:
        return (str,)
    if hint is float:
        return float, int
    kind_class = dict if is_typeddict(hint) else origin or hint
    assert isinstance(kind_class, type)
    return (kind_class,)


@cache
def required_keys(record: type) -> dict[str, tuple[type, ...]]:
    """Return the required keys of a card record, with their Python types."""
    optional: frozenset[str] = vars(record)["__optional_keys__"]
    return {key: json_types(hint) for key, hint in get_type_hints(record).items() if key not in optional}
