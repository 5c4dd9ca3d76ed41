"""`plif eval --calibrate-exit` (exits.py) and `--calibrate-decide` (rules.py): in place of an evaluation a new artifact."""

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

    Tell = Callable[[int, int], None]
    Found = tuple[dict[str, object], list[str]]

OURS = {"--split", "--limit", "--out"}


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


class CalibrationOptions(OptionRecord):
    """Which."""

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


def hear(
    artifact: Path,
    how: JudgeOptions,
    given: Mapping[str, object],
    calibrate_exit: float | None,
    calibrate_decide: float | None,
    negatives: Sequence[str],
) -> list[Callable[[Model, Tell], Found]]:
    """Who does it; given: the options of the evaluation that were given."""
    if calibrate_exit is not None and calibrate_decide is not None:
        raise PlifError("--calibrate-exit, --calibrate-decide: one after the other; leave one out")
    if negatives and calibrate_decide is None:
        raise PlifError("--negatives: belongs to --calibrate-decide; leave it out")
    from runtime.observers.calibrate.exits import require_room

    key = "exit" if calibrate_exit is not None else "decide"
    if wrong := [flag for flag in given if flag not in OURS]:
        raise PlifError(f"--calibrate-{key}: evaluates nothing, so {wrong[0]} says nothing; leave it out")
    if how.out is None:
        raise PlifError(f"--calibrate-{key}: writes a new artifact; name it with -o NEW")
    require_room(artifact, how.out, key)
    if calibrate_exit is not None:
        return [partial(_exit, artifact, how, how.out, calibrate_exit)]
    assert calibrate_decide is not None
    return [partial(_decide, artifact, how, how.out, calibrate_decide, negatives)]


def _exit(artifact: Path, how: JudgeOptions, out: Path, lose: float, model: Model, tell: Tell) -> Found:
    from runtime.observers.calibrate.exits import calibrate_exit, write_exit

    found = calibrate_exit(model, how.data, lose, split=how.split, limit=how.limit, progress=tell)
    path = write_exit(artifact, found, out)
    return {"path": str(path), **found.to_dict()}, [*_exit_lines(found), f"wrote {path}; eval and stream use it"]


def _decide(
    artifact: Path, how: JudgeOptions, out: Path, per_hour: float, negatives: Sequence[str], model: Model, tell: Tell
) -> Found:
    from runtime.observers.calibrate.exits import write_key
    from runtime.observers.calibrate.rules import calibrate_decide

    found = calibrate_decide(model, how.data, per_hour, negatives, split=how.split, limit=how.limit, progress=tell)
    path = write_key(artifact, "decide", found.to_dict(), out)
    return {"path": str(path), **found.to_dict()}, [*_decide_lines(found), f"wrote {path}; feeds without an end use it"]


def _exit_lines(found: ExitCalibration) -> list[str]:
    return [
        f"margin {found.margin:g}: {found.mean_steps:.2f} steps a sample on {found.samples} of {found.data}, {found.split}",
        f"accuracy there {100 * found.accuracy:.2f} %, with all steps {100 * found.accuracy_all_steps:.2f} %; "
        f"at most {100 * found.lost_at_most:.2f} % are lost (95 % interval)",
    ]


def _decide_lines(found: DecideCalibration) -> list[str]:
    return [
        f"--decide {found.rule}",
        f"{found.false_labels} false labels in {60 * found.hours:.3g} minutes: at most {found.at_most_per_hour:.3g} an hour (95 "
        f"% interval), allowed {found.per_hour:g}",
        f"{found.missed} of {found.gestures} gestures of {found.data}, {found.split}, missed; the label comes after "
        f"{_ms(found.onset_p50_ms)} ms (p90 {_ms(found.onset_p90_ms)})",
        f"soft: {found.soft_false_labels} false labels, after {_ms(found.soft_onset_p50_ms)} ms "
        f"(p90 {_ms(found.soft_onset_p90_ms)})",
    ]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
