"""The options of an evaluation, for Python and for the command line."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.declared import SampleOptions, ViewOptions
from runtime.core.base.options import option
from runtime.core.observers import ExtensibleOptions


class RunOptions(ExtensibleOptions, by="workers"):
    """The options of running an evaluation, such as the batch size; none of them changes an answer."""

    batch: int | None = option("Samples in one batch; measured when not given.", default=None, least=1)


class EvaluateOptions(SampleOptions, RunOptions, ViewOptions, by="exits"):
    """The options of an evaluation of one model.

    `data` is NAME:DIR; sensor, csv and up are for folder:DIR.
    """

    data: str = option("NAME:DIR, e.g. nmnist:recordings, or digits.")
    out: Path | None = option(
        "A folder for report.html, metrics.json, predictions.csv, confusion.png and the figures' CSV; "
        "of --calibrate-exit and --calibrate-decide the new artifact.",
        "-o",
        "--out",
        default=None,
    )


class JudgeOptions(EvaluateOptions, ExtensibleOptions, by="eval"):
    """The options of an evaluation with minimum accuracy and maximum latency; reaching a limit exactly is enough."""

    min_accuracy: float | None = option("Exit 1 where accuracy (0..1) is lower.", default=None, least=0, most=1)
    max_p99_ms: float | None = option("Exit 1 where the p99 of a call takes longer.", default=None, least=1e-9)


class ReplacementOptions(ExtensibleOptions, by="instead of eval"):
    """The options of observers that run in place of an evaluation, such as calibrations."""
