"""TensorRT and TensorRT-RTX as Python modules: imported by kind, each with the single logger that it allows."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.engines.tensorrt_plan import INDICES
from runtime.engines.tensorrt_plan.plan import RTX, TENSORRT

# kind -> (names of the module, the oldest version that is supported, the first newer one that is not)
_MODULES = {
    TENSORRT: (("tensorrt", "tensorrt_bindings"), (10,), (12,)),
    RTX: (("tensorrt_rtx", "tensorrt_rtx_bindings"), (1,), (2,)),
}
_loggers: dict[str, object] = {}


def import_tensorrt(kind: str) -> ModuleType:
    """Import the TensorRT module of a kind; refuse a missing one, and a version with another interface."""
    names, oldest, next_major = _MODULES[kind]
    for name in names:
        try:
            module = import_module(name)
        except ImportError:
            continue
        if not hasattr(module, "Builder"):  # an empty folder of this name, left by a package of stubs
            continue
        version = tuple(int(part) for part in module.__version__.split(".")[:2])
        if not oldest <= version < next_major:
            span = f"{oldest[0]} or {next_major[0] - 1}" if next_major[0] - oldest[0] > 1 else f"{oldest[0]}"
            raise PlifError(f"{name} {module.__version__} is installed; --to {kind} and its engine need version {span}")
        return module
    raise MissingExtra(f"the {kind} engine", kind, INDICES.get(kind, ""))


def major_version(trt: ModuleType) -> int:
    return int(trt.__version__.split(".")[0])


def get_logger(trt: ModuleType) -> Any:
    """Return the only logger of a TensorRT module in this process.

    TensorRT keeps the first logger that it gets, and ignores others. It collects messages and prints none; our errors
    quote them.
    """
    if trt.__name__ not in _loggers:

        class Messages(trt.ILogger):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors: list[str] = []
                self.warnings: list[str] = []
                self.layers: str | None = None  # the list of kernels; only a build at full verbosity reports it

            def log(self, severity: object, message: str) -> None:
                if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                    self.errors.append(message)
                elif severity == trt.ILogger.WARNING:
                    self.warnings.append(message)
                elif message.startswith("Layers:"):
                    self.layers = message

            def forget(self) -> None:
                self.errors, self.warnings, self.layers = [], [], None

            def reason(self) -> str:
                """Return the last errors that TensorRT logged, in one line."""
                return " ".join(" ".join(self.errors[-2:]).split())[:300] or "no reason given"

        _loggers[trt.__name__] = Messages()
    return _loggers[trt.__name__]
