"""What the code of functions and classes says without being run."""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """A code, and those of the functions in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from codes_in(each)


def function_in(value: object) -> object:
    """What a method of a class or a property runs."""
    if isinstance(value, property):
        return value.fget
    return value.__func__ if isinstance(value, staticmethod | classmethod) else value


def codes_of(cls: type) -> Iterator[CodeType]:
    """The codes of a class's methods."""
    for each in map(function_in, vars(cls).values()):
        if isinstance(each, FunctionType):
            yield from codes_in(each.__code__)


@functools.cache
def stored(function: object) -> set[str]:
    """Attributes that a function writes."""
    code = getattr(function, "__code__", None)
    return {each.argval for each in dis.get_instructions(code) if each.opname == "STORE_ATTR"} if code else set()


def whole_numbers(const: object) -> Iterator[int]:
    """The numbers in a constant of a code."""
    if isinstance(const, tuple | frozenset):
        for each in const:
            yield from whole_numbers(each)
    elif isinstance(const, int | float) and not isinstance(const, bool) and abs(const) < 1e9:
        yield int(const)


def written(name: str, codes: Sequence[CodeType]) -> str:
    """Where code writes a name, or else reads it: "forward line 41 of model.py"."""
    for verb in ("STORE_", "LOAD_"):
        for code in codes:
            lines, line = dict(dis.findlinestarts(code)), code.co_firstlineno
            for each in dis.get_instructions(code):
                line = lines.get(each.offset) or line
                if each.argval == name and each.opname.startswith(verb) and code.co_name != "__init__":
                    return f"{code.co_name} line {line} of {Path(code.co_filename).name}"
    return "in code that was not found"
