"""The reader of a network in Python code, named as `my_module.py:net`.

The code is run, and so is everything that it imports: it is trusted, like the command line that names it
(SECURITY.md). No content of a file leads here, and an existing file is read as that file, whatever its name.
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
from runtime.native import use_caller_mode

MAKES = "an nn.Module, or a function without arguments that returns one"


def run_code(path: str, name: str) -> nn.Module:
    """Run a Python file; return its network (nn.Module) of a given name, or the result of its function of that name.

    As with a script, the code can import modules next to it, from here on. Raises PlifError with the line of the file
    where the code fails, and for a name that is no module and no function that returns one.
    """
    code, file = read_regular(path, "Python code that makes a network"), str(Path(path).absolute())
    if not name.isidentifier():
        raise PlifError(f"{path}: is Python code; which network of it? expected {path}:NAME, which names {MAKES}")
    namespace = ModuleType(f"{Path(path).stem}_py")  # a name that no library has
    namespace.__file__ = file
    sys.modules[namespace.__name__] = namespace  # dataclasses and typing look for a class's module there
    if os.path.dirname(file) not in sys.path:
        sys.path.insert(0, os.path.dirname(file))
    _call_user_code(path, file, lambda: exec(compile(code, file, "exec"), vars(namespace)))
    if name not in vars(namespace):
        candidates = [
            candidate for candidate, value in vars(namespace).items() if _may_make_network(value, namespace.__name__)
        ]
        raise PlifError(f"{path}: has no '{name}'; it has {', '.join(candidates) or 'nothing that makes a network'}")
    network, verb = vars(namespace)[name], "is"
    if callable(network) and not isinstance(network, nn.Module):
        network, verb = _call_user_code(f"{path}:{name}", file, network), "returns"
    if not isinstance(network, nn.Module):
        raise PlifError(f"{path}:{name}: {verb} '{type(network).__name__}'; expected {MAKES}")
    return network


def have_different_weights(a_module: object, b_module: object) -> bool:
    """Return whether two networks made by the same Python code have different weights."""
    if not isinstance(a_module, nn.Module) or not isinstance(b_module, nn.Module):
        return False
    return any(not torch.equal(a, b) for a, b in zip(a_module.parameters(), b_module.parameters(), strict=False))


def _call_user_code(origin: str, file: str, run: Callable[[], object]) -> object:
    command_line, sys.argv = sys.argv, [file]  # its script may have options of the same names
    try:
        with use_caller_mode():
            return run()
    except (Exception, SystemExit) as error:  # whatever the user's own Python raises
        if os.environ.get("PLIF_TRACEBACK"):
            raise
        frames = traceback.walk_tb(error.__traceback__)
        lines = [line for frame, line in frames if frame.f_code.co_filename == file]
        message = str(error)
        if isinstance(error, SyntaxError) and error.filename == file and error.lineno:
            lines, message = [error.lineno], error.msg
        position = f"{origin}, line {lines[-1]}" if lines else origin
        hint = "PLIF_TRACEBACK=1 shows all" if lines else f"expected {MAKES}"
        raise PlifError(f"{position}: {type(error).__name__}: {' '.join(message.split())} ({hint})") from error
    finally:
        sys.argv = command_line


def _may_make_network(value: object, home: str) -> bool:
    return isinstance(value, nn.Module) or (callable(value) and getattr(value, "__module__", None) == home)
