"""The runtime: events -> frames -> engine step -> decision. It needs NumPy and one engine, but no torch.

load(path) -> Model            an exported artifact, opened
Model.session(streams)         the state of some streams: step, run, reset, snapshot, restore, save
Model.stream(source)           decisions about a recording or a live feed
PushSource(width, height)      a live feed of events that your own program has

Importing this package loads no heavy module, not even NumPy: each name loads its module at first use. Nor does it load
`typing`, which takes as long as the start of Python: Ctrl-C is held only after it (cli/__main__.py).
It switches off the telemetry of third-party libraries (base/telemetry.py).
"""

from __future__ import annotations

from importlib import import_module

from runtime.core.base import telemetry
from runtime.core.base.version import __version__

# The commands of the core: (name, function, help). Removable commands are parts: folders in commands/.
COMMANDS = (
    (
        "info", "core.cli.info:info",
        "What a model, an artifact or a recording is, or the environment. Needs neither torch nor an engine.",
    ),
    ("eval", "core.cli.evaluate:evaluate", "Batch accuracy on a data set, and the report of it."),
    ("stream", "core.cli.stream:stream", "Streams events step by step and prints decisions."),
)  # fmt: skip
REQUIRES, EXTRA = (), ""  # the modules that these commands require

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.core.api import Model, load
    from runtime.core.base.errors import CheckFailed, PlifError
    from runtime.core.engines.session import Session

__all__ = ["CheckFailed", "Model", "PlifError", "PushSource", "Session", "__version__", "load"]

telemetry.disable_telemetry()

_MODULES = {
    "CheckFailed": "runtime.core.base.errors",
    "PlifError": "runtime.core.base.errors",
    "Model": "runtime.core.api",
    "load": "runtime.core.api",
    "Session": "runtime.core.engines.session",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'runtime' has no attribute '{name}'")
    if name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
    else:
        from runtime.core.base.errors import PlifError
        from runtime.core.parts import find_part

        part = find_part("sources", name)
        if part is None:
            raise PlifError(f"runtime.{name}: the source that has it is not installed here")
        value = part.load(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
