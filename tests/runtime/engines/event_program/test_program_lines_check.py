"""The lines of a neuron that is a program are checked in C, each field: each check has a change here that only it refuses."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime import native
from tests.fuzz.programs import Network
from tests.programs import ADAPTIVE, GRADED
from tests.runtime.engines.event_program.test_program_check import Change, Made, both, field, program, smaller_state

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)

OUT, A, B, C, D, INTO = range(1, 7)  # the fields of a line behind its kind


class Programs(Network):
    """A program behind a convolution, one that gives numbers and reads two maps, and states that are read."""

    def __init__(self) -> None:
        self.rng, self.numbers = random.Random(0), np.random.default_rng(0)
        self.weights, self.nodes, self.states = {}, [], []
        self.name, self.shape = "x", [3, 8, 8]
        self.add_node("Conv", [20, 8, 8], {"stride": 1, "padding": 1, "groups": 1}, weight=self.tensor(20, 3, 3, 3))
        beta = self.numbers.uniform(0.2, 0.8, 20).astype(np.float32)
        self.neurons("first", ADAPTIVE, [self.name], beta=beta)
        fired = self.name
        self.state("first", "before", [])
        sums = [["both", "Add", "x", "x1"], ["weighed", "Mul", "both", "each"], ["h", "Add", "v", "weighed"]]
        graded = {**GRADED, "program": [*sums, *GRADED["program"][1:]], "next": {"v": "after", "last": "after"}}
        each = self.numbers.uniform(0.2, 0.8, (20, 8, 8)).astype(np.float32)
        self.neurons("second", graded, [fired, self.name], each=each)
        self.state("second", "after", [self.name])
        self.add_node("Flatten", [1280])
        self.add_node("Linear", [3], weight=self.tensor(3, 1280))
        self.card = {
            "input": {"shape": [3, 8, 8]},
            "classes": ["a", "b", "c"],
            "states": self.states,
            "graph": {"input": "x", "output": self.name, "nodes": self.nodes},
        }

    def neurons(self, layer: str, attrs: dict[str, Any], inputs: list[str], **params: np.ndarray) -> None:
        for variable in attrs["states"]:
            record = {"layer": layer, "name": f"{variable}.{layer}", "shape": self.shape, "variable": variable}
            self.states.append(record)
        named = {"kind": "Traced", "layer": layer, "v_threshold": 0.5, "v_reset": None, **attrs}
        self.add_node("Neuron", self.shape, named, **params)
        self.nodes[-1]["inputs"] = inputs


class MadeOfPrograms(Made):
    network = Programs

    def lines(self, kind: str) -> np.ndarray:
        """[n, 7] of the program behind the convolution ("CONV"), or of the other ("NEURON")."""
        at = self.ops[kind][0].code
        return next(array for array in self.layout.keep if array.ctypes.data == at)


def line(kind: str, name: str, column: int, value: int | Callable[[int], int]) -> Change:
    """A field of the first line of that name becomes another number."""

    def change(made: MadeOfPrograms) -> None:
        lines = made.lines(kind)
        row = next(row for row in lines if native.LINES[row[0]] == name)
        row[column] = value(int(row[column])) if callable(value) else value

    return change


def first_line(kind: str, *fields: int) -> Change:
    """It becomes a line of that kind and these fields; it runs once."""
    return lambda made: made.lines(kind)[0].__setitem__(slice(None), [*fields, *[0] * (7 - len(fields))])


def code(name: str) -> int:
    return native.LINES.index(name)


def one_line(name: str, **fields: int) -> Change:
    """The program behind the convolution is this one line, which runs for each block."""

    def change(made: MadeOfPrograms) -> None:
        made.lines("CONV")[0] = [code(name), *(fields.get(key, 0) for key in ("out", "a", "b", "c", "d", "into"))]

    return both(change, field("CONV", lines=1, once=0))


def smaller_map(axis: str) -> Change:
    """The map of a state that the second program reads has fewer channels, rows or columns than its neurons."""
    less = {"c": 16, "h": 7, "w": 7}[axis]
    return field("BEFORE", **{f"i{axis}": less, f"o{axis}": less}, **({"items": less} if axis == "h" else {}))


def map_of_spikes(made: MadeOfPrograms) -> None:
    """The second program reads the spikes of the first, whose map is as large."""
    maker = made.ops["CONV"][0]
    line("NEURON", "MAP", A, maker.out // 64)(made)
    line("NEURON", "MAP", B, [op.out for op in made.array].index(maker.out))(made)


UNSAFE: list[tuple[str, Change]] = [
    # the program
    ("CONV.*: 0 lines", field("CONV", lines=0)),
    ("CONV.*: 4097 lines", field("CONV", lines=4097)),
    ("CONV.*, -1 of them once", field("CONV", once=-1)),
    ("CONV.*, 4000 of them once", field("CONV", once=4000)),
    ("CONV.*, 0 registers", field("CONV", registers=0)),
    ("CONV.*, 257 registers", field("CONV", registers=257)),
    ("CONV.*gives kind 0", field("CONV", gives=0)),
    ("CONV.*gives kind 3", field("CONV", gives=3)),
    ("CONV.*its lines takes", field("CONV", lines=lambda n: n + 10)),
    ("CONV.*its lines takes", field("CONV", code=None)),
    ("CONV.*sums and registers, with room for", program(acc_floats=lambda n: n - 16)),
    ("CONV.*state 6 of 6", field("CONV", state=6)),
    # lines
    ("CONV.*line 0 is of kind -1", first_line("CONV", -1)),
    (f"CONV.*line 0 is of kind {len(native.LINES)}", first_line("CONV", len(native.LINES))),
    ("CONV.*line 0, of kind 5, cannot run only once", first_line("CONV", code("STATE"))),
    ("CONV.*line 0, of kind 6, cannot run only once", first_line("CONV", code("KEEP"))),
    (f"CONV.*line 0, of kind {code('COPY')}, cannot run only once", first_line("CONV", code("COPY"), 0, 0, 0, 0, 0, 1)),
    ("CONV.*line 0 cannot lie in a state", one_line("INPUT", into=1)),
    ("CONV.*line 0 writes register 256 of", one_line("INPUT", out=256)),
    ("CONV.*line 0 writes register -1 of", one_line("INPUT", out=-1)),
    *(("CONV.*line 0 reads register 0, which nothing", one_line(name)) for name in ("ADD", "NEG", "WHERE", "FIRE")),
    *(("CONV.*line [0-9]+ names register 999 of", line("CONV", "SUB", column, 999)) for column in (A, B)),
    *(("CONV.*line [0-9]+ names register -1 of", line("CONV", "WHERE", column, -1)) for column in (A, B, C)),
    ("NEURON.*names register 999 of", line("NEURON", "KEEP", B, 999)),
    ("CONV.*names register 999 of", line("CONV", "FIRE", A, 999)),
    ("CONV.*names register 999 of", line("CONV", "FIRE", B, 999)),
    *(("CONV.*names register -1", line("CONV", "SUB", column, -1)) for column in (C, D)),
    ("NEURON.*names register 999 of", line("NEURON", "GIVE", A, 999)),
    ("CONV.*line [0-9]+ is of kind .*, which neurons have not", line("CONV", "STATE", 0, code("VIEW"))),
    ("NEURON.*line [0-9]+ is of kind .*, which neurons have not", line("NEURON", "GIVE", 0, code("PUT"))),
    # what lies elsewhere
    ("CONV.*line [0-9]+: state 6 of 6", line("CONV", "STATE", A, 6)),
    ("CONV.*line [0-9]+: state -1 of 6", line("CONV", "STATE", A, -1)),
    ("NEURON.*line [0-9]+: state 6 of 6", line("NEURON", "KEEP", A, 6)),
    ("CONV.*line [0-9]+: state 98 of 6", line("CONV", "MAX", INTO, 99)),
    ("CONV.*line [0-9]+: state -100 of 6", line("CONV", "MAX", INTO, -99)),
    ("CONV.*its membranes are 2048 numbers, those of state 5 2047", both(field("CONV", state=5), smaller_state(5))),
    ("CONV.*line [0-9]+: its neurons are 2048 numbers, those of state 1 2047", smaller_state(1)),
    ("CONV.*line .* reads parameters at -1", line("CONV", "CHANNEL", A, -1)),
    ("CONV.*its parameters takes", line("CONV", "CHANNEL", A, 2)),
    ("NEURON.*its parameters takes", line("NEURON", "EACH", A, 1)),
    ("NEURON.*line .* at 64, which operation 0 does not make", line("NEURON", "MAP", A, 1)),
    ("NEURON.*line .* at -64, which operation 0 does not make", line("NEURON", "MAP", A, -1)),
    ("NEURON.*line .* at 0, which operation 1 does not make", line("NEURON", "MAP", B, 1)),
    *(("NEURON.*reads a map .*, which operation", smaller_map(at)) for at in ("c", "h", "w")),
    ("NEURON.*reads a map .*, which operation", map_of_spikes),
    *((f"NEURON.*line .* reads a map of operation {n}$", line("NEURON", "MAP", B, n)) for n in (-1, 999)),
    ("NEURON.*line .* gives spikes, and it says kind 1", line("NEURON", "GIVE", 0, code("FIRE"))),
    ("CONV.*line .* gives numbers, and it says kind 2", line("CONV", "FIRE", 0, code("GIVE"))),
    ("CONV.*writes spikes", field("CONV", out=0)),
    ("NEURON.*writes numbers", field("NEURON", out=0)),
    # states as values
    ("BEFORE.*state 6 of 6", field("BEFORE", state=6)),
    ("BEFORE.*its membranes are 2048 numbers, those of state 0 2047", smaller_state(0)),
    ("BEFORE.*reads \\[20, 8, 8\\] and gives \\[21", field("BEFORE", oc=21)),
    ("AFTER.*state -1 of 6", field("AFTER", state=-1)),
    ("AFTER.*writes numbers", field("AFTER", out=0)),
    ("AFTER.*has 7 pieces of work", field("AFTER", items=7)),
]


@pytest.mark.parametrize(("message", "change"), UNSAFE, ids=[m for m, _ in UNSAFE])
def test_lines_that_could_touch_other_memory_are_refused(message: str, change: Change) -> None:
    made = MadeOfPrograms()
    change(made)
    refused = made.refusal()
    assert refused is not None and re.search(message, refused), refused


def test_programs_as_they_are_made_pass() -> None:
    made = MadeOfPrograms()
    assert made.refusal() is None
    assert {native.LINES[row[0]] for kind in ("CONV", "NEURON") for row in made.lines(kind)} >= {
        *("NUMBER", "CHANNEL", "EACH", "INPUT", "MAP", "STATE", "KEEP", "GIVE", "FIRE"),
    }
