"""The command `plif eval`: the accuracy of an artifact on a data set.

In Python: runtime.core.measure.evaluate.judge.judge (all of it), runtime.core.measure.evaluate.evaluation.evaluate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runtime.core.base.declared import SENSOR_FROM, OpenOptions
from runtime.core.base.progress import Progress
from runtime.core.cli.output import (
    Artifact,
    GateOptions,
    Output,
    get_command_line,
    open_model,
    print_engine_choice,
    raise_last_problem,
)
from runtime.core.measure.options import JudgeOptions, ReplacementOptions

if TYPE_CHECKING:
    from runtime.core.measure.evaluate.evaluation import Evaluation


def evaluate(
    artifact: Artifact,
    options: JudgeOptions,
    replacements: ReplacementOptions,
    gate_options: GateOptions,
    opening: OpenOptions,
    output: Output,
) -> None:
    from runtime.core.measure.evaluate.evaluation import find_shards_folder
    from runtime.core.measure.evaluate.judge import judge
    from runtime.core.measure.evaluate.loop import find_resumed_engine

    if work := replacements.call_observers(
        "instead of eval", artifact, options, options.changed_flags() | gate_options.changed_flags()
    ):
        model = open_model(artifact, opening)
        with Progress("calibrating") as progress:
            document, lines = work[0](model, progress.update)
        output.show(document, lambda: lines)
        return
    with gate_options.collect_gates("eval", artifact) as gates:
        model = open_model(artifact, opening, find_resumed_engine(options, find_shards_folder(options.out)), rates=True)
        judged = judge(model, **vars(options), command=get_command_line(), shown=True)
        gates += judged.gates
    print_engine_choice(model)
    written = [f"wrote {path}" for path in judged.written]
    output.show(judged.to_dict(), lambda: [*_format_evaluation(judged.evaluation), *judged.lines, *written])
    raise_last_problem(judged.problems)


def _format_evaluation(evaluation: Evaluation) -> Iterator[str]:
    low, high = (100 * end for end in evaluation.interval)
    yield (
        f"accuracy {100 * evaluation.accuracy:.2f} %  ({evaluation.correct} of {evaluation.samples}, "
        f"95 % interval {low:.1f} - {high:.1f}; "
        f"{evaluation.data}, {evaluation.split})"
    )
    yield (
        f"engine {evaluation.engine}, batch {evaluation.batch}, {evaluation.workers} worker{'s' * (evaluation.workers > 1)}"
        f"{f' of {evaluation.threads} threads' * (evaluation.threads > 1)}, T={evaluation.T}: "
        f"{_format_ms(evaluation.latency_ms['p50'])} ms a call "
        f"(p99 {_format_ms(evaluation.latency_ms['p99'])}), {evaluation.throughput_per_s:g} samples/s"
    )
    if evaluation.unanswered:
        yield f"{evaluation.unanswered} samples have no answer (no votes) and count as wrong"
    if evaluation.sensor is not None and evaluation.sensor_from not in ("source", "recording"):
        yield f"sensor {evaluation.sensor[0]}x{evaluation.sensor[1]} ({SENSOR_FROM[str(evaluation.sensor_from)]})"
    rates = ", ".join(f"{layer} {100 * rate:.1f} %" for layer, rate in evaluation.firing_rates.items())
    yield f"firing rates {rates or f'are not counted by engine {evaluation.engine}'}"
    if evaluation.exit_margin is not None:
        yield f"early exit at a margin of {evaluation.exit_margin:g}: {evaluation.mean_steps:.2f} steps a sample"


def _format_ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
