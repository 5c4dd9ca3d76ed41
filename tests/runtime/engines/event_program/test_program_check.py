"""A program that native code is given is checked in C, field by field: each check has a change here that only it refuses."""

from __future__ import annotations

import ctypes
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime import native
from runtime.engines.event.memory import row_stride
from runtime.engines.event_program.layout import Layout
from runtime.engines.event_program.program import Compiler
from tests.fuzz.programs import Network

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)


class EveryOperation(Network):
    """A network that makes an operation of each kind, with float32 and int8 weights, lists of numbers and of spikes."""

    def neuron(self) -> None:
        self.own_kind(f"n{len(self.states)}")

    def __init__(self) -> None:
        self.rng, self.numbers = random.Random(0), np.random.default_rng(0)
        self.weights, self.nodes, self.states = {}, [], []
        self.name, self.shape = "x", [3, 12, 12]
        self.add_node("Affine", [3, 12, 12], scale=self.tensor(3), shift=self.tensor(3))  # LOAD, AFFINE
        conv = {"stride": 1, "padding": 1, "groups": 1}
        self.add_node("Conv", [8, 12, 12], conv, weight=self.tensor(8, 3, 3, 3))
        self.neuron()  # ACTIVE of numbers, CONV
        int8 = self.numbers.integers(-3, 3, (40, 8, 3, 3)).astype(np.int8)
        self.add_node("Conv", [40, 12, 12], conv, weight=int8, scale=np.abs(self.tensor(40)))
        self.neuron()  # ACTIVE of spikes, with whole rows of bytes, CONV
        self.add_node("MaxPool", [40, 6, 6], {"kernel": 2, "stride": 2})  # SPIKE_POOL
        self.add_node("AvgPool", [40, 5, 5], {"kernel": 2, "stride": 1})  # UNPACK, AVG_POOL
        self.add_node("MaxPool", [40, 4, 4], {"kernel": 2, "stride": 1})  # MAX_POOL
        branch = self.name
        self.add_node("Conv", [40, 4, 4], {**conv, "padding": 0}, weight=self.tensor(40, 40, 1, 1))  # CONV, no neuron
        self.add_node("Add", [40, 4, 4])
        self.nodes[-1]["inputs"].append(branch)
        self.add_node("Flatten", [640])
        self.neuron()  # FLATTEN, NEURON
        self.add_node("Linear", [6], weight=self.tensor(6, 640))
        self.neuron()  # ACTIVE of spikes, CONV
        self.add_node("Vote", [3], {"voters": 2})
        self.add_node("Affine", [3], scale=self.tensor(3), shift=self.tensor(3))  # VOTE within, OUTPUT
        self.card = {
            "input": {"shape": [3, 12, 12]},
            "classes": ["a", "b", "c"],
            "states": self.states,
            "graph": {"input": "x", "output": self.name, "nodes": self.nodes},
        }


Ops = dict[str, list[native.Op]]  # the operations of each kind, in order


class Made:
    """The program of a network, as the compiler writes it, to be changed behind its back."""

    network: Callable[[], Network] = EveryOperation

    def __init__(self) -> None:
        network = type(self).network()
        x_floats = int(np.prod(network.card["input"]["shape"]))
        self.layout: Layout = Compiler(network.card, network.weights, "made", True, 2, "avx512").compile()
        self.array = (native.Op * len(self.layout.ops))(*self.layout.ops)
        self.v_floats = (ctypes.c_int64 * len(network.states))(
            *(row_stride(state["shape"]) for state in network.states)
        )
        keep = self.layout.keep
        self.buffers = (native.Buffer * len(keep))(*(native.Buffer(array.ctypes.data, array.nbytes) for array in keep))
        self.program = native.Program(
            ops=ctypes.addressof(self.array), count=len(self.array), states=len(self.v_floats), path=0, flush=1,
            acc_floats=self.layout.acc_floats, arena_bytes=self.layout.arena, x_floats=x_floats, y_floats=3,
            v_floats=ctypes.addressof(self.v_floats), buffers=ctypes.addressof(self.buffers), buffer_count=len(keep),
        )  # fmt: skip

    @property
    def ops(self) -> Ops:
        found: Ops = {kind: [] for kind in native.KINDS}
        for op in self.array:
            found[native.KINDS[op.kind]].append(op)
        return found

    def refusal(self) -> str | None:
        return native.find_objection("plif_program_check", ctypes.byref(self.program))


Change = Callable[[Made], Any]


def field(of: str, which: int = 0, /, **values: Any) -> Change:
    """The operation number `which` of a kind gets other fields; a function makes the new value of the old one."""

    def change(made: Made) -> None:
        op = made.ops[of][which]
        for name, value in values.items():
            setattr(op, name, value(getattr(op, name)) if callable(value) else value)

    return change


def program(**values: Any) -> Change:
    def change(made: Made) -> None:
        for name, value in values.items():
            setattr(made.program, name, value(getattr(made.program, name)) if callable(value) else value)

    return change


def both(*changes: Change) -> Change:
    return lambda made: [change(made) for change in changes]


def less(n: int) -> int:
    return n - 1


def more(n: int) -> int:
    return n + 1


def smaller_state(which: int) -> Change:
    return lambda made: made.v_floats.__setitem__(which, made.v_floats[which] - 1)


def smaller_buffer(kind: str, which: int, pointer: str) -> Change:
    """The buffer that this pointer leads to ends a byte earlier."""

    def change(made: Made) -> None:
        at = getattr(made.ops[kind][which], pointer)
        buffer = next(b for b in made.buffers if b.at == at)
        buffer.bytes -= 1

    return change


def into_a_weight(made: Made) -> None:
    made.ops["AFFINE"][0].weight = made.ops["CONV"][0].weight + 32


def nothing_is_a_buffer(made: Made) -> None:
    made.buffers[0].at, made.buffers[0].bytes = None, 1 << 20


WINDOW = {
    "kernel": ("kh", "kw"),
    "stride": ("stride_y", "stride"),
    "padding": ("pad_y", "pad"),
    "dilation": ("dilation_y", "dilation"),
}
LISTS = (
    *((0, name, 64) for name in ("in_", "index", "values")),
    *(
        (1, "dense", 64),
        (1, "dense_row", lambda n: n + 64),
        (0, "row_capacity", more),
        (3, "from_", native.FROM_FLOATS),
    ),
)
UNSAFE: list[tuple[str, Change]] = [
    # the program
    ("0 operations", program(count=0)),
    ("10001 operations", program(count=10001)),
    ("-1 states", program(states=-1)),
    ("10001 states", program(states=10001)),
    ("path 17, which this processor does not have", program(path=17)),
    ("path 32", program(path=32)),
    ("path -32", program(path=-32)),
    ("a size below zero", program(arena_bytes=-1)),
    ("a size below zero", program(acc_floats=-1)),
    ("a size below zero", program(x_floats=-1)),
    ("a size below zero", program(y_floats=-1)),
    # every operation
    ("unknown\\): kind 99", field("LOAD", kind=99)),
    ("unknown\\): kind -1", field("LOAD", kind=-1)),
    ("kind 9, reads a value of kind 3$", field("LOAD", from_=3)),
    ("kind 9, reads a value of kind -1$", field("LOAD", from_=-1)),
    ("map in is \\[0,", field("LOAD", ic=0)),
    ("map in is \\[16777217,", field("LOAD", ic=(1 << 24) + 1, ih=1, iw=1)),
    ("map in is \\[3, 0,", field("LOAD", ih=0)),
    ("map in is \\[3, 65536,", field("LOAD", ih=1 << 16)),
    ("map in is \\[3, 12, 0\\]", field("LOAD", iw=0)),
    ("map in is \\[3, 12, 65536\\]", field("LOAD", iw=1 << 16)),
    ("map in is \\[1024, 65535, 65535\\]", field("LOAD", ic=1024, ih=65535, iw=65535)),
    ("map out is \\[0,", field("LOAD", oc=0)),
    ("LOAD\\): has 11 pieces of work; expected 12", field("LOAD", items=11)),
    ("LOAD\\): reads \\[3, 12, 12\\] and gives \\[4, 12, 12\\]", field("LOAD", oc=4)),
    ("LOAD\\): reads \\[3, 12, 12\\] and gives \\[3, 11, 12\\]", field("LOAD", oh=11, items=11)),
    ("LOAD\\): reads \\[3, 12, 12\\] and gives \\[3, 12, 11\\]", field("LOAD", ow=11)),
    ("LOAD\\): reads a value of kind 1; expected kind 0", field("LOAD", from_=native.FROM_FLOATS)),
    ("reads \\[3, 12, 12\\] numbers of x, which has 431", program(x_floats=less)),
    # memory
    ("LOAD\\): writes numbers, .* at -64;", field("LOAD", out=-64)),
    ("LOAD\\): writes numbers, .* at 32;", field("LOAD", out=32)),
    ("writes .* in an arena of 64 bytes", program(arena_bytes=64)),
    ("AFFINE\\): writes numbers, .* at 0; expected a multiple of 64 from 9216", field("AFFINE", out=0)),
    ("writes .* in an arena of", program(arena_bytes=lambda n: n - 256)),
    ("writes numbers, .* at 4611686018427387904", field("LOAD", out=1 << 62)),
    # sources
    ("AFFINE\\): reads numbers at 64, where no operation", field("AFFINE", in_=64)),
    ("AFFINE\\): reads a map \\[2, 12, 12\\], and it was written as", field("AFFINE", ic=2, oc=2)),
    ("AFFINE\\): reads a map \\[3, 11, 12\\]", field("AFFINE", ih=11, oh=11, items=11)),
    ("AFFINE\\): reads a map \\[3, 12, 11\\]", field("AFFINE", iw=11, ow=11)),
    ("AFFINE\\): reads a value of kind 2; expected kind 1", field("AFFINE", from_=native.FROM_SPIKES)),
    ("AFFINE\\): reads \\[3, 12, 12\\] and gives", field("AFFINE", ow=11)),
    ("AFFINE\\): scale takes 64 bytes, which are in none", smaller_buffer("AFFINE", 0, "weight")),
    ("AFFINE\\): scale takes", field("AFFINE", weight=None)),
    ("AFFINE\\): scale takes", both(nothing_is_a_buffer, field("AFFINE", weight=None))),
    ("AFFINE\\): scale takes", field("AFFINE", weight=64)),
    ("AFFINE\\): shift takes", smaller_buffer("AFFINE", 0, "bias")),
    ("AFFINE\\): scale lies at an address that is no multiple of 64", into_a_weight),
    # active lists
    ("ACTIVE\\): reads numbers at", field("ACTIVE", in_=64)),
    ("ACTIVE\\): reads .* and gives", field("ACTIVE", ow=11)),
    ("ACTIVE\\): has 13 pieces of work", field("ACTIVE", items=13)),
    ("ACTIVE\\): stride 0", both(field("ACTIVE", stride=0), field("CONV", stride=0))),
    ("ACTIVE\\): stride 65536", field("ACTIVE", stride=1 << 16)),
    ("ACTIVE\\): stride 1, padding -1", field("ACTIVE", 1, pad=-1)),
    ("ACTIVE\\): stride 1, padding 65536", field("ACTIVE", 1, pad=1 << 16)),
    ("ACTIVE\\): its lists hold .* entries a row", field("ACTIVE", row_capacity=1 << 40)),
    ("lists of spikes have values", field("ACTIVE", 1, values=64)),
    ("lists of numbers have no values", field("ACTIVE", values=-1)),
    ("writes rows of numbers out", field("ACTIVE", dense=64)),
    ("ACTIVE\\): writes rows of .* expected a multiple of 64", field("ACTIVE", 1, dense_row=lambda n: n + 32)),
    ("ACTIVE\\): writes rows of 64 bytes", field("ACTIVE", 1, dense_row=64)),
    ("ACTIVE\\): writes rows of", field("ACTIVE", 1, dense_row=1 << 50)),
    ("ACTIVE\\): writes rows of", field("ACTIVE", 1, dense=-1)),
    ("writes the index of its lists", field("ACTIVE", index=0)),
    ("writes the values of its lists", field("ACTIVE", values=0)),
    ("writes whole rows", field("ACTIVE", 1, dense=0)),
    ("writes its lists", field("ACTIVE", out=0)),
    # convolutions
    *(
        (f"CONV.*: .*{what} {wrong}(,.*)? along {axis}", field("CONV", **{name: wrong}))
        for what, names in WINDOW.items()
        for axis, name in zip("yx", names, strict=True)
        for wrong in (-1 if what == "padding" else 0, 1 << 16)
    ),
    ("CONV.*make no 1 of 12 along y", field("CONV", kh=15, oh=1)),
    ("CONV.*make no 1 of 12 along x", field("CONV", kw=15, ow=1)),
    ("CONV.*make no 1 of 12 along y", field("CONV", kh=16, stride_y=3, oh=1)),  # -2 / 3 + 1
    ("CONV.*make no 1 of 12 along x", field("CONV", kw=16, stride=3, ow=1)),
    ("CONV.*dilation 7 make no 12 of 12 along y", field("CONV", dilation_y=7)),
    ("CONV.*dilation 7 make no 12 of 12 along x", field("CONV", dilation=7)),
    ("CONV.*make no 160 of 12 along y", field("CONV", oh=160)),
    ("CONV.*make no 160 of 12 along x", field("CONV", ow=160)),
    *(
        ("CONV.*reads active lists at .* that no operation", field("CONV", which, **{name: value}))
        for which, name, value in LISTS
    ),
    ("CONV.*reads lists of a map \\[2, 12, 12\\] with stride 1", field("CONV", ic=2)),
    ("CONV.*reads lists of a map \\[3, 13, 12\\] with", field("CONV", ih=13, kh=4)),
    ("CONV.*reads lists of a map \\[3, 12, 13\\] with", field("CONV", iw=13, kw=4)),
    ("CONV.*with stride 2, and they were made of .* with stride 1", field("CONV", 2, stride=2, ow=2, items=1)),
    ("CONV.*reads rows of .* with padding 0, and they were made", field("CONV", 1, pad=0, kw=1)),
    (
        "CONV.*reads rows of .* with padding 1, and they were made",
        both(*(field(kind, 1, dense_row=896) for kind in ("ACTIVE", "CONV"))),
    ),
    ("CONV.*sums 4", field("CONV", sums=4)),
    ("CONV.*sums -1", field("CONV", sums=-1)),
    ("CONV.*blocks of 32 outputs", field("CONV", block=32)),
    ("CONV.*sums of kind 3 over inputs of kind 1", field("CONV", sums=native.SUM_INT32)),
    ("CONV.*sums of kind 0 over inputs of kind 2, with rows", field("CONV", 1, sums=native.SUM_FLOAT)),
    ("CONV.*tiles of 0 x", field("CONV", tile_h=0)),
    ("CONV.*tiles of 257 x", field("CONV", tile_h=257)),
    ("CONV.*tiles of .* x 0", field("CONV", tile_w=0)),
    ("CONV.*tiles of .* x 65;", field("CONV", tile_w=65)),
    ("CONV.*a tile of .* sums, with room for", program(acc_floats=64)),
    ("CONV.*pieces of work; expected", field("CONV", items=1000)),
    (
        "CONV.*an output with 12884508675 inputs",
        field("CONV", kh=65535, kw=65535, pad=1 << 15, pad_y=1 << 15, oh=14, ow=14, items=10),
    ),
    ("CONV.*weight takes", smaller_buffer("CONV", 0, "weight")),
    ("CONV.*weight takes", smaller_buffer("CONV", 1, "weight")),
    ("CONV.*pairs of bytes, with .* sums of kind 0", field("CONV", 0, pairs=1)),
    ("CONV.*pairs 2", field("CONV", 1, pairs=2)),
    ("ACTIVE.*pairs 1", field("ACTIVE", 1, pairs=1)),
    ("CONV.*eager 5, 0 lines", field("CONV", 1, eager=5)),
    *(
        ("CONV.*: eager 0, .*gives kind", field("CONV", 1, **{name: 1}))
        for name in ("lines", "once", "registers", "gives")
    ),
    (
        "CONV.*reads rows of bytes with dilation 2",
        field("CONV", 1, dilation=2, ow=10, items=lambda n: n),
    ),
    ("CONV.*weight_bytes takes", smaller_buffer("CONV", 1, "weight_bytes")),
    ("CONV.*bias takes", smaller_buffer("CONV", 0, "bias")),
    ("CONV.*scale takes", field("CONV", 1, scale=None)),
    ("CONV.*alpha takes", field("CONV", alpha=64)),
    ("CONV.*state 9 of 4", field("CONV", state=9)),
    ("CONV.*charge 5", field("CONV", charge=5)),
    ("CONV.*charge -1", field("CONV", charge=-1)),
    ("CONV.*writes spikes", field("CONV", out=0)),
    ("CONV.*writes numbers", field("CONV", 2, out=0)),
    ("CONV.*its membranes are .* numbers, those of state 0", smaller_state(0)),
    # neurons
    ("NEURON.*state 4 of 4", field("NEURON", state=4)),
    ("NEURON.*state -1 of 4", field("NEURON", state=-1)),
    ("NEURON.*its membranes are 640 numbers, those of state 2 639", smaller_state(2)),
    ("NEURON.*charge 5", field("NEURON", charge=5)),
    ("NEURON.*alpha takes", field("NEURON", alpha=64)),
    ("NEURON.*reads a value of kind 2; expected kind 1", field("NEURON", from_=native.FROM_SPIKES)),
    ("NEURON.*reads \\[640, 1, 1\\] and gives", field("NEURON", oc=639)),
    ("NEURON.*writes spikes", field("NEURON", out=0)),
]


@pytest.mark.parametrize(("message", "change"), UNSAFE, ids=[m for m, _ in UNSAFE])
def test_a_program_that_could_touch_other_memory_is_refused(message: str, change: Change) -> None:
    made = Made()
    change(made)
    refused = made.refusal()
    assert refused is not None and re.search(message, refused), refused


def test_a_program_of_every_operation_passes() -> None:
    made = Made()
    elsewhere = (
        "BEFORE",
        "AFTER",
        "SPACE",
        "TENSOR",
        "REDUCE",
        "PRODUCT",
    )  # test_program_lines_check, test_program_views_check
    assert made.refusal() is None and all(ops or kind in elsewhere for kind, ops in made.ops.items())
