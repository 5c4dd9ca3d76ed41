"""The options of `plif predict`, for Python and for the command line."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.declared import ViewOptions
from runtime.core.base.options import option
from runtime.core.measure.options import RunOptions


class PredictOptions(RunOptions, ViewOptions):
    """The command-line options of `plif predict`, which predicts labels for recordings."""

    out: Path | None = option("A table to write, .csv or .jsonl; on stdout when not given.", default=None)
    min_margin: float = option(
        "No label where it leads the second by less than this share (0..1) of all possible votes.",
        default=0.0,
        least=0,
        most=1,
    )
