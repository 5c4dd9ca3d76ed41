"""libplif: the search for the native library, and Python mirrors of its C structures.

The library is built with the package, or PLIF_LIBRARY names it. It is opened with ctypes, since its interface is a few
functions and structures: it needs no Python headers, and the interpreter's lock is released during a call. The
structures are those of event.h, field by field; `plif_layout` returns their sizes. Where no library fits, `library()`
raises one line that says how to get it.
"""

from __future__ import annotations

import ctypes as c
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import NoReturn

from runtime.core.base.errors import PlifError
from runtime.native.signatures import SIGNATURES

# In the order of the enum in event.c; the last one that a processor has is the fastest. amx: avx512, and tiles for int8.
PATHS = ("scalar", "avx2", "avx512", "neon", "amx")
PATH_VARIABLE = "PLIF_CPU"
LIBRARY_VARIABLE = "PLIF_LIBRARY"  # the path of another build of libplif, as of `make debug`

_caller_mode: ContextVar[int | None] = ContextVar("caller_mode", default=None)  # of the first flush_subnormals

BLOCK, SEGMENT, WIDE_BLOCK, OWED_FLOATS = 64, 128, 128, 64
NIBBLES = 4  # of Op.pairs: weights of 4 bits

KINDS = (
    *("ACTIVE", "CONV", "NEURON", "SPIKE_POOL", "MAX_POOL", "AVG_POOL", "AFFINE", "ADD", "UNPACK", "LOAD"),
    *("FLATTEN", "VOTE", "OUTPUT", "RATE", "BEFORE", "AFTER", "SPACE", "TENSOR", "REDUCE", "PRODUCT"),
)
FROM_X, FROM_FLOATS, FROM_SPIKES = range(3)
SUM_FLOAT, SUM_EXACT, SUM_INT16, SUM_INT32 = range(4)
CHARGE_IF, CHARGE_FOLDED, CHARGE_EXACT, CHARGE_NO_DECAY_INPUT, CHARGE_PROGRAM = range(5)
MACHINE_FLOATS, MOST_LINES, MOST_REGISTERS = 512, 4096, 256
MOST_AXES, MOST_VIEWS, PIECE_ELEMENTS, PIECE_ROWS = 8, 32, 8192, 32  # of tensors: tensor.h
REDUCTIONS = ("sum", "mean", "max")
LINES = (  # of a neuron that is a program: machine.h
    *("NUMBER", "CHANNEL", "EACH", "INPUT", "MAP", "STATE", "KEEP", "GIVE", "VIEW", "PUT", "FIRE"),
    *("FIRE_GREATER", "FIRE_AT_LEAST"),
    *("ADD", "SUB", "MUL", "DIV", "MIN", "MAX", "NEG", "ABS", "ROUND", "FLOOR", "CEIL", "COPY", "EXP", "TANH", "SQRT"),
    *("LOG", "GREATER", "AT_LEAST", "EQUAL", "NOT", "AND", "OR", "CAST", "WHERE"),
    *(f"{first}_{second}" for first in ("ADD", "SUB", "MUL") for second in ("ADD", "SUB", "FROM", "MUL")),
    *("CAST_GREATER", "CAST_AT_LEAST", "WHERE_GREATER", "WHERE_AT_LEAST"),
)


class Op(c.Structure):
    """The C structure of one operation of the event engine; event.h describes its fields."""

    _fields_ = (
        *(
            (name, c.c_int32)
            for name in ("kind", "from_", "ih", "iw", "ic", "oh", "ow", "oc", "kh", "kw", "stride", "pad")
        ),
        *((name, c.c_int32) for name in ("charge", "soft", "state", "items", "parallel", "tile_h", "tile_w", "voters")),
        *((name, c.c_float) for name in ("v_threshold", "v_reset", "dense_from", "area")),
        *((name, c.c_int32) for name in ("sums", "block", "pairs", "eager", "lines", "once", "registers", "gives")),
        *((name, c.c_int32) for name in ("stride_y", "pad_y", "dilation", "dilation_y")),
        *((name, c.c_int64) for name in ("in_", "in2", "out", "index", "values", "dense", "row_capacity", "dense_row")),
        *((name, c.c_void_p) for name in ("weight", "weight_bytes", "bias", "scale", "alpha", "code")),
    )


class Buffer(c.Structure):
    """The C structure of a block of memory that event-engine operations may point into."""

    _fields_ = (("at", c.c_void_p), ("bytes", c.c_int64))


class Program(c.Structure):
    """The C structure of a compiled network: its operations, and the sizes of the memory that they use."""

    _fields_ = (
        ("ops", c.c_void_p),
        *((name, c.c_int32) for name in ("count", "states", "path", "flush")),
        *((name, c.c_int64) for name in ("acc_floats", "arena_bytes", "x_floats", "y_floats")),
        ("v_floats", c.c_void_p),
        ("buffers", c.c_void_p),
        ("buffer_count", c.c_int64),
    )


class Call(c.Structure):
    """The C structure of one event-engine call: the addresses and strides of its arrays."""

    _fields_ = (
        *((name, c.c_void_p) for name in ("x", "y", "v", "v_next", "rates", "owed", "v_stride")),
        *((name, c.c_int64) for name in ("x_row", "x_step", "y_row", "y_step")),
        *((name, c.c_int32) for name in ("rows", "steps")),
    )


class CallSizes(c.Structure):
    """The C structure of the sizes, in floats, of the arrays of an event-engine call."""

    _fields_ = (("x", c.c_int64), ("y", c.c_int64), *((name, c.c_void_p) for name in ("v", "v_next", "rates")))


def set_signatures(library: c.CDLL) -> c.CDLL:
    """Set the argument and result types of the native library's functions; return the library.

    Raise AttributeError where one of them is missing.
    """
    for name, (result_type, *arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result_type, arguments
    return library


def find_library(pattern: str, layout_function: str, layout: int) -> c.CDLL | None:
    """Find the native library in this folder whose structures have the sizes that Python expects; else None.

    Raise PlifError where PLIF_LIBRARY names another that does not fit.
    """
    named = os.environ.get(LIBRARY_VARIABLE)
    for path in [Path(named).absolute()] if named else sorted(Path(__file__).parent.glob(pattern)):
        try:
            library = set_signatures(c.CDLL(str(path)))
            if library[layout_function]() != layout:
                raise OSError("built from other sources than this plif")
        except (OSError, AttributeError) as error:  # built for another machine, or not ours
            if named:
                why = " ".join(str(error).split())
                raise PlifError(
                    f"{LIBRARY_VARIABLE}={named}: no library for this plif ({why}); unset it, or: make debug"
                ) from None
            continue
        return library
    return None


@cache
def _open() -> c.CDLL | None:
    sizes = c.sizeof(Op) * 1_000_000 + c.sizeof(Program) * 1000 + c.sizeof(Call) + c.sizeof(CallSizes)
    return find_library("_event*.so", "plif_layout", sizes)


def count_cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """Return the model name of this machine's processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def is_built() -> bool:
    return _open() is not None


def library() -> c.CDLL:
    """Return the native library; refuse to continue where no library fits."""
    return _open() or refuse_missing()


def refuse_missing() -> NoReturn:
    raise PlifError(
        f"{Path(__file__).parent}: plif needs its native library, and none here fits (installed without a C compiler or for "
        "another machine); install gcc or clang, or give pip a network, and install plif again"
    )


@contextmanager
def flush_subnormals(on: bool) -> Iterator[None]:
    """Flush subnormal numbers (below 2^-126) to zero in this thread, or keep them; restore the mode at the end.

    Without the native library the mode of the thread stays as it is.
    """
    if not is_built():
        yield
        return
    before = library().plif_flush(on)
    outermost = _caller_mode.set(before) if _caller_mode.get() is None else None
    try:
        yield
    finally:
        library().plif_unflush(before)
        if outermost is not None:
            _caller_mode.reset(outermost)


@contextmanager
def use_caller_mode() -> Iterator[None]:
    """Flush subnormal numbers as the caller of plif did, for code of the user; keep the mode that this code leaves."""
    if _caller_mode.get() is None:
        yield
        return
    ours = library().plif_flush(False)
    library().plif_unflush(_caller_mode.get())
    try:
        yield
    finally:
        _caller_mode.set(library().plif_flush(False))
        library().plif_unflush(ours)


def flushes_caller() -> bool:
    """Return whether the caller of plif, or code of the user that it ran, flushes subnormal numbers to zero."""
    if (mode := _caller_mode.get()) is None:
        return False
    ours, flushing = library().plif_flush(True), library().plif_flush(False)
    keeping = library().plif_flush(False)
    library().plif_unflush(ours)
    return bool(mode & flushing & ~keeping)


def wrap_flushing(on: bool, run: Callable[[], None]) -> Callable[[], None]:
    """Wrap a function that is called in every step so that it runs in the mode of `flush_subnormals`."""
    if not is_built():
        return run
    begin, end = library().plif_flush, library().plif_unflush

    def call() -> None:
        before = begin(on)
        try:
            run()
        finally:
            end(before)

    return call


def find_objection(check: str, *arguments: object) -> str | None:
    """Return why plif_program_check or plif_call_check refuses its arguments, in one line; None if it accepts."""
    text = c.create_string_buffer(300)
    return text.value.decode("ascii", "replace") if library()[check](*arguments, text, len(text)) else None


def cpu_paths(amx: bool = True) -> tuple[str, ...]:
    """List the CPU paths (instruction sets) that this build and this processor have, slowest first.

    `amx`: request AMX from the system, too. Linux then reserves memory for tiles with every thread of the process, so
    this is only for networks that use tiles.
    """
    available = library().plif_paths(int(amx))
    return tuple(name for i, name in enumerate(PATHS) if available >> i & 1)


def choose_cpu_path(amx: bool = True) -> int:
    """Choose the number of a CPU path (instruction set): the environment's PLIF_CPU, else the fastest usable one.

    An empty PLIF_CPU names none.
    """
    name = os.environ.get(PATH_VARIABLE)
    available = cpu_paths(amx or name == "amx")
    if name and name not in available:
        raise PlifError(f"{PATH_VARIABLE}={name}: this processor and build have {', '.join(available)}")
    return PATHS.index(name or available[-1])
