"""A network that Python code makes, as `my_module.py:net` names it.

The code is run, and so is what it imports: it is trusted, as is the command line that names it (SECURITY.md). Nothing that a file
says leads here, and a path where a file lies is that file, whatever its name.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular

MAKES = "an nn.Module, or a function without arguments that returns one"


def run_code(path: str, name: str) -> nn.Module:
    """The module that `name` is in a Python file, or makes, by running that file.

    As with a script, the code can import what lies beside it, from here on. Raises PlifError with the line of the file where the
    code fails, and where the name is nothing that is or makes a module.
    """
    code, file = read_regular(path, "Python code that makes a network"), str(Path(path).absolute())
    if not name.isidentifier():
        raise PlifError(f"{path}: is Python code; which network of it? expected {path}:NAME, which names {MAKES}")
    home = ModuleType(f"{Path(path).stem}_py")  # not the name of a library
    home.__file__ = file
    sys.modules[home.__name__] = home  # where dataclasses and typing look for a class's module
    if os.path.dirname(file) not in sys.path:
        sys.path.insert(0, os.path.dirname(file))
    _run(path, file, lambda: exec(compile(code, file, "exec"), vars(home)))
    if name not in vars(home):
        own = [each for each, value in vars(home).items() if _may_be_one(value, home.__name__)]
        raise PlifError(f"{path}: has no '{name}'; it has {', '.join(own) or 'nothing that makes a network'}")
    found, what = vars(home)[name], "is"
    if callable(found) and not isinstance(found, nn.Module):
        found, what = _run(f"{path}:{name}", file, found), "returns"
    if not isinstance(found, nn.Module):
        raise PlifError(f"{path}:{name}: {what} '{type(found).__name__}'; expected {MAKES}")
    return found


def other_weights(one: object, other: object) -> bool:
    """Whether two modules of the same code have other weights."""
    if not isinstance(one, nn.Module) or not isinstance(other, nn.Module):
        return False
    return any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=False))


def _run(what: str, file: str, run: Callable[[], object]) -> object:
    try:
        return run()
    except (Exception, SystemExit) as error:  # whatever the user's own Python raises
        if os.environ.get("PLIF_TRACEBACK"):
            raise
        frames = traceback.walk_tb(error.__traceback__)
        lines = [line for frame, line in frames if frame.f_code.co_filename == file]
        said = str(error)
        if isinstance(error, SyntaxError) and error.filename == file and error.lineno:
            lines, said = [error.lineno], error.msg
        where = f"{what}, line {lines[-1]}" if lines else what
        hint = "PLIF_TRACEBACK=1 shows all" if lines else f"expected {MAKES}"
        raise PlifError(f"{where}: {type(error).__name__}: {' '.join(said.split())} ({hint})") from error


def _may_be_one(value: object, home: str) -> bool:
    return isinstance(value, nn.Module) or (callable(value) and getattr(value, "__module__", None) == home)
