"""The rules of libplif as single functions: framings, views, times, answers."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.native.interface import PlifFraming, encode_text, last_error, library

FRAMING_CHOICES = {
    "pad": ("repeat", "zero"),
    "follow": ("off", "on"),
    "value": ("count", "binary"),
    "polarity": ("stored", "swapped"),
    "orientation": ("stored", "upright", "sj", "paper"),
    "resize": ("auto", "nearest", "sum", "crop"),
    "shape": ("stretch", "square"),
}  # in the order of C's numbers


def _parse_framing(text: str) -> PlifFraming:
    framing = PlifFraming()
    if library().plif_framing_parse(encode_text(text), c.byref(framing)):
        raise last_error()
    return framing


def read_framing(text: str, native: bool | None = None) -> dict[str, Any]:
    """Parse a framing into the fields of runtime.core.events.framing.Framing; None for a missing number.

    native  whether the sensor of a network's training was as large as its input, which resolves resize=auto; None
            leaves it
    Raise PlifError for a text that is no framing.
    """
    framing = _parse_framing(text)
    if native is not None:
        library().plif_framing_settle(c.byref(framing), native)
    numbers = {name: getattr(framing, name) or None for name in ("T", "duration_us", "every_us", "n", "max_us")}
    choices = {name: texts[getattr(framing, name)] for name, texts in FRAMING_CHOICES.items()}
    return {"kind": text.partition(":")[0].strip(), **numbers, **choices}


def make_view_tables(
    framing: str, shape: Sequence[int], sensor: tuple[int, int], upright: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the tables that map events to the cells of a frame of `shape` (C, h, w).

    Return (of_x [W], of_y [H], of_p [2]) of framer.h, int64. sensor is (W, H).
    """
    parsed, sizes = _parse_framing(framing), (c.c_int * 3)(*shape)
    if library().plif_view_check(sizes, *sensor, upright):
        raise last_error()
    tables = [np.empty(size, np.int64) for size in (*sensor, 2)]
    library().plif_view(c.byref(parsed), sizes, *sensor, upright, *(table.ctypes.data for table in tables))
    return tables[0], tables[1], tables[2]


def time_us(text: str) -> int | None:
    """Parse a time to us: '10ms' -> 10000; None unless it is a whole number of microseconds from 1 on."""
    return int(library().plif_time_us(encode_text(text))) or None


def find_other_class(classes: Sequence[str]) -> int | None:
    """Find the number of the class that means "none of the other classes", such as "other"; None without one."""
    number = int(library().plif_other_class(encode_names(classes), len(classes)))
    return None if number < 0 else number


def encode_names(classes: Sequence[str]) -> c.Array[c.c_char_p]:
    return (c.c_char_p * len(classes))(*(name.encode("utf-8", "surrogatepass") for name in classes))


def compute_leads(evidence: np.ndarray) -> np.ndarray:
    """Compute the lead of the first class over the second: votes float64 [..., classes] -> float64 [...].

    It is 0 where the first class is alone.
    """
    contiguous = np.ascontiguousarray(evidence, np.float64)
    leads = np.empty(contiguous.shape[:-1])
    library().plif_leads(contiguous.ctypes.data, leads.size, contiguous.shape[-1], leads.ctypes.data)
    return leads


def choose_answers(evidence: np.ndarray, possible: npt.ArrayLike = 1.0, margin: float = 0.0) -> np.ndarray:
    """Choose the class with the most votes: votes float64 [..., classes] -> int64 [...], -1 for none.

    It is the first of equal classes. It is -1 where no class has a vote, or where the class does not lead the second
    by the fraction `margin` of the possible votes, `possible` [...].
    """
    contiguous = np.ascontiguousarray(evidence, np.float64)
    possible_votes = np.ascontiguousarray(np.broadcast_to(possible, contiguous.shape[:-1]), np.float64)
    answers = np.empty(contiguous.shape[:-1], np.int64)
    library().plif_answers(
        contiguous.ctypes.data,
        answers.size,
        contiguous.shape[-1],
        possible_votes.ctypes.data,
        margin,
        answers.ctypes.data,
    )
    return answers


def exit_lead(margin: float, voters: int, T: int) -> float:
    """Return the lead in votes of the first class over the second that ends a sample of T steps early."""
    return float(library().plif_exit_lead(margin, voters, T))
