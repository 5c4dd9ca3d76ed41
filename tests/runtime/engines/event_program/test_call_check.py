"""The arrays of a call are checked in C against the program, one by one: each check has a change here that only it refuses."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime import native
from runtime.engines.event_program.layout import allocate_aligned
from tests.runtime.engines.event_program.test_program_check import Change, Made, both, less, more

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)


class MadeCall(Made):
    """Arrays for two rows and three steps of that program, each exactly as large as it has to be."""

    def __init__(self) -> None:
        super().__init__()
        rows, steps, counts = 2, 3, list(self.v_floats)
        self.x, self.y = allocate_aligned((steps * rows * 432,)), allocate_aligned((steps * rows * 3,))
        self.v = [allocate_aligned((rows * count,)) for count in counts]
        self.rates = [allocate_aligned((rows * steps,)) for _ in counts]
        self.at, self.rates_at = (
            (ctypes.c_void_p * len(counts))(*(array.ctypes.data for array in arrays)) for arrays in (self.v, self.rates)
        )
        self.next_at = type(self.at)(*self.at)
        self.owed = [np.zeros(-(-rows * n // native.OWED_FLOATS), np.uint8) for n in counts]
        self.owed_at = type(self.at)(*(array.ctypes.data for array in self.owed))
        self.stride = (ctypes.c_int64 * len(counts))(*counts)
        self.v_sizes, self.next_sizes, self.rate_sizes = (
            (ctypes.c_int64 * len(counts))(*sizes)
            for sizes in ([rows * n for n in counts], [rows * n for n in counts], [rows * steps] * len(counts))
        )
        where = ctypes.addressof
        self.call = native.Call(
            x=self.x.ctypes.data, y=self.y.ctypes.data, v=where(self.at), v_next=where(self.next_at),
            rates=where(self.rates_at), owed=where(self.owed_at),
            v_stride=where(self.stride), x_row=432, x_step=2 * 432, y_row=3, y_step=6,
            rows=rows, steps=steps,
        )  # fmt: skip
        self.sizes = native.CallSizes(
            self.x.size, self.y.size, where(self.v_sizes), where(self.next_sizes), where(self.rate_sizes)
        )

    def refusal(self) -> str | None:
        return native.find_objection(
            "plif_call_check", *(ctypes.byref(part) for part in (self.program, self.call, self.sizes))
        )


def call(**values: Any) -> Change:
    def change(made: Any) -> None:
        for name, value in values.items():
            setattr(made.call, name, value(getattr(made.call, name)) if callable(value) else value)

    return change


def entry(name: str, at: int, make: Callable[[int], int]) -> Change:
    """Another value in an array of addresses, strides or sizes."""

    def change(made: Any) -> None:
        array = getattr(made, name)
        array[at] = make(array[at])

    return change


CALLS: list[tuple[str, Change]] = [
    ("^0 rows and", call(rows=0)),
    ("^1048577 rows and", call(rows=(1 << 20) + 1)),
    ("0 steps", call(steps=0)),
    ("and 1048577 steps", call(steps=(1 << 20) + 1)),
    ("steps of x -1 apart", call(x_step=-1)),
    ("steps of x .* apart", call(x_step=(1 << 40) + 1)),
    ("x has 2592 numbers; expected 3 rows", call(rows=3)),
    ("x has 2592 numbers; expected 2 rows", call(steps=4)),
    ("x has 2592 numbers; expected 2 rows of .*, 433 apart", call(x_row=433)),
    ("x has .*, -1 apart", call(x_row=-1)),
    ("x has .*, 1099511627777 apart", both(call(x_row=(1 << 40) + 1, rows=1), entry("v_sizes", 0, more))),
    ("x has", call(x=None)),
    ("x has", call(x=lambda at: at + 2)),
    ("y has 18 numbers; expected 6 rows of 3, 4 apart", call(y_row=4)),
    ("y has", call(y=None)),
    ("v has .* numbers; expected 2 rows", entry("v_sizes", 1, less)),
    ("v has", entry("stride", 1, lambda n: n + 16)),
    ("v_next has .* numbers; expected 2 rows", entry("next_sizes", 3, less)),
    ("v_next has", entry("next_at", 0, lambda at: 0)),
    ("membranes of state 2 at addresses", entry("at", 2, lambda at: at + 32)),
    ("membranes of state 2 at addresses", entry("next_at", 2, lambda at: at + 32)),
    ("membranes of state 0 at addresses", both(call(rows=1), entry("stride", 0, lambda n: n + 4))),
    ("rates has 5 numbers; expected 6 rows of 1", entry("rate_sizes", 1, less)),
    ("rates has", entry("rates_at", 1, lambda at: 0)),
    ("steps of state 1 cannot wait", entry("owed_at", 1, lambda at: 0)),
    ("steps of state 0 cannot wait", both(call(rows=1), entry("stride", 0, lambda n: n + 16))),
    ("steps of state 0 cannot wait", entry("next_at", 0, lambda at: at + 64)),
]


@pytest.mark.parametrize(("message", "change"), CALLS, ids=[m for m, _ in CALLS])
def test_arrays_that_are_smaller_than_a_call_needs_are_refused(message: str, change: Change) -> None:
    made = MadeCall()
    assert made.refusal() is None
    change(made)
    refused = made.refusal()
    assert refused is not None and re.search(message, refused), refused
