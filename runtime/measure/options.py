"""What may be said of an evaluation, each option once: for Python and for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runtime.base.declared import SampleOptions, ViewOptions
from runtime.base.errors import PlifError
from runtime.base.options import OptionRecord, option


def _share(where: str, value: object) -> object:
    """ "0.5%" or "0.005" -> 0.005"""
    if not isinstance(value, str):
        return value
    number, percent, rest = value.partition("%")
    try:
        if rest.strip():
            raise ValueError
        return float(number) / (100 if percent else 1)
    except ValueError:
        raise PlifError(f"{where} {value}: expected a share such as 0.5% or 0.005") from None


def _each(where: str, value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


class RunOptions(OptionRecord):
    """How an evaluation is run; none of it changes an answer."""

    batch: int | None = option("Samples in one batch; measured when not given.", default=None, least=1)
    workers: int | None = option(
        "Processes, each with its own engine and reader; one a core, where that pays, if not given.",
        default=None,
        least=1,
    )
    cluster: str | None = option(
        "Workers on a Ray cluster: HOST:PORT of its head, or one made here.", default=None, metavar="ADDRESS|local"
    )
    resume: bool = option("Go on with what --out has begun.", default=False)


class EvaluateOptions(SampleOptions, RunOptions, ViewOptions):
    """An evaluation of one model. `data` is NAME:DIR; sensor, csv and up are for folder:DIR."""

    data: str = option("NAME:DIR, e.g. nmnist:recordings, or digits.")
    out: Path | None = option(
        "A folder for report.html, metrics.json, predictions.csv, confusion.png and the figures' CSV; "
        "of --calibrate-exit and --calibrate-decide the new artifact.",
        "-o",
        "--out",
        default=None,
    )
    exit_margin: str | float | None = option(
        "End a sample where its answer leads by this share of all votes; or off. The card's.",
        default=None,
        typed=str | None,
    )


class JudgeOptions(EvaluateOptions):
    """An evaluation, the bars that it must reach, and what it is compared with. Reaching a bar exactly is enough."""

    against: Path | None = option(
        "Another artifact or model.pt on the same samples: which decisions differ?", default=None
    )
    stress: bool = option(
        "Also with lost events, noise, hot pixels, stretched, shifted, mirrored, swapped.", default=False
    )
    latex: bool = option(
        "Also tables, figures as PDF, the proof in a sentence and BibTeX, for a paper: latex/results.tex in --out.",
        default=False,
    )
    min_accuracy: float | None = option("Exit 1 where accuracy (0..1) is lower.", default=None, least=0, most=1)
    max_changed: float | None = option(
        "Exit 1 where a larger share (0..1) of decisions differs from --against.", default=None, least=0, most=1
    )
    max_p99_ms: float | None = option("Exit 1 where the p99 of a call takes longer.", default=None, least=1e-9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_changed is not None and self.against is None:
            raise PlifError("--max-changed: changed from what? Name it with --against FILE")
        if self.latex and self.out is None:
            raise PlifError("--latex: writes files for a paper; name a folder for them with --out DIR")


class ExitOptions(OptionRecord):
    """In place of an evaluation."""

    calibrate_exit: float | None = option(
        "Find the margin of an early exit that loses so little accuracy, 0.5% or 0.005, and write it into the card of a "
        "new artifact, -o NEW. Calibrate on other recordings than those that judge it.",
        default=None,
        parse=_share,
        metavar="LOSE",
    )
    calibrate_decide: float | None = option(
        "Find the rule of deciding that misses fewest gestures with at most so many false labels an hour, and write it "
        "into the card of a new artifact, -o NEW: feeds then take it. Negatives are the samples of class other, and --negatives.",
        default=None,
        metavar="RATE_PER_HOUR",
    )
    negatives: tuple[str, ...] = option(
        "Of --calibrate-decide: a recording, a folder of them, or sim:NAME?seed={1..9}&seconds=60, without any gesture; may be "
        "given several times.",
        default=None,
        parse=_each,
        typed=list[str] | None,
        metavar="SOURCE",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibrate_exit is not None and self.calibrate_decide is not None:
            raise PlifError("--calibrate-exit, --calibrate-decide: one after the other; leave one out")
        if self.negatives and self.calibrate_decide is None:
            raise PlifError("--negatives: belongs to --calibrate-decide; leave it out")
