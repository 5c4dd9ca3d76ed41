"""Reads of the environment by a module: the clock, environment variables, files, threads, modes of PyTorch.

No copy of the module and no value of a tensor shows the results of these reads elsewhere. So one call is profiled.
Every function of the standard library, or mode of PyTorch, that the module's own code calls is reported by name.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType, ModuleType

import torch
from torch import Tensor

from plif_export.readers.unseen_state.generators import Anything
from plif_export.readers.unseen_state.looks import HOST_READS, find_source_line, is_user_code, profile_calls

# Standard modules with the same results everywhere, or that other checks cover (random numbers, states).
HARMLESS_MODULES = {
    *("abc", "array", "ast", "bisect", "builtins", "cmath", "collections", "contextlib", "contextvars", "copy"),
    *("copyreg", "ctypes", "dataclasses", "decimal", "enum", "fractions", "functools", "heapq", "importlib"),
    *("itertools", "json", "logging", "math", "numbers", "operator", "pickle", "posixpath", "pprint", "random", "re"),
    *("statistics", "string", "struct", "textwrap", "thread.lock", "thread.RLock", "threading.Thread", "traceback"),
    *("types", "typing", "warnings", "weakref"),
}  # fmt: skip
ABSTRACT_MODULES = ("_collections_abc", "collections.abc")
MODE_PREFIXES = ("is_", "are_", "get_", "len_", "has_")  # functions of torch without arguments
# Functions that hand out values of tensors, hide operations from recorders, or start a thread.
LEAVES_TORCH = HOST_READS - {"item", "__bool__"} | {
    *("_to_dlpack", "to_dlpack", "_disable_current_modes", "no_dispatch", "start_new_thread"),
    *("_pop_torch_dispatch_stack", "_pop_mode", "from_buffer", "from_address", "string_at", "load_library"),
}
_TENSOR = str(Path(torch.__file__).with_name("_tensor.py"))
COMPILERS = ("torch.jit", "torch._jit", "torch.compiler")  # the reader compiles nothing, so these never vary


@dataclass
class EnvReads:
    """The things that one call of a module reads around it.

    lines: such as "what time.time says (forward line 41 of model.py)". names: all that its code objects read.
    leaves_torch: it may read values of tensors, or compute, where no recorder of PyTorch sees it.
    """

    lines: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    leaves_torch: bool = False


def trace_env_reads(run: Callable[[], object]) -> EnvReads:
    """Run a function once; return where user code reads the environment (the clock, os.environ)."""
    reads, codes, found = dict[str, None](), set[CodeType](), EnvReads()

    def profile(frame: FrameType, event: str, function: Anything) -> None:
        name, caller = None, frame
        if event in ("call", "c_call"):
            called = frame.f_code.co_name if event == "call" else function.__name__
            of_tensor = isinstance(getattr(function, "__self__", None), Tensor) or frame.f_code.co_filename == _TENSOR
            found.leaves_torch |= called in LEAVES_TORCH and (of_tensor or not called.startswith("__"))
        if event == "c_call":
            owner = getattr(function, "__self__", None)
            bound = owner is None or isinstance(owner, ModuleType)
            module = function.__module__ if bound else (owner if isinstance(owner, type) else type(owner)).__module__
            name = _match_env_read(module, function.__qualname__, isinstance(owner, ModuleType))
        elif event == "call" and is_user_code(frame.f_code):
            if frame.f_code in codes:
                return
            codes.add(frame.f_code)
            for attribute in _find_module_reads(frame.f_code, frame.f_globals):
                reads[f"what {attribute} says ({find_source_line(frame)})"] = None
        elif event == "call" and frame.f_back is not None:
            code, caller = frame.f_code, frame.f_back
            takes_nothing = not code.co_argcount and not code.co_flags & 0xC  # no *args, no **kwargs
            name = _match_env_read(
                frame.f_globals.get("__name__"), getattr(code, "co_qualname", code.co_name), takes_nothing
            )
        if name is not None:
            while caller.f_back is not None and caller.f_globals.get("__name__") in ABSTRACT_MODULES:  # os.environ.get
                caller = caller.f_back
            if is_user_code(caller.f_code):
                reads[f"what {name} says ({find_source_line(caller)})"] = None

    with profile_calls(profile):
        run()
    found.lines, found.names = list(reads), {name for code in codes for name in code.co_names}
    return found


@functools.cache
def _match_env_read(module: str | None, name: str, takes_nothing: bool) -> str | None:
    """Return the full name of a library function if it reads the environment, such as the clock; else None.

    takes_nothing: the function has no arguments.
    """
    full = f"{module or 'builtins'}.{name}".lstrip("_")
    package = full.partition(".")[0]
    if package == "torch":
        mode = takes_nothing and name.lstrip("_").startswith(MODE_PREFIXES) and not full.startswith(COMPILERS)
        return full if mode else None
    if (module or "").partition(".")[0] not in sys.stdlib_module_names:
        return None
    return (
        None
        if package in HARMLESS_MODULES or any(full.startswith(f"{prefix}.") for prefix in HARMLESS_MODULES)
        else full
    )


def _find_module_reads(code: CodeType, namespace: dict[str, Anything]) -> Iterator[str]:
    """Yield the names of values in standard library modules, such as sys.argv, that a code object reads directly.

    These are values, not functions; or the whole module, if the code uses it in a way that shows no attribute.
    """
    modules = {name: namespace[name] for name in code.co_names if isinstance(namespace.get(name), ModuleType)}
    modules = {name: module for name, module in modules.items() if module.__name__ in sys.stdlib_module_names}
    for load, after in pairwise(dis.get_instructions(code)) if modules else ():
        value = modules.get(str(load.argval)) if load.opname == "LOAD_GLOBAL" else None
        if value is not None:
            attribute = after.argval if after.opname in ("LOAD_ATTR", "LOAD_METHOD") else None
            member = vars(value).get(attribute)
            if member is None or not (
                callable(member) or isinstance(member, ModuleType) or value.__name__ in HARMLESS_MODULES
            ):
                yield value.__name__ + (f".{attribute}" if attribute else "")
