"""What may be said of an evaluation, each option once: for Python and for the command line."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.declared import SampleOptions, ViewOptions
from runtime.core.base.options import option
from runtime.core.observers import HeardOptions


class RunOptions(HeardOptions, by="workers"):
    """How an evaluation is run; none of it changes an answer."""

    batch: int | None = option("Samples in one batch; measured when not given.", default=None, least=1)


class EvaluateOptions(SampleOptions, RunOptions, ViewOptions, by="exits"):
    """An evaluation of one model. `data` is NAME:DIR; sensor, csv and up are for folder:DIR."""

    data: str = option("NAME:DIR, e.g. nmnist:recordings, or digits.")
    out: Path | None = option(
        "A folder for report.html, metrics.json, predictions.csv, confusion.png and the figures' CSV; "
        "of --calibrate-exit and --calibrate-decide the new artifact.",
        "-o",
        "--out",
        default=None,
    )


class JudgeOptions(EvaluateOptions, HeardOptions, by="eval"):
    """An evaluation, and the bars that it must reach. Reaching a bar exactly is enough."""

    min_accuracy: float | None = option("Exit 1 where accuracy (0..1) is lower.", default=None, least=0, most=1)
    max_p99_ms: float | None = option("Exit 1 where the p99 of a call takes longer.", default=None, least=1e-9)


class InsteadOptions(HeardOptions, by="instead of eval"):
    """In place of an evaluation."""
