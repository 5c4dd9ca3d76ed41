"""The event-driven CPU engine: work in proportion to spikes.

Dense engines multiply every input, and nine of ten inputs are zero. This one keeps spikes as bits, lists them once per
layer, and adds the weights of each spike: convolution, neuron and threshold in one pass over a tile that stays in the
first-level cache. The kernels are native code (runtime/native) for float32 or int8 weights, and give the same bits for
any number of threads and on every CPU path. The number of threads of a step is measured while it runs (threads.c in
runtime/native/engine), up to a limit that follows from the network's size.

It opens the same artifacts as the other engines and takes the network from the card's graph; of the ONNX file it
reads the initializers only, not the nodes. A .plif file holds the compiled operations, ready to run. fp16 is refused,
since engines round its sums in different orders. docs/event-engine-inside.md has the measurements.
"""

from __future__ import annotations

import ctypes
import math
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from runtime import native
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.engines import Engine, should_flush
from runtime.core.engines.available import MissingRequirement
from runtime.core.engines.buffers import Arrays, Buffers, Rates
from runtime.core.engines.tensors import call_shapes
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import MAX_NUMBERS, Card
from runtime.core.model.grids import GRIDS
from runtime.engines.event.memory import (
    LazyMembranes,
    allocate_state,
    count_floats,
    has_other_layout,
    open_program,
    read_weights,
    row_stride,
)
from runtime.engines.event_program import forms
from runtime.engines.event_program.layout import Layout, allocate_aligned
from runtime.engines.event_program.program import Compiler

PRECISIONS = ("fp32", *GRIDS)
FASTER = 0.10  # fraction by which another number of threads must be faster: the tuner's MARGIN


@dataclass
class _Scratch:
    """The working memory of one event-engine call: for each thread an arena of bytes, and sums of a tile of outputs."""

    arrays: list[np.ndarray]
    arenas: ctypes.Array[ctypes.c_void_p]
    accs: ctypes.Array[ctypes.c_void_p]


class EventEngine(Engine):
    """The event engine: runs artifacts with the native kernels, from the graph in their card.

    It opens .onnx artifacts of PRECISIONS, .plif files, and web pages with a .plif file.

    threads  the most that a step takes; exactly that many where the options say so
    """

    name: ClassVar[str] = "event"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx", ".plif", ".html")
    keeps_subnormals: ClassVar[bool] = True
    rows_apart: ClassVar[bool] = True
    threads: int

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        if options.device not in (None, "cpu"):
            raise PlifError(f"engine event: device '{options.device}'; this engine runs on cpu only")
        if card.get("precision") not in PRECISIONS:
            raise PlifError(
                f"{path}: precision {card.get('precision')}; engine event computes in {', '.join(PRECISIONS)}: "
                "use --engine onnxruntime"
            )
        self.card = card
        self.threads = max(1, min(options.threads or _worthwhile_threads(card), 256))
        self._library = native.library()
        self.path = native.PATHS[native.choose_cpu_path(amx=card["precision"] in GRIDS)]
        self._x_floats, self._y_floats = math.prod(card["input"]["shape"]), len(card["classes"])
        self._program_memory: object  # the memory that the program points to
        if detect_kind(path).program is not None:
            self._v_floats = _counts(row_stride(state["shape"]) for state in card["states"])
            cpu_path = self.path if os.environ.get(native.PATH_VARIABLE) else None
            self._program, self._program_memory = open_program(path, card, cpu_path, should_flush(card, options))
            self.path = native.PATHS[self._program.path]  # a page has the one that runs on every machine
        else:
            self._program = self._compile(path, options)
        self._share_pools(exactly=bool(options.threads))

    def _compile(self, path: Path, options: EngineOptions) -> native.Program:
        """Compile the event-engine program of an ONNX file from its card, and check it."""
        card = self.card
        try:
            weights = read_weights(path, card)
            ways = forms.choose_forms(self.path) if card["precision"] in GRIDS else None
            layout = Compiler(card, weights, str(path), options.rates, self.threads, self.path, ways).compile()
            self._v_floats = _counts(row_stride(state["shape"]) for state in card["states"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            problem = " ".join(str(error).split())[:100]
            raise PlifError(f"{path}: the graph in its card cannot be read ({problem}); export it again") from None
        if (
            math.prod(card["input"]["shape"]) + sum(row_stride(state["shape"]) for state in card["states"])
            > MAX_NUMBERS
        ):
            raise PlifError(
                f"{path}: one stream has over {MAX_NUMBERS} inputs and membranes, the most in this engine; "
                "use --engine onnxruntime"
            )
        program = self._make_program(layout, should_flush(card, options))
        if (why := native.find_objection("plif_program_check", ctypes.byref(program))) is not None:
            raise PlifError(
                f"{path}: the graph in its card makes no program that is safe to run ({why}); export it again"
            )
        return program

    def _make_program(self, layout: Layout, flush: bool) -> native.Program:
        """Create the C structure of an event-engine program; the engine keeps the arrays that it points to."""
        ops, keep = layout.ops, layout.keep
        self._ops = (native.Op * len(ops))(*ops)
        self._program_memory = keep
        self._buffers = (native.Buffer * len(keep))(*(native.Buffer(array.ctypes.data, array.nbytes) for array in keep))
        return native.Program(
            ops=ctypes.addressof(self._ops),
            count=len(ops),
            states=len(self.card["states"]),
            path=native.PATHS.index(self.path),
            flush=int(flush),
            acc_floats=layout.acc_floats,
            arena_bytes=layout.arena,
            x_floats=self._x_floats,
            y_floats=self._y_floats,
            v_floats=ctypes.addressof(self._v_floats),
            buffers=ctypes.addressof(self._buffers),
            buffer_count=len(keep),
        )

    def _share_pools(self, exactly: bool) -> None:
        """Create the thread pools for calls of this engine: of at most `threads` threads, or of exactly as many."""
        self._pools = self._create_native("pools", self.threads, exactly)
        self._threads_of: dict[tuple[int, int], int | None] = {}  # by the numbers of rows and steps

    def _create_native(self, kind: str, *arguments: object) -> int | None:
        """Create an object of libplif that is freed together with this engine, and return its address.

        None, which means one thread to libplif, stands for lack of memory.
        """
        address: int | None = getattr(self._library, f"plif_{kind}_new")(*arguments)
        if address:
            weakref.finalize(self, getattr(self._library, f"plif_{kind}_free"), address)
        return address

    def membranes(self, rows: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Allocate membranes in the kernels' layout: float32 [rows, C, H, W] with adjacent channels.

        The two sets are the same one: this engine updates membranes in place, so that a step touches half the memory.
        """
        v = [allocate_state(rows, state["shape"]) for state in self.card["states"]]
        return v, v

    def buffers(self, rows: int, rates: bool = False) -> Buffers:
        """Allocate the arrays of a session of `rows` rows; neurons without input decay only when membranes are read.

        Raise PlifError, before any allocation, where the rows would take more memory than a session may
        (docs/limits.md).
        """
        moves = self._y_floats + (0 if self.card["input"]["kind"] == "static" else self._x_floats)
        extra_bytes = 4 * rows * (int(self.card["T"]) - 1) * moves if self.card["form"] == "unrolled" else 0
        if why := native.find_objection("plif_room_check", ctypes.byref(self._program), rows, extra_bytes):
            raise PlifError(f"engine event: {why}; take fewer rows (streams, --batch, every:T/K)")
        v, _ = self.membranes(rows)
        return LazyMembranes(self.card, rows, rates, v, list(self._v_floats[: len(v)]), self.bind_lazily)

    def bind(self, x: np.ndarray, v: Arrays, y: np.ndarray, v_next: Arrays, rates: Rates = None) -> Callable[[], None]:
        """Bind float32 arrays [rows, ...] to the event engine; return a function that runs one call (see Engine.bind).

        Arrays from `membranes` are used in place; others are copied in and out in each call.
        """
        return self.bind_lazily(x, v, y, v_next, rates)[0]

    def bind_lazily(
        self,
        x: np.ndarray,
        v: Arrays,
        y: np.ndarray,
        v_next: Arrays,
        rates: Rates = None,
        pending_decay: Arrays = (),
        steps: int | None = None,
    ) -> tuple[Callable[[], None], Callable[[], None]]:
        """Bind arrays [rows, ...]; return a function for a call, and one that applies the pending decay of membranes.

        See LazyMembranes. pending_decay (): every call updates all membranes.

        steps  the number of steps of a step artifact in one call: x and y then begin with an axis of that size
        """
        x_shape, v_shapes, y_shape = call_shapes(self.card)
        if steps is not None:
            x_shape, y_shape = [steps, *x_shape], [steps, *y_shape]
        else:
            steps = int(self.card["T"]) if self.card["form"] == "unrolled" else 1
        rows_axis = x_shape.index("B")  # the axis of x that holds the rows
        rows = x.shape[rows_axis] if x.ndim > rows_axis else 0
        names = ["x", *(state["name"] for state in self.card["states"]), "y"]
        for arrays in ((x, *v, y), (x, *v_next, y)):
            for name, shape, array in zip(names, (x_shape, *v_shapes, y_shape), arrays, strict=True):
                _check(name, array, [rows if n == "B" else n for n in shape], contiguous=array is x or array is y)
        spare = np.zeros(rows * steps, np.float32)  # of states that no rate is counted of
        counted = [
            rates.get(state["layer"], spare) if state["variable"] == "v" else spare
            for state in self.card["states"]
            if rates
        ]
        for array in counted:
            _check("rates", array, [rows * steps])
        # membranes in another layout than that of the kernels have a twin in that layout
        twins = [
            allocate_state(rows, a.shape[1:]) if has_other_layout(a, b) else None
            for a, b in zip(v, v_next, strict=True)
        ]
        v_before, v_after = (
            [array if twin is None else twin for array, twin in zip(arrays, twins, strict=True)]
            for arrays in (v, v_next)
        )
        copies = [(twin, a, b) for twin, a, b in zip(twins, v, v_next, strict=True) if twin is not None]
        x_size, y_size = self._x_floats, self._y_floats
        pointers = [_pointers(arrays) for arrays in (v_before, v_after, counted, pending_decay)]
        strides = self._v_floats
        call = native.Call(
            x=x.ctypes.data,
            y=y.ctypes.data,
            v=ctypes.addressof(pointers[0]),
            v_next=ctypes.addressof(pointers[1]),
            rates=ctypes.addressof(pointers[2]) if counted else None,
            owed=ctypes.addressof(pointers[3]) if pending_decay else None,
            v_stride=ctypes.addressof(strides),
            x_row=x_size,
            x_step=x_size * rows if rows_axis else 0,
            y_row=y_size,
            y_step=y_size * rows,
            rows=rows,
            steps=steps,
        )
        sizes = [_counts(map(count_floats, arrays)) for arrays in (v_before, v_after, counted)]
        call_sizes = native.CallSizes(x.size, y.size, *(ctypes.addressof(counts) for counts in sizes))
        if why := native.find_objection(
            "plif_call_check", ctypes.byref(self._program), ctypes.byref(call), ctypes.byref(call_sizes)
        ):
            raise PlifError(f"engine event: its arrays do not fit the network ({why})")
        keep = (
            self,
            x,
            y,
            v_before,
            v_after,
            counted,
            pending_decay,
            pointers,
            strides,
            call,
        )  # the call holds addresses only
        run, apply_decay = self._library.plif_run_timed, self._library.plif_settle
        program, address = ctypes.byref(self._program), ctypes.byref(call)
        scratch = self._allocate_scratch()
        step = partial(run, program, self.thread_chooser(rows, steps), address, scratch.arenas, scratch.accs)
        step.keep = *keep, scratch  # type: ignore[attr-defined]  # they own the memory behind the addresses

        def with_copies() -> None:
            for twin, a, _b in copies:
                twin[...] = a
            step()
            for twin, _a, b in copies:
                b[...] = twin

        return with_copies if copies else step, lambda _=keep: apply_decay(program, address)

    def with_one_thread(self) -> EventEngine:
        """Return an event engine with one thread per call, on the same program."""
        alone = copy(self)
        alone.threads = 1
        alone._share_pools(exactly=True)
        return alone

    def thread_chooser(self, rows: int, steps: int = 1) -> int | None:
        """Return the address of the native object that chooses the threads of calls with so many rows and steps.

        All sessions with such calls share it.
        """
        kind = rows, steps
        return self._threads_of.get(kind) or self._threads_of.setdefault(
            kind, self._create_native("threads", self._pools, FASTER)
        )

    def _allocate_scratch(self) -> _Scratch:
        """Allocate the event engine's working memory for one call at a time."""
        arenas = [allocate_aligned((self._program.arena_bytes + 64,), np.uint8) for _ in range(self.threads)]
        accs = [allocate_aligned((self._program.acc_floats + 16,)) for _ in range(self.threads)]
        return _Scratch([*arenas, *accs], _pointers(arenas), _pointers(accs))


NEURONS_A_THREAD = 60_000


def _worthwhile_threads(card: Card) -> int:
    """Return the number of threads worth using: all cores, but one more only for each NEURONS_A_THREAD neurons.

    A smaller network takes some 50 us a step: waking a second thread would cost what it saves.
    """
    neurons = sum(int(np.prod(state["shape"])) for state in card["states"])
    return min(native.count_cores(), 1 + neurons // NEURONS_A_THREAD)


def _counts(numbers: Iterable[int]) -> ctypes.Array[ctypes.c_int64]:
    counts = list(numbers)
    return (ctypes.c_int64 * max(1, len(counts)))(*counts)


def _pointers(arrays: Sequence[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))


def _check(name: str, array: np.ndarray, shape: list[int | str], contiguous: bool = True) -> None:
    if list(array.shape) != shape or array.dtype != np.float32 or (contiguous and not array.flags.c_contiguous):
        raise PlifError(
            f"{name} is {list(array.shape)} {array.dtype}; expected {shape} float32{', contiguous' * contiguous}"
        )


def find_missing(name: str) -> MissingRequirement | None:
    """Find the missing requirement of the event engine on this machine, or None."""
    if native.is_built():
        return None
    return MissingRequirement("the event engine is not built here", "install a C compiler, then plif again")


ENGINES = (EventEngine,)
