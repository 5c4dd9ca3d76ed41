"""The machine on which the numbers were measured; every bench prints it with its rows."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("plif", "numpy", "torch", "onnxruntime", "openvino", "spikingjelly")
FEATURES = ("avx", "amx", "fma", "asimd", "sve")


def machine() -> dict[str, str | int]:
    """Processor, its vector features, cores that may be used, versions, and the event engine's path."""
    from runtime.native import processor_name

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    about: dict[str, str | int] = {
        "processor": processor_name(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
    }
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                flags = line.split(":", 1)[1].split()
                about["features"] = " ".join(f for f in flags if f.startswith(FEATURES))
                break
    except OSError:
        pass
    about["event_path"] = _event_path()
    about["python"] = platform.python_version()
    for package in PACKAGES:
        try:
            about[package] = version(package)
        except PackageNotFoundError:
            about[package] = "not installed"
    return about


def _event_path() -> str:
    from runtime import native

    return native.PATHS[native.choose_cpu_path()] if native.is_built() else "not built"
