"""Facts from the bytecode of functions and classes, read without running it."""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType

from torch import nn


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


def list_codes(module: nn.Module) -> tuple[CodeType, ...]:
    """List the code of all classes of a module and of its submodules, PyTorch's own excluded."""
    classes = {cls for part in module.modules() for cls in type(part).__mro__}
    own = (cls for cls in classes if not cls.__module__.startswith(("torch.", "builtins")))
    return tuple(code for cls in own for code in iter_class_codes(cls))


def find_passing_value(frame: FrameType) -> bool | None:
    """Return the truth value with which an assert, or an `if` that raises, goes on; None for other conditions.

    frame: of the code that asks for the truth value now.
    """
    instructions = list(dis.get_instructions(frame.f_code))
    position = next((i for i, one in enumerate(instructions) if one.offset == frame.f_lasti), len(instructions))
    is_negated = False
    for instruction in instructions[position:]:
        name = instruction.opname
        if name.startswith("POP_JUMP") and name.endswith(("IF_TRUE", "IF_FALSE")):
            break
        if name not in ("TO_BOOL", "UNARY_NOT", "CACHE", "EXTENDED_ARG"):
            return None
        is_negated ^= name == "UNARY_NOT"
    else:
        return None
    jumps_if = name.endswith("IF_TRUE") != is_negated
    target = next(i for i, one in enumerate(instructions) if one.offset == instruction.argval)
    raising = [_raises(instructions[i:]) for i in (instructions.index(instruction) + 1, target)]
    return {(True, False): jumps_if, (False, True): not jumps_if}.get((raising[0], raising[1]))


def _raises(instructions: Sequence[dis.Instruction]) -> bool:
    """Return whether a block of code raises an error, before it jumps, returns or stores anything."""
    for instruction in instructions:
        if instruction.opname == "RAISE_VARARGS":
            return True
        if instruction.opname.startswith(("STORE_", "RETURN_", "POP_JUMP", "JUMP", "FOR_ITER", "YIELD")):
            return False
    return False


def stores_unread(frame: FrameType, codes: Sequence[CodeType]) -> bool:
    """Return whether the value that code asks for now goes to an attribute whose name no code reads.

    codes: of all that a module can reach.
    """
    instructions = [one for one in dis.get_instructions(frame.f_code) if one.opname != "CACHE"]
    position = next((i for i, one in enumerate(instructions) if one.offset == frame.f_lasti), len(instructions))
    following = instructions[position + 1 : position + 4]
    stored = next((one.argval for one in following if one.opname == "STORE_ATTR"), None)
    is_direct = all(one.opname.startswith(("LOAD_FAST", "LOAD_NAME", "STORE_ATTR", "CALL")) for one in following[:2])
    if stored is None or not is_direct:
        return False
    read = (one for code in codes for one in dis.get_instructions(code) if one.opname.startswith("LOAD_"))
    return all(stored not in (one.argval, f"self.{stored}") for one in read)
