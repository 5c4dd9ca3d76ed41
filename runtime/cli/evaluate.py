"""`plif eval`: how often an artifact is right, and with --calibrate-exit when it may stop.

In Python, of runtime.measure.evaluate: judge.judge (all of it), evaluation.evaluate, calibrate_exit.calibrate_exit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.base.declared import Opening
from runtime.base.errors import PlifError
from runtime.base.progress import Progress
from runtime.cli.output import SENSOR_FROM, Artifact, Output, command_line, open_model, raise_problems, say_engine
from runtime.measure.options import ExitOptions, JudgeOptions

if TYPE_CHECKING:
    from runtime.measure.evaluate.evaluation import Evaluation

OF_CALIBRATION = {"--split", "--limit", "--out"}


def evaluate(artifact: Artifact, how: JudgeOptions, exits: ExitOptions, opening: Opening, output: Output) -> None:
    """Batch accuracy on a data set, and the report of it."""
    from runtime.measure.evaluate.evaluation import begun_engine
    from runtime.measure.evaluate.judge import judge

    if exits.calibrate_exit is not None:
        _calibrate(artifact, how, exits.calibrate_exit, opening, output)
        return
    model = open_model(artifact, opening, begun_engine(how.out) if how.resume else None, rates=True)
    judged = judge(model, **vars(how), command=command_line(), shown=True)
    say_engine(model)
    output.show(
        judged.to_dict(), lambda: [*_evaluation_lines(judged.result, judged.written), *_stress_lines(judged.stressed)]
    )
    raise_problems(judged.problems)


def _calibrate(artifact: Path, how: JudgeOptions, lose: float, opening: Opening, output: Output) -> None:
    from runtime.measure.evaluate.calibrate_exit import calibrate_exit, require_room, write_exit

    if wrong := [flag for flag in how.given() if flag not in OF_CALIBRATION]:
        raise PlifError(f"--calibrate-exit: evaluates nothing, so {wrong[0]} says nothing; leave it out")
    if how.out is None:
        raise PlifError("--calibrate-exit: writes a new artifact; name it with -o NEW")
    require_room(artifact, how.out)
    model = open_model(artifact, opening)
    with Progress("calibrating") as progress:
        found = calibrate_exit(model, how.data, lose, split=how.split, limit=how.limit, progress=progress.update)
    path = write_exit(artifact, found, how.out)
    lines = (
        f"margin {found.margin:g}: {found.mean_steps:.2f} steps a sample on {found.samples} of {how.data}, {how.split}",
        f"accuracy there {100 * found.accuracy:.2f} %, with all steps {100 * found.accuracy_all_steps:.2f} %; "
        f"at most {100 * found.lost_at_most:.2f} % are lost (95 % interval)",
        f"wrote {path}; eval and stream use it",
    )
    output.show({"path": str(path), **found.to_dict()}, lambda: lines)


def _evaluation_lines(result: Evaluation, written: list[Path]) -> Iterator[str]:
    low, high = (100 * end for end in result.interval)
    yield (
        f"accuracy {100 * result.accuracy:.2f} %  ({result.correct} of {result.samples}, 95 % interval {low:.1f} - {high:.1f}; "
        f"{result.data}, {result.split})"
    )
    yield (
        f"engine {result.engine}, batch {result.batch}, {result.workers} worker{'s' * (result.workers > 1)}"
        f"{f' of {result.threads} threads' * (result.threads > 1)}, T={result.T}: "
        f"{_ms(result.latency_ms['p50'])} ms a call (p99 {_ms(result.latency_ms['p99'])}), {result.throughput_per_s:g} samples/s"
    )
    if result.unanswered:
        yield f"{result.unanswered} samples have no answer (no votes) and count as wrong"
    if result.sensor is not None and result.sensor_from not in ("source", "recording"):
        yield f"sensor {result.sensor[0]}x{result.sensor[1]} ({SENSOR_FROM[str(result.sensor_from)]})"
    rates = ", ".join(f"{layer} {100 * rate:.1f} %" for layer, rate in result.firing_rates.items())
    yield f"firing rates {rates or f'are not counted by engine {result.engine}'}"
    if result.exit_margin is not None:
        yield f"early exit at a margin of {result.exit_margin:g}: {result.mean_steps:.2f} steps a sample"
    if result.against is not None:
        yield (
            f"against {result.against['path']}: {result.against['decisions_changed']} of {result.samples} decisions differ; "
            f"its accuracy {100 * result.against['accuracy']:.2f} % (McNemar's p {result.against['p']:.3g})"
        )
    yield from (f"wrote {path}" for path in written)


def _stress_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each kind of stress: its levels and the accuracy at each."""
    for name in dict.fromkeys(row["stress"] for row in rows):
        points = "  ".join(f"{row['level']:g}: {100 * row['accuracy']:.1f} %" for row in rows if row["stress"] == name)
        yield f"{name:<10} {points}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
