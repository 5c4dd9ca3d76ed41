"""The command that makes an artifact again: an engine that does not fit a machine is refused with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def command_line(model: object, output: Path | None, options: Mapping[str, Any], settings: Mapping[str, str]) -> str:
    """`plif export ...` with the names of files, without their folders, and what differs from the defaults.

    options  name -> value; None and what equals the default are left out by the caller
    A live module has no file: MODEL stands for one that holds it.
    """
    words = ["plif", "export", Path(model).name if isinstance(model, str | Path) else "MODEL"]
    if output is not None:
        words += ["-o", output.name]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", _text(value)]
    if settings:
        words += ["--set", ",".join(f"{name}={value}" for name, value in settings.items())]
    return shlex.join(words)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_text(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ",".join(str(each) for each in value)
    return str(value)
