"""The command line that repeats an export; the refusal of an engine that does not fit a machine quotes it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from plif_export.core.options import ExportOptions


def command_line(model: object, output: str | Path | None, options: ExportOptions, usual_math: str) -> str:
    """Return the `plif export ...` command that repeats an export, without folders and default values.

    usual_math  the target's default, which is not written
    A live module has no file: MODEL stands for a file that holds it.
    """
    words = ["plif", "export", Path(model).name if isinstance(model, str | Path) else "MODEL"]
    if output is not None:
        words += ["-o", Path(output).name]
    math = None if options.math == usual_math else options.math
    shown = replace(options, math=math, metadata={}, flash=None, ram=None, seed=0, verify=True)  # a budget is in --set
    for flag, value in shown.changed_flags().items():
        words += [flag, _format_option(value)]
    return shlex.join(words)


def _format_option(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={'none' if v is None else v}" for name, v in value.items())
    if isinstance(value, tuple):
        return ",".join(str(v) for v in value)
    return str(value)
