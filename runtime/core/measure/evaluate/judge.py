"""A whole evaluation, as `plif eval` does it: accuracy, the bars it must reach, what it is compared with, and the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.core.api import Model
from runtime.core.base.errors import CheckFailed, Gate, PlifError
from runtime.core.base.options import with_fields
from runtime.core.base.progress import Progress
from runtime.core.measure.evaluate.census import problems
from runtime.core.measure.evaluate.evaluation import Evaluation, evaluate, write_results
from runtime.core.measure.options import EvaluateOptions, JudgeOptions


@dataclass
class Judgement:
    """An evaluation, and what came of it.

    gates     the bars, and whether all recordings were read
    added     what observers add to the document of the result, and lines for a person;  written: the files
    left      what they leave to those that come after them
    problems  bars that were missed, recordings that could not be read or lost events
    """

    result: Evaluation
    added: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    left: list[object] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    problems: list[PlifError] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        return self.result.to_dict() | self.added


Hearer = Callable[[Judgement, Model], None]


@with_fields(JudgeOptions)
def judge(model: Model, data: str, *, command: str | None = None, shown: bool = False, **options: Any) -> Judgement:
    """Evaluates a model that was loaded with rates=True, and writes all of it into the folder `out`, where one is named.

    options  the fields of JudgeOptions (runtime/core/measure/options.py)
    command  what a user typed, for the record;  shown: with progress bars
    """
    bars = JudgeOptions(data=data, **options)
    heard = bars.hear("eval", bars, command, shown)
    how = {name: value for name, value in vars(bars).items() if name in EvaluateOptions.__dataclass_fields__}
    with Progress("evaluating", shown) as progress:
        judged = Judgement(evaluate(model, progress=progress.update, **how))
    result = judged.result
    for add in heard:
        add(judged, model)
    if bars.out is not None:
        judged.written = [*write_results(result, bars.out, command), *judged.written]
    unreadable, told = result.unreadable["samples"], f"so accuracy is of {result.samples}"
    first = "".join(
        f"{one['path']}: {one['error'].removeprefix(one['path'] + ': ')}" for one in result.unreadable["first"][:1]
    )
    judged.gates = [*_accuracy(bars, result), *judged.gates, *_time(bars, result)]
    judged.problems = [CheckFailed(bar.failed) for bar in judged.gates if bar.failed]
    unread = [*problems(result.samples + unreadable, unreadable, first, result.lost, told)]
    judged.gates.append(Gate("all recordings", "; ".join(map(str, unread)) or None))
    judged.problems += unread
    return judged


def _accuracy(bars: JudgeOptions, result: Evaluation) -> Iterator[Gate]:
    """The bar of the accuracy, where it was set, and whether the result misses it."""
    if bars.min_accuracy is not None:
        low, high = result.interval
        bar = f"--min-accuracy {bars.min_accuracy:g}"
        missed = f"accuracy {result.accuracy:.4f} (95 % interval {low:.4f} - {high:.4f}) is below {bar}"
        yield Gate(bar, missed if result.accuracy < bars.min_accuracy else None)


def _time(bars: JudgeOptions, result: Evaluation) -> Iterator[Gate]:
    """The same of the time of a call."""
    p99 = result.latency_ms["p99"]
    if bars.max_p99_ms is not None and p99 is not None:
        bar = f"--max-p99-ms {bars.max_p99_ms:g}"
        missed = f"p99 of a call is {p99:g} ms at batch {result.batch}, more than {bar}"
        yield Gate(bar, missed if p99 > bars.max_p99_ms else None)
