"""Reads of the environment by a module: the clock, environment variables, files, threads, modes of PyTorch.

No copy of the module and no value of a tensor shows the results of these reads elsewhere. So one call is profiled.
Every function of the standard library, or mode of PyTorch, that the module's own code calls is reported by name.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import CodeType, FrameType, ModuleType

from plif_export.readers.unseen_state.generators import Anything
from plif_export.readers.unseen_state.looks import find_source_line, is_user_code, profile_calls

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
COMPILERS = ("torch.jit", "torch._jit", "torch.compiler")  # the reader compiles nothing, so these never vary


def trace_env_reads(run: Callable[[], object]) -> tuple[list[str], set[str]]:
    """Run a function; list where user code reads the environment (clock, os.environ), and the names it uses.

    Returns: lines such as "what time.time says (forward line 41 of model.py)"; the names that the code objects read.
    """
    reads, codes = dict[str, None](), set[CodeType]()

    def profile(frame: FrameType, event: str, function: Anything) -> None:
        name, caller = None, frame
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
    return list(reads), {name for code in codes for name in code.co_names}


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
