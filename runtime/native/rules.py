"""libplif's rules, asked one by one: framings, views, times, answers."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.native.interface import PlifFraming, error, library, line

FRAMING_CHOICES = {
    "pad": ("repeat", "zero"),
    "value": ("count", "binary"),
    "polarity": ("stored", "swapped"),
    "orientation": ("stored", "upright", "sj", "paper"),
    "resize": ("auto", "nearest", "sum", "crop"),
    "shape": ("stretch", "square"),
}  # in the order of C's numbers


def _parsed(text: str) -> PlifFraming:
    found = PlifFraming()
    if library().plif_framing_parse(line(text), c.byref(found)):
        raise error()
    return found


def read_framing(text: str, native: bool | None = None) -> dict[str, Any]:
    """A framing -> the fields of runtime.core.events.framing.Framing; None where a number is not given. Raises PlifError.

    native  of a network: whether the sensor of its training was as large as its input, by which resize=auto is resolved;
            None leaves it
    """
    found = _parsed(text)
    if native is not None:
        library().plif_framing_settle(c.byref(found), native)
    numbers = {name: getattr(found, name) or None for name in ("T", "duration_us", "every_us", "n", "max_us")}
    choices = {name: texts[getattr(found, name)] for name, texts in FRAMING_CHOICES.items()}
    return {"kind": text.partition(":")[0].strip(), **numbers, **choices}


def view_of(
    framing: str, shape: Sequence[int], sensor: tuple[int, int], upright: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where events land in a frame of `shape` (C, h, w): (of_x [W], of_y [H], of_p [2]) of framer.h, int64. sensor is (W, H)."""
    parsed, sizes = _parsed(framing), (c.c_int * 3)(*shape)
    if library().plif_view_check(sizes, *sensor, upright):
        raise error()
    tables = [np.empty(size, np.int64) for size in (*sensor, 2)]
    library().plif_view(c.byref(parsed), sizes, *sensor, upright, *(table.ctypes.data for table in tables))
    return tables[0], tables[1], tables[2]


def time_us(text: str) -> int | None:
    """'10ms' -> 10000; None where it is no whole number of microseconds from 1 on."""
    return int(library().plif_time_us(line(text))) or None


def find_other(classes: Sequence[str]) -> int | None:
    """The number of the class that means none of the others ("other", ..), where there is one."""
    found = int(library().plif_other_class(names_of(classes), len(classes)))
    return None if found < 0 else found


def names_of(classes: Sequence[str]) -> c.Array[c.c_char_p]:
    return (c.c_char_p * len(classes))(*(name.encode("utf-8", "surrogatepass") for name in classes))


def leads_of(evidence: np.ndarray) -> np.ndarray:
    """Votes float64 [..., classes] -> float64 [...]: how far the first class is before the second, or 0 where it is alone."""
    whole = np.ascontiguousarray(evidence, np.float64)
    found = np.empty(whole.shape[:-1])
    library().plif_leads(whole.ctypes.data, found.size, whole.shape[-1], found.ctypes.data)
    return found


def answers_of(evidence: np.ndarray, possible: npt.ArrayLike = 1.0, margin: float = 0.0) -> np.ndarray:
    """Votes float64 [..., classes] -> int64 [...]: the class with the most, the first of equals; -1 where none has any, or
    where it does not lead the second by the share `margin` of what is possible, [...]."""
    whole = np.ascontiguousarray(evidence, np.float64)
    most = np.ascontiguousarray(np.broadcast_to(possible, whole.shape[:-1]), np.float64)
    found = np.empty(whole.shape[:-1], np.int64)
    library().plif_answers(whole.ctypes.data, found.size, whole.shape[-1], most.ctypes.data, margin, found.ctypes.data)
    return found


def exit_lead(margin: float, voters: int, T: int) -> float:
    """By how many votes an answer must lead to end a sample of T steps early."""
    return float(library().plif_exit_lead(margin, voters, T))
