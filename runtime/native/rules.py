"""libplif's session without a network (plif.h): what happens before and after each step, whatever engine makes it.

When state begins anew, how evidence adds up and when there is an answer is C (resetting.h, evidence.c, idle.h); the same in plain
Python, to be read, is tests/specification.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from runtime import native
from runtime.base.errors import PlifError

GAP, AFRESH, LOST = 1, 2, 4
IDLE = -2


class PlifNetwork(c.Structure):
    """plif_network."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_int) for name in ("classes", "voters", "T")),
        ("class_names", c.POINTER(c.c_char_p)),
    )


class PlifOptions(c.Structure):
    """plif_options."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_char_p) for name in ("framing", "decide", "reset")),
        *((name, c.c_int) for name in ("sensor_width", "sensor_height", "upright", "threads")),
        *((name, c.c_int64) for name in ("total_events", "first_us", "last_us")),
    )


class PlifDecision(c.Structure):
    """plif_decision."""

    _fields_ = (
        *((name, c.c_int64) for name in ("t_us", "step", "events")),
        *((name, c.c_int32) for name in ("index", "discontinuity")),
        ("score", c.c_double),
        ("votes", c.POINTER(c.c_double)),
        *((name, c.c_int64) for name in ("is_final", "row")),
        ("reserved", c.c_int64 * 2),
    )


class PlifFraming(c.Structure):
    """Framing of framing.h; 0 where a number is not given."""

    _fields_ = (
        ("kind", c.c_int),
        *((name, c.c_int64) for name in ("T", "duration_us", "every_us", "n", "max_us")),
        *((name, c.c_int) for name in ("pad", "value", "polarity", "orientation", "resize")),
    )


FRAMING_KINDS = ("count", "duration", "events", "time")
FRAMING_CHOICES = {
    "pad": ("repeat", "zero"),
    "value": ("count", "binary"),
    "polarity": ("stored", "swapped"),
    "orientation": ("stored", "upright", "sj", "paper"),
    "resize": ("sum", "crop"),
}  # in the order of C's numbers


@cache
def library() -> c.CDLL:
    """The native library, with the types of the functions that are used here."""
    lib, p, i64 = native.library(), c.c_void_p, c.c_int64
    for name, result, *arguments in (
        ("plif_session_for", p, p, p),
        ("plif_session_free", None, p),
        ("plif_rows", c.c_int, p),
        ("plif_before", c.c_int, p, i64, i64, i64, c.c_int, p),
        ("plif_after", c.c_int, p, p, p),
        ("plif_snapshot_size", c.c_size_t, p),
        ("plif_snapshot", c.c_int, p, p, c.c_size_t),
        ("plif_restore", c.c_int, p, p, c.c_size_t),
        ("plif_other_class", c.c_int, p, c.c_int),
        ("plif_framing_parse", c.c_int, c.c_char_p, p),
        ("plif_framing_room", c.c_int, p, i64),
        ("plif_time_us", i64, c.c_char_p),
        ("plif_view_check", c.c_int, p, c.c_int, c.c_int, c.c_int),
        ("plif_view", None, p, p, c.c_int, c.c_int, c.c_int, p, p, p),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, list(arguments)
    return lib


def error() -> PlifError:
    """What was wrong with the last call in this thread that failed."""
    return PlifError(library().plif_error_text().decode("utf-8", "replace"))


def _line(text: str) -> bytes:
    """For C, to which a text ends at a zero."""
    return str(text).replace("\0", "\ufffd").encode("utf-8", "replace")


def _parsed(text: str) -> PlifFraming:
    found = PlifFraming()
    if library().plif_framing_parse(_line(text), c.byref(found)):
        raise error()
    return found


def read_framing(text: str) -> dict[str, Any]:
    """A framing -> the fields of runtime.events.framing.Framing; None where a number is not given. Raises PlifError."""
    found = _parsed(text)
    numbers = {name: getattr(found, name) or None for name in ("T", "duration_us", "every_us", "n", "max_us")}
    choices = {name: texts[getattr(found, name)] for name, texts in FRAMING_CHOICES.items()}
    return {"kind": FRAMING_KINDS[found.kind], **numbers, **choices}


def check_room(framing: str, cells: int) -> None:
    """Raises PlifError where frames of so many numbers overlap too often for all of them to be kept (docs/limits.md)."""
    if library().plif_framing_room(c.byref(_parsed(framing)), cells):
        raise error()


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
    return int(library().plif_time_us(_line(text))) or None


def find_other(classes: Sequence[str]) -> int | None:
    """The number of the class that means none of the others ("other", ..), where there is one."""
    found = int(library().plif_other_class(_names(classes), len(classes)))
    return None if found < 0 else found


def _names(classes: Sequence[str]) -> c.Array[c.c_char_p]:
    return (c.c_char_p * len(classes))(*(name.encode("utf-8", "surrogatepass") for name in classes))


class Rules:
    """The rules of one stream: `before` each step of the network, and `after` it.

    classes   their names, of a network with so many voters a class and steps T of a sample
    decide, reset, framing  texts of --decide, --reset and --framing; of the framing only whether it can show silence counts
    rows      of the network that the stream has: K of every:T/K, else 1
    keep      float64 [rows], after `before`: by what the membranes of each row are multiplied first, around their initial values:
              1 leaves them as they are, 0 begins afresh
    Raises PlifError for texts that are no rules, and where the native library is missing.
    """

    def __init__(
        self,
        classes: Sequence[str],
        voters: int,
        T: int,
        decide: str = "sum",
        reset: str = "never",
        framing: str | None = None,
    ) -> None:
        self._library = library()
        self._classes = len(classes)
        network = PlifNetwork(c.sizeof(PlifNetwork), len(classes), voters, T, _names(classes))
        texts = (None if text is None else _line(text) for text in (framing, decide, reset))
        options = PlifOptions(c.sizeof(PlifOptions), *texts, threads=1, total_events=-1)
        self._at = self._library.plif_session_for(c.byref(network), c.byref(options))
        if not self._at:
            raise error()
        self.rows = int(self._library.plif_rows(self._at))
        self._keep = (c.c_double * self.rows)()
        self.keep = np.ctypeslib.as_array(self._keep)
        self._decision = PlifDecision()
        self._of_decision = c.byref(self._decision)

    def before(self, start_us: int, end_us: int, events: int, flags: int = 0) -> bool:
        """A frame of so many events is to be stepped; fills in `keep`. Whether time is missing before it.

        flags  GAP: time or events are missing before it; AFRESH: all rows begin afresh; LOST: nothing is known of the scene
        """
        found = self._library.plif_before(self._at, start_us, end_us, events, flags, self._keep)
        if found < 0:
            raise error()
        return bool(found)

    def after(self, y: np.ndarray) -> PlifDecision:
        """y float32 [rows, classes] of that step -> the decision, whose numbers stay until the next call."""
        if y.shape != (self.rows, self._classes):
            raise PlifError(f"y of shape {list(y.shape)}; expected [{self.rows}, {self._classes}]")
        whole = np.ascontiguousarray(y, np.float32)
        if self._library.plif_after(self._at, whole.ctypes.data, self._of_decision) < 0:
            raise error()
        return self._decision

    @property
    def kept(self) -> np.ndarray:
        """uint8 [bytes], all that the rules remember: libplif's snapshot. Raises PlifError where it is set to another's."""
        found = np.empty(self._library.plif_snapshot_size(self._at), np.uint8)
        self._library.plif_snapshot(self._at, found.ctypes.data, len(found))
        return found

    @kept.setter
    def kept(self, values: np.ndarray) -> None:
        if self._library.plif_restore(self._at, np.ascontiguousarray(values, np.uint8).ctypes.data, len(values)):
            raise error()

    def __del__(self) -> None:
        if getattr(self, "_at", None):
            self._library.plif_session_free(self._at)
