"""What a module asks of the world around it: the clock, the environment, files, threads, modes of PyTorch, who calls it.

No copy of the module and no value of a tensor shows what these will say elsewhere. So one call is watched, and whatever code of
the module's own calls in the standard library, or of the modes of PyTorch, is named.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import CodeType, FrameType, ModuleType

from plif_export.readers.unseen_state.generators import Anything
from plif_export.readers.unseen_state.looks import is_own, place, profiled

# Of the standard library: what says the same wherever it is asked, or is seen by other means (random numbers, states).
HARMLESS = {
    *("abc", "array", "ast", "bisect", "builtins", "cmath", "collections", "contextlib", "contextvars", "copy"),
    *("copyreg", "ctypes", "dataclasses", "decimal", "enum", "fractions", "functools", "heapq", "importlib"),
    *("itertools", "json", "logging", "math", "numbers", "operator", "pickle", "posixpath", "pprint", "random", "re"),
    *("statistics", "string", "struct", "textwrap", "thread.lock", "thread.RLock", "threading.Thread", "traceback"),
    *("types", "typing", "warnings", "weakref"),
}  # fmt: skip
ABSTRACT = ("_collections_abc", "collections.abc")
MODES = ("is_", "are_", "get_", "len_", "has_")  # functions of torch without arguments
COMPILERS = ("torch.jit", "torch._jit", "torch.compiler")  # nothing is compiled


def asked(run: Callable[[], object]) -> tuple[list[str], set[str]]:
    """What is asked while something runs: "what time.time says (forward line 41 of model.py)"; and the names that codes read."""
    found, codes = dict[str, None](), set[CodeType]()

    def profile(frame: FrameType, event: str, function: Anything) -> None:
        name, asker = None, frame
        if event == "c_call":
            owner = getattr(function, "__self__", None)
            bound = owner is None or isinstance(owner, ModuleType)
            module = function.__module__ if bound else (owner if isinstance(owner, type) else type(owner)).__module__
            name = _asks(module, function.__qualname__, isinstance(owner, ModuleType))
        elif event == "call" and is_own(frame.f_code):
            if frame.f_code in codes:
                return
            codes.add(frame.f_code)
            for each in _modules(frame.f_code, frame.f_globals):
                found[f"what {each} says ({place(frame)})"] = None
        elif event == "call" and frame.f_back is not None:
            code, asker = frame.f_code, frame.f_back
            alone = not code.co_argcount and not code.co_flags & 0xC  # no *args, no **kwargs
            name = _asks(frame.f_globals.get("__name__"), getattr(code, "co_qualname", code.co_name), alone)
        if name is not None:
            while asker.f_back is not None and asker.f_globals.get("__name__") in ABSTRACT:  # os.environ.get
                asker = asker.f_back
            if is_own(asker.f_code):
                found[f"what {name} says ({place(asker)})"] = None

    with profiled(profile):
        run()
    return list(found), {name for code in codes for name in code.co_names}


@functools.cache
def _asks(module: str | None, name: str, alone: bool) -> str | None:
    """The name of a function that asks something, else None. alone: it takes no arguments."""
    full = f"{module or 'builtins'}.{name}".lstrip("_")
    package = full.partition(".")[0]
    if package == "torch":
        mode = alone and name.lstrip("_").startswith(MODES) and not full.startswith(COMPILERS)
        return full if mode else None
    if (module or "").partition(".")[0] not in sys.stdlib_module_names:
        return None
    return None if package in HARMLESS or any(full.startswith(f"{each}.") for each in HARMLESS) else full


def _modules(code: CodeType, known: dict[str, Anything]) -> Iterator[str]:
    """Modules of the standard library whose attributes a code reads that are no functions, or in a way that is not seen."""
    modules = {name: known[name] for name in code.co_names if isinstance(known.get(name), ModuleType)}
    modules = {name: each for name, each in modules.items() if each.__name__ in sys.stdlib_module_names}
    for one, after in pairwise(dis.get_instructions(code)) if modules else ():
        value = modules.get(str(one.argval)) if one.opname == "LOAD_GLOBAL" else None
        if value is not None:
            attribute = after.argval if after.opname in ("LOAD_ATTR", "LOAD_METHOD") else None
            taken = vars(value).get(attribute)
            if taken is None or not (callable(taken) or isinstance(taken, ModuleType) or value.__name__ in HARMLESS):
                yield value.__name__ + (f".{attribute}" if attribute else "")
