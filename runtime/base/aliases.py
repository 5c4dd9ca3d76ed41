"""Old names of modules that programs import: each gives the very module that has the new name, and no warning.

`import runtime.observe` asks the finders of `sys.meta_path` for a module of that name. The one below answers for the names
of ALIASES alone. It imports the new name and puts that module into `sys.modules` under the old name too, which Python allows
a loader to do. The module itself is left as it is: its `__name__`, `__spec__` and pickles are those of the new name.

To move a module that documents tell users to import, enter its old name here.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

ALIASES = {
    "runtime.dashboard": "runtime.show.dashboard",
    "runtime.neurons": "runtime.model.neurons",
    "runtime.observe": "runtime.stream.observe",
    "runtime.record": "runtime.stream.record",
    "runtime.replay": "runtime.stream.replay",
    "runtime.triton": "runtime.engines.triton_client",
}


class AliasFinder:
    """Finder and loader of the old names."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, cls) if _new_name(name) else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """None: Python makes an empty module, which exec_module replaces."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(_new_name(module.__name__))


def _new_name(name: str) -> str:
    """The new name of an old module, or of a module inside an old package; empty for all others."""
    for old, new in ALIASES.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return ""


def install() -> None:
    """Puts the finder before all others: another finder would load a module of an old package a second time."""
    if AliasFinder not in sys.meta_path:
        sys.meta_path.insert(0, AliasFinder)
