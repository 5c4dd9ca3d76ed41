"""Operations on views are checked in C, each field of their tables: each check has a change here that only it refuses."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import numpy as np
import pytest

from runtime import native
from tests.fuzz.programs import Network
from tests.runtime.engines.event_program.test_program_check import Change, Made, field, program
from tests.runtime.engines.event_program.test_program_lines_check import code

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)

AXES, INNER, VIEWS, HOW = range(4)
SIZE, FIRST = 4, 4 + native.MOST_AXES  # where sizes begin, and the views, of which each has:
AT, MAKER, STRIDE = 0, 1, 2
EACH = 2 + native.MOST_AXES


class OnViews(Network):
    """TENSOR with a parameter and without, REDUCE and PRODUCT, behind a convolution that gives numbers."""

    def __init__(self) -> None:
        self.rng, self.numbers = random.Random(0), np.random.default_rng(0)
        self.weights, self.nodes, self.states = {}, [], []
        self.name, self.shape = "x", [2, 6, 6]
        self.add_node(
            "Affine", [2, 6, 6], scale=self.tensor(2, 6, 6), shift=self.tensor(2, 6, 6)
        )  # TENSOR of parameters
        self.add_node("Softmax", [2, 6, 6], {"axis": 3})  # SPACE, REDUCE, TENSOR
        self.add_node("Linear", [2, 6, 4], weight=self.tensor(4, 6))  # PRODUCT
        self.own_kind("n0")
        self.add_node("Flatten", [48])
        self.add_node("Linear", [3], weight=self.tensor(3, 48))
        self.card = {
            "input": {"shape": [2, 6, 6]},
            "classes": ["a", "b", "c"],
            "states": self.states,
            "graph": {"input": "x", "output": self.name, "nodes": self.nodes},
        }


class MadeOnViews(Made):
    network = OnViews

    def table(self, kind: str, which: int = 0) -> np.ndarray:
        at = self.ops[kind][which].weight
        return next(array for array in self.layout.keep if array.ctypes.data == at)


def entry(kind: str, at: int, value: int | Callable[[int], int], which: int = 0) -> Change:
    """A number of the table of the operation number `which` of a kind becomes another."""

    def change(made: Made) -> None:
        assert isinstance(made, MadeOnViews)
        table = made.table(kind, which)
        table[at] = value(int(table[at])) if callable(value) else value

    return change


def view(which: int, at: int) -> int:
    return FIRST + which * EACH + at


def line(name: str, column: int, value: int) -> Change:
    """A field of the first line of that name, of the first TENSOR that has parameters, becomes another number."""

    def change(made: Made) -> None:
        lines = next(array for array in made.layout.keep if array.ctypes.data == made.ops["TENSOR"][0].code)
        next(row for row in lines if native.LINES[row[0]] == name)[column] = value

    return change


FAR = 1 << 20
UNSAFE: list[tuple[str, Change]] = [
    ("TENSOR.*its tensor takes", field("TENSOR", weight=64)),
    ("TENSOR.*: 0 axes", entry("TENSOR", AXES, 0)),
    ("TENSOR.*: 9 axes", entry("TENSOR", AXES, 9)),
    ("TENSOR.*, 1 of them inner", entry("TENSOR", INNER, 1)),
    ("REDUCE.*, 0 of them inner", entry("REDUCE", INNER, 0)),
    ("REDUCE.*: 3 axes, 3 of them inner", entry("REDUCE", INNER, 3)),
    ("TENSOR.*, 0 views", entry("TENSOR", VIEWS, 0)),
    ("TENSOR.*, 33 views", entry("TENSOR", VIEWS, 33)),
    ("TENSOR.*its views takes", entry("TENSOR", VIEWS, 32)),
    ("REDUCE.*, 3 views", entry("REDUCE", VIEWS, 3)),
    ("PRODUCT.*, 2 views", entry("PRODUCT", VIEWS, 2)),
    ("REDUCE.*reduction 3", entry("REDUCE", HOW, 3)),
    ("REDUCE.*reduction -1", entry("REDUCE", HOW, -1)),
    ("TENSOR.*0 places on axis 0", entry("TENSOR", SIZE, 0)),
    ("TENSOR.*-1 places on axis 0", entry("TENSOR", SIZE, -1)),
    ("TENSOR.*2 places on axis 1; expected at most", entry("TENSOR", SIZE, 1 << 30)),
    ("TENSOR.*view 0 goes from .*made no room", entry("TENSOR", SIZE, lambda n: n + 1)),
    ("TENSOR.*view 0 begins at -1", entry("TENSOR", view(0, AT), -1)),
    ("TENSOR.*view 0 begins at .*, of operation -1", entry("TENSOR", view(0, MAKER), -1)),
    ("TENSOR.*view 1 begins at .*, of operation -2", entry("TENSOR", view(1, MAKER), -2)),
    ("TENSOR.*view 1 begins at .*, of operation 2", entry("TENSOR", view(1, MAKER), 2)),  # which is itself
    ("TENSOR.*view 3 goes from .*operation 1 made no numbers", entry("TENSOR", view(3, MAKER), 1)),
    ("TENSOR.*view 0 goes from .*operation 0 made no room", entry("TENSOR", view(0, MAKER), 0)),
    ("TENSOR.*view 1 begins at 2199023255552", entry("TENSOR", view(1, AT), 1 << 41)),
    ("TENSOR.*view 0 has a stride of 2147483648", entry("TENSOR", view(0, STRIDE), 1 << 31)),
    ("TENSOR.*view 0 has a stride of -2147483648", entry("TENSOR", view(0, STRIDE), -1 << 31)),
    ("TENSOR.*view 0 goes from -", entry("TENSOR", view(0, STRIDE), -FAR)),
    ("TENSOR.*view 0 goes from .*made no room", entry("TENSOR", view(0, STRIDE), FAR)),
    ("TENSOR.*view 0 goes from 0 to .*made no room", entry("TENSOR", view(0, AT), 0)),  # where x was loaded
    ("TENSOR.*view 3 goes from .*made no numbers", entry("TENSOR", view(3, AT), FAR)),
    ("TENSOR.*its parameters takes", entry("TENSOR", view(2, AT), FAR)),
    ("REDUCE.*view 1 goes from .*made no numbers", entry("REDUCE", view(1, STRIDE), FAR)),
    ("PRODUCT.*its parameters takes", entry("PRODUCT", view(2, STRIDE), 64)),
    ("PRODUCT.*rows with strides 1 and 1", entry("PRODUCT", view(1, STRIDE + 2), 1)),
    ("PRODUCT.*rows with strides 0 and 0", entry("PRODUCT", view(2, STRIDE + 2), 0)),
    ("TENSOR.*two registers, with room for 1023", program(acc_floats=1023)),
    ("TENSOR.*line [0-9]+: view 99 of", line("VIEW", 2, 99)),
    ("TENSOR.*line [0-9]+: view 0 of", line("VIEW", 2, 0)),
    ("TENSOR.*line [0-9]+ is of kind 5, which tensors have not", line("VIEW", 0, code("STATE"))),
    ("TENSOR.*line [0-9]+ is of kind .*, which tensors have not", line("MUL_ADD", 6, 1)),
    ("TENSOR.*has a place of its own", field("TENSOR", out=0)),
    ("TENSOR.*has 2 pieces of work; expected 1", field("TENSOR", items=2)),
    ("REDUCE.*has 2 pieces of work; expected 1", field("REDUCE", items=2)),
    ("PRODUCT.*has 2 pieces of work; expected 1", field("PRODUCT", items=2)),
    ("SPACE.*writes numbers", field("SPACE", out=0)),
    ("SPACE.*has 2 pieces of work", field("SPACE", items=2)),
]


@pytest.mark.parametrize(("message", "change"), UNSAFE, ids=[m for m, _ in UNSAFE])
def test_views_that_could_touch_other_memory_are_refused(message: str, change: Change) -> None:
    made = MadeOnViews()
    change(made)
    refused = made.refusal()
    assert refused is not None and re.search(message, refused), refused


def test_operations_on_views_as_they_are_made_pass() -> None:
    made = MadeOnViews()
    assert made.refusal() is None and all(made.ops[kind] for kind in ("SPACE", "TENSOR", "REDUCE", "PRODUCT"))
