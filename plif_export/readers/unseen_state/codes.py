"""Facts from the bytecode of functions and classes, read without running it."""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType


def iter_codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a Python code object, and the code objects of all functions nested in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from iter_codes(const)


def unwrap_method(value: object) -> object:
    """Return the function behind a property, static method or class method; any other value unchanged."""
    if isinstance(value, property):
        return value.fget
    return value.__func__ if isinstance(value, staticmethod | classmethod) else value


def iter_class_codes(cls: type) -> Iterator[CodeType]:
    """Yield the Python code objects of all methods of a class."""
    for member in map(unwrap_method, vars(cls).values()):
        if isinstance(member, FunctionType):
            yield from iter_codes(member.__code__)


@functools.cache
def find_assigned_attrs(function: object) -> set[str]:
    """Return the names of the attributes (such as x in self.x = 1) that a Python function assigns."""
    code = getattr(function, "__code__", None)
    return (
        {instruction.argval for instruction in dis.get_instructions(code) if instruction.opname == "STORE_ATTR"}
        if code
        else set()
    )


def iter_numbers(const: object) -> Iterator[int]:
    """Yield the numbers in a constant of a Python code object, rounded toward zero."""
    if isinstance(const, tuple | frozenset):
        for element in const:
            yield from iter_numbers(element)
    elif isinstance(const, int | float) and not isinstance(const, bool) and abs(const) < 1e9:
        yield int(const)


def find_access_line(name: str, codes: Sequence[CodeType]) -> str:
    """Return the source line that assigns a name, or else one that reads it: "forward line 41 of model.py"."""
    for verb in ("STORE_", "LOAD_"):
        for code in codes:
            lines, line = dict(dis.findlinestarts(code)), code.co_firstlineno
            for instruction in dis.get_instructions(code):
                line = lines.get(instruction.offset) or line
                if instruction.argval == name and instruction.opname.startswith(verb) and code.co_name != "__init__":
                    return f"{code.co_name} line {line} of {Path(code.co_filename).name}"
    return "in code that was not found"
