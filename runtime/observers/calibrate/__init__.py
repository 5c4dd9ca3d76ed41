"""`plif eval --calibrate-exit` (exits.py) and `--calibrate-decide` (rules.py): write a calibrated artifact.

Both replace the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError
from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.api import Model
    from runtime.core.measure.options import JudgeOptions
    from runtime.observers.calibrate.exits import ExitCalibration
    from runtime.observers.calibrate.rules import DecideCalibration

    Progress = Callable[[int, int], None]
    CalibrationResult = tuple[dict[str, object], list[str]]

ALLOWED_FLAGS = {"--split", "--limit", "--out", "--follow", "--labelled"}


def _parse_share(flag: str, value: object) -> object:
    """Parse a share such as "0.5%" or "0.005", and return it as a fraction."""
    if not isinstance(value, str):
        return value
    number, percent, tail = value.partition("%")
    try:
        if tail.strip():
            raise ValueError
        return float(number) / (100 if percent else 1)
    except ValueError:
        raise PlifError(f"{flag} {value}: expected a share such as 0.5% or 0.005") from None


def _parse_sources(flag: str, value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


class CalibrationOptions(OptionRecord):
    """The options of a calibration of the early exit or of the decision rule."""

    calibrate_exit: float | None = option(
        "Find the margin of an early exit that loses so little accuracy, 0.5% or 0.005, and write it into the card of a "
        "new artifact, -o NEW. Calibrate on other recordings than those that judge it.",
        default=None,
        parse=_parse_share,
        metavar="LOSE",
    )
    calibrate_decide: float | None = option(
        "Find the rule of deciding that misses fewest gestures with at most so many false labels an hour, and write it "
        "into the card of a new artifact, -o NEW: feeds then take it. Negatives are the samples of class other, and --negatives.",
        default=None,
        metavar="RATE_PER_HOUR",
    )
    labelled: float | None = option(
        "Of --calibrate-decide: the largest share of the time without a gesture that may have a label, 0.5% or 0.005.",
        default=None,
        parse=_parse_share,
        metavar="SHARE",
    )
    follow: str | None = option(
        "Of --calibrate-decide: on finds the rule of two rows a step, the second of which sees a small figure enlarged "
        "(stream --follow); it stands beside the rule of one row.",
        default=None,
        metavar="on|off",
    )
    negatives: tuple[str, ...] = option(
        "Of --calibrate-decide: a recording, a folder of them, or sim:NAME?seed={1..9}&seconds=60, without any gesture; may be "
        "given several times.",
        default=None,
        parse=_parse_sources,
        typed=list[str] | None,
        metavar="SOURCE",
    )


def hear(
    artifact: Path,
    options: JudgeOptions,
    flags: Mapping[str, object],
    calibrate_exit: float | None,
    calibrate_decide: float | None,
    labelled: float | None,
    follow: str | None,
    negatives: Sequence[str],
) -> list[Callable[[Model, Progress], CalibrationResult]]:
    """Return the early-exit or decision-rule calibration that the options ask for, to run in place of an evaluation.

    flags are the options of the evaluation that the user gave. Raises PlifError for options that do not fit together,
    and if the new artifact cannot be written.
    """
    if calibrate_exit is not None and calibrate_decide is not None:
        raise PlifError("--calibrate-exit, --calibrate-decide: one after the other; leave one out")
    if negatives and calibrate_decide is None:
        raise PlifError("--negatives: belongs to --calibrate-decide; leave it out")
    if labelled is not None and (calibrate_decide is None or not 0 < labelled <= 1):
        raise PlifError(
            f"--labelled {labelled:g}: expected a share above 0 and at most 1 beside --calibrate-decide, e.g. 0.5%"
        )
    if follow is not None and (calibrate_decide is None or follow not in ("on", "off")):
        raise PlifError(
            f"--follow {follow}: here it belongs to --calibrate-decide, as on or off; an evaluation has one row"
        )
    from runtime.observers.calibrate.exits import check_writable

    key = "exit" if calibrate_exit is not None else "decide"
    if unsupported := [flag for flag in flags if flag not in ALLOWED_FLAGS]:
        raise PlifError(f"--calibrate-{key}: evaluates nothing, so {unsupported[0]} says nothing; leave it out")
    if options.out is None:
        raise PlifError(f"--calibrate-{key}: writes a new artifact; name it with -o NEW")
    check_writable(artifact, options.out, "follow" if follow == "on" else key)
    if calibrate_exit is not None:
        return [partial(_calibrate_exit, artifact, options, options.out, calibrate_exit)]
    assert calibrate_decide is not None
    limits = (calibrate_decide, labelled)
    return [partial(_calibrate_decide, artifact, options, options.out, limits, follow == "on", negatives)]


def _calibrate_exit(
    artifact: Path, options: JudgeOptions, out: Path, lose: float, model: Model, progress: Progress
) -> CalibrationResult:
    from runtime.observers.calibrate.exits import calibrate_exit, write_exit

    calibration = calibrate_exit(model, options.data, lose, split=options.split, limit=options.limit, progress=progress)
    path = write_exit(artifact, calibration, out)
    return {"path": str(path), **calibration.to_dict()}, [
        *_exit_lines(calibration),
        f"wrote {path}; eval and stream use it",
    ]


def _calibrate_decide(
    artifact: Path,
    options: JudgeOptions,
    out: Path,
    limits: tuple[float, float | None],
    follow: bool,
    negatives: Sequence[str],
    model: Model,
    progress: Progress,
) -> CalibrationResult:
    from runtime.observers.calibrate.exits import write_key
    from runtime.observers.calibrate.rules import calibrate_decide

    calibration = calibrate_decide(
        model,
        options.data,
        limits[0],
        negatives,
        split=options.split,
        limit=options.limit,
        follow=follow,
        labelled=limits[1],
        progress=progress,
    )
    path = write_key(artifact, "follow" if follow else "decide", calibration.to_dict(), out)
    return {"path": str(path), **calibration.to_dict()}, [
        *_decide_lines(calibration),
        f"wrote {path}; feeds without an end use it",
    ]


def _exit_lines(calibration: ExitCalibration) -> list[str]:
    return [
        f"margin {calibration.margin:g}: {calibration.mean_steps:.2f} steps a sample on {calibration.samples} of "
        f"{calibration.data}, {calibration.split}",
        f"accuracy there {100 * calibration.accuracy:.2f} %, with all steps {100 * calibration.accuracy_all_steps:.2f} %; "
        f"at most {100 * calibration.lost_at_most:.2f} % are lost (95 % interval)",
    ]


def _decide_lines(calibration: DecideCalibration) -> list[str]:
    return [
        f"--decide {calibration.rule}",
        f"{calibration.false_labels} false labels in {60 * calibration.hours:.3g} minutes: "
        f"at most {calibration.at_most_per_hour:.3g} an hour (95 % interval), allowed {calibration.per_hour:g}; "
        f"a label for {100 * calibration.labelled:.2g} % of the time",
        *(
            f"  {kind['source']}: {kind['false_labels']} in {kind['seconds']} s, {100 * float(str(kind['labelled'])):.2g} %"
            for kind in (calibration.kinds if len(calibration.kinds) > 1 else ())
        ),
        f"{calibration.missed} of {calibration.gestures} gestures of {calibration.data}, {calibration.split}, missed, and "
        f"{calibration.missed_next} of {calibration.gestures_next} right after another one",
        f"the label comes after {_format_ms(calibration.onset_p50_ms)} ms (p90 {_format_ms(calibration.onset_p90_ms)})",
        f"soft: {calibration.soft_false_labels} false labels, after {_format_ms(calibration.soft_onset_p50_ms)} ms "
        f"(p90 {_format_ms(calibration.soft_onset_p90_ms)})",
    ]


def _format_ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
