"""The command that makes an artifact again; the refusal of an engine that does not fit a machine quotes it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plif_export.options import ExportOptions

USUAL = ExportOptions()
NAMES = (
    "to",
    "form",
    "T",
    "batch",
    "precision",
    "network",
    "shape",
    "math",
    "classes",
    "class_order",
    "framing",
    "kind",
    "neuron",
)


def command_line(model: object, output: str | Path | None, options: ExportOptions, usual_math: str) -> str:
    """`plif export ...` with the names of files, without their folders, and what differs from the defaults.

    usual_math  the target's own, which is not written
    A live module has no file: MODEL stands for one that holds it.
    """
    words = ["plif", "export", Path(model).name if isinstance(model, str | Path) else "MODEL"]
    if output is not None:
        words += ["-o", Path(output).name]
    for name in NAMES:
        value = getattr(options, name)
        if value not in (getattr(USUAL, name), usual_math if name == "math" else None):
            words += [f"--{name.replace('_', '-')}", _text(value)]
    if options.options:
        words += ["--set", _text(options.options)]
    return shlex.join(words)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={'none' if each is None else each}" for name, each in value.items())
    if isinstance(value, tuple):
        return ",".join(str(each) for each in value)
    return str(value)
