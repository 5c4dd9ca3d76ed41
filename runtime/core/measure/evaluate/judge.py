"""A whole evaluation, as `plif eval` runs it: accuracy, gates, comparisons and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.core.api import Model
from runtime.core.base.errors import CheckFailed, Gate, PlifError
from runtime.core.base.options import with_fields
from runtime.core.base.progress import Progress
from runtime.core.measure.evaluate.census import list_problems
from runtime.core.measure.evaluate.evaluation import Evaluation, evaluate, write_results
from runtime.core.measure.options import EvaluateOptions, JudgeOptions


@dataclass
class Judgement:
    """An evaluation with the outcomes of its checks (gates), such as minimum accuracy, and fields of observers.

    gates     minimum accuracy, maximum latency, and whether all recordings were read
    added     keys that observers add to the JSON, and `lines` for a person;  written: the files
    shared    objects that observers leave to later observers
    problems  missed gates, unreadable recordings and recordings that lost events
    """

    evaluation: Evaluation
    added: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    shared: list[object] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    problems: list[PlifError] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        return self.evaluation.to_dict() | self.added


JudgementHook = Callable[[Judgement, Model], None]


@with_fields(JudgeOptions)
def judge(model: Model, data: str, *, command: str | None = None, shown: bool = False, **options: Any) -> Judgement:
    """Evaluate a model loaded with rates=True, check the limits (gates), and write all results into `out`.

    options  the fields of JudgeOptions (runtime/core/measure/options.py)
    command  the command line of the user, for the record;  shown: with progress bars
    """
    bars = JudgeOptions(data=data, **options)
    hooks = bars.call_observers("eval", bars, command, shown)
    settings = {name: value for name, value in vars(bars).items() if name in EvaluateOptions.__dataclass_fields__}
    with Progress("evaluating", shown) as progress:
        judged = Judgement(evaluate(model, progress=progress.update, **settings))
    evaluation = judged.evaluation
    for add in hooks:
        add(judged, model)
    if bars.out is not None:
        judged.written = [*write_results(evaluation, bars.out, command), *judged.written]
    unreadable, effect = evaluation.unreadable["samples"], f"so accuracy is of {evaluation.samples}"
    first = "".join(
        f"{sample['path']}: {sample['error'].removeprefix(sample['path'] + ': ')}"
        for sample in evaluation.unreadable["first"][:1]
    )
    judged.gates = [*_check_accuracy(bars, evaluation), *judged.gates, *_check_latency(bars, evaluation)]
    judged.problems = [CheckFailed(bar.failed) for bar in judged.gates if bar.failed]
    unread = [*list_problems(evaluation.samples + unreadable, unreadable, first, evaluation.lost, effect)]
    judged.gates.append(Gate("all recordings", "; ".join(map(str, unread)) or None))
    judged.problems += unread
    return judged


def _check_accuracy(bars: JudgeOptions, evaluation: Evaluation) -> Iterator[Gate]:
    """Yield the outcome (gate) of the check that the accuracy reaches the minimum, if one is set."""
    if bars.min_accuracy is not None:
        low, high = evaluation.interval
        bar = f"--min-accuracy {bars.min_accuracy:g}"
        missed = f"accuracy {evaluation.accuracy:.4f} (95 % interval {low:.4f} - {high:.4f}) is below {bar}"
        yield Gate(bar, missed if evaluation.accuracy < bars.min_accuracy else None)


def _check_latency(bars: JudgeOptions, evaluation: Evaluation) -> Iterator[Gate]:
    """Yield the outcome (gate) of the check of the p99 latency of a network call against its limit, if one is set."""
    p99 = evaluation.latency_ms["p99"]
    if bars.max_p99_ms is not None and p99 is not None:
        bar = f"--max-p99-ms {bars.max_p99_ms:g}"
        missed = f"p99 of a call is {p99:g} ms at batch {evaluation.batch}, more than {bar}"
        yield Gate(bar, missed if p99 > bars.max_p99_ms else None)
