"""`plif eval`: how often an artifact is right; --calibrate-exit: when it may stop; --calibrate-decide: by which rule feeds are.

In Python, of runtime.measure: evaluate.judge.judge (all of it), evaluate.evaluation.evaluate,
evaluate.calibrate_exit.calibrate_exit, decisions.calibrate.calibrate_decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.base.declared import Opening
from runtime.base.errors import PlifError
from runtime.base.progress import Progress
from runtime.cli.output import (
    SENSOR_FROM,
    Artifact,
    GateOptions,
    Output,
    command_line,
    open_model,
    raise_problems,
    say_engine,
)
from runtime.measure.options import ExitOptions, JudgeOptions

if TYPE_CHECKING:
    from runtime.measure.decisions.calibrate import DecideCalibration
    from runtime.measure.evaluate.calibrate_exit import ExitCalibration
    from runtime.measure.evaluate.evaluation import Evaluation

OF_CALIBRATION = {"--split", "--limit", "--out"}


def evaluate(
    artifact: Artifact, how: JudgeOptions, exits: ExitOptions, also: GateOptions, opening: Opening, output: Output
) -> None:
    from runtime.measure.evaluate.evaluation import begun_engine
    from runtime.measure.evaluate.judge import judge

    if exits.calibrate_exit is not None or exits.calibrate_decide is not None:
        _calibrate(artifact, how, exits, also, opening, output)
        return
    with also.told("eval", artifact) as gates:
        model = open_model(artifact, opening, begun_engine(how.out) if how.resume else None, rates=True)
        judged = judge(model, **vars(how), command=command_line(), shown=True)
        gates += judged.gates
    say_engine(model)
    output.show(
        judged.to_dict(), lambda: [*_evaluation_lines(judged.result, judged.written), *_stress_lines(judged.stressed)]
    )
    raise_problems(judged.problems)


def _calibrate(
    artifact: Path, how: JudgeOptions, exits: ExitOptions, also: GateOptions, opening: Opening, output: Output
) -> None:
    from runtime.measure.decisions.calibrate import calibrate_decide
    from runtime.measure.evaluate.calibrate_exit import calibrate_exit, require_room, write_key

    key = "exit" if exits.calibrate_exit is not None else "decide"
    if wrong := [flag for flag in how.given() | also.given() if flag not in OF_CALIBRATION]:
        raise PlifError(f"--calibrate-{key}: evaluates nothing, so {wrong[0]} says nothing; leave it out")
    if how.out is None:
        raise PlifError(f"--calibrate-{key}: writes a new artifact; name it with -o NEW")
    require_room(artifact, how.out, key)
    model = open_model(artifact, opening)
    lines: list[str]
    with Progress("calibrating") as progress:
        if exits.calibrate_exit is not None:
            ends = calibrate_exit(
                model, how.data, exits.calibrate_exit, split=how.split, limit=how.limit, progress=progress.update
            )
            record, lines = ends.to_dict(), _exit_lines(ends)
        else:
            assert exits.calibrate_decide is not None
            rule = calibrate_decide(
                model,
                how.data,
                exits.calibrate_decide,
                exits.negatives,
                split=how.split,
                limit=how.limit,
                progress=progress.update,
            )
            record, lines = rule.to_dict(), _decide_lines(rule)
    path = write_key(artifact, key, record, how.out)
    uses = "eval and stream use it" if key == "exit" else "feeds without an end use it"
    output.show({"path": str(path), **record}, lambda: [*lines, f"wrote {path}; {uses}"])


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
