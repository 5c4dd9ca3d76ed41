"""The command that makes an artifact again; the refusal of an engine that does not fit a machine quotes it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plif_export.options import ExportOptions


def command_line(model: object, output: str | Path | None, options: ExportOptions, usual_math: str) -> str:
    """`plif export ...` with the names of files, without their folders, and what differs from the defaults.

    usual_math  the target's own, which is not written
    A live module has no file: MODEL stands for one that holds it.
    """
    words = ["plif", "export", Path(model).name if isinstance(model, str | Path) else "MODEL"]
    if output is not None:
        words += ["-o", Path(output).name]
    math = None if options.math == usual_math else options.math
    shown = replace(options, math=math, metadata={}, flash=None, ram=None, seed=0, verify=True)  # a budget is in --set
    for flag, value in shown.given().items():
        words += [flag, _text(value)]
    return shlex.join(words)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={'none' if each is None else each}" for name, each in value.items())
    if isinstance(value, tuple):
        return ",".join(str(each) for each in value)
    return str(value)
