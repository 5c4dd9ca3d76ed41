"""The answers of a Triton server, which may be no Triton server: each has a size, a depth, names, shapes and finite numbers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.model.card import MAX_NUMBERS

MAX_ANSWER = 4 << 20  # bytes, with the HTTP head: a million numbers
MAX_LISTS = 100  # lists and objects of an answer, so it is no deeper, and small in memory; an honest one has ten


def parse_json(body: bytes) -> Any:
    """Parse the JSON of a Triton server; return None for JSON that is invalid or has more than MAX_LISTS lists."""
    try:
        return json.loads(body) if body.count(b"[") + body.count(b"{") <= MAX_LISTS else None
    except ValueError:
        return None


def _parse_sizes(value: object) -> list[int]:
    """Return a JSON list of whole numbers; raise ValueError for any other value."""
    if not isinstance(value, list) or any(type(size) is not int for size in value):
        raise ValueError
    return value


def parse_metadata(about: dict[str, Any], url: str) -> tuple[str, tuple[int, ...], int]:
    """Parse the Triton server's metadata of a model: its input's name and shape, and its number of classes."""
    try:
        (x,) = about["inputs"]
        (y,) = (tensor for tensor in about["outputs"] if tensor["name"] == "y")
        name, shape = x["name"], tuple(_parse_sizes(x["shape"])[1:])
        (_, classes), kinds = _parse_sizes(y["shape"]), (x["datatype"], y["datatype"])
        if kinds != ("FP32", "FP32") or not isinstance(name, str) or min(*shape, classes) < 1:
            raise ValueError
        if math.prod(shape) > MAX_NUMBERS or 4 * classes > MAX_ANSWER:
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        raise PlifError(f"{url}: is no model of plif export --to triton, which has one input and an output y") from None
    return name, shape, classes


def _pack_numbers(values: object) -> bytes:
    """Return a JSON list of numbers as bytes of float32; raise ValueError for any other value."""
    if not isinstance(values, list) or any(type(value) not in (int, float) for value in values):
        raise ValueError
    with np.errstate(over="ignore"):
        return np.asarray(values, "<f4").tobytes()


def decode_output(body: bytes, length: int | None, classes: int, url: str) -> np.ndarray:
    """Decode y float32 [classes] from a Triton server's answer of JSON and tensor bytes; refuse any other answer.

    length  of the JSON in bytes; None if the tensor is inside the JSON
    """
    try:
        document = parse_json(body[:length])
        (y,) = (tensor for tensor in document["outputs"] if tensor["name"] == "y")
        data = body[length:] if length is not None else _pack_numbers(y["data"])
        if _parse_sizes(y["shape"]) != [1, classes] or y["datatype"] != "FP32" or len(data) != 4 * classes:
            raise ValueError
    except (ValueError, KeyError, TypeError, OverflowError):
        raise PlifError(
            f"{url}: its answer holds no y [1, {classes}]; expected a model of plif export --to triton"
        ) from None
    values = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise PlifError(f"{url}: its answer is not finite: {values[~np.isfinite(values)][0]}; expected numbers")
    return values
