"""`plif eval`: how often an artifact is right.

In Python: runtime.core.measure.evaluate.judge.judge (all of it), runtime.core.measure.evaluate.evaluation.evaluate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runtime.core.base.declared import SENSOR_FROM, Opening
from runtime.core.base.progress import Progress
from runtime.core.cli.output import (
    Artifact,
    GateOptions,
    Output,
    command_line,
    open_model,
    raise_problems,
    say_engine,
)
from runtime.core.measure.options import InsteadOptions, JudgeOptions

if TYPE_CHECKING:
    from runtime.core.measure.evaluate.evaluation import Evaluation


def evaluate(
    artifact: Artifact, how: JudgeOptions, instead: InsteadOptions, also: GateOptions, opening: Opening, output: Output
) -> None:
    from runtime.core.measure.evaluate.evaluation import kept_in
    from runtime.core.measure.evaluate.judge import judge
    from runtime.core.measure.evaluate.loop import begun_engine

    if work := instead.hear("instead of eval", artifact, how, how.given() | also.given()):
        model = open_model(artifact, opening)
        with Progress("calibrating") as progress:
            found, lines = work[0](model, progress.update)
        output.show(found, lambda: lines)
        return
    with also.told("eval", artifact) as gates:
        model = open_model(artifact, opening, begun_engine(how, kept_in(how.out)), rates=True)
        judged = judge(model, **vars(how), command=command_line(), shown=True)
        gates += judged.gates
    say_engine(model)
    written = [f"wrote {path}" for path in judged.written]
    output.show(judged.to_dict(), lambda: [*_evaluation_lines(judged.result), *judged.lines, *written])
    raise_problems(judged.problems)


def _evaluation_lines(result: Evaluation) -> Iterator[str]:
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


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
