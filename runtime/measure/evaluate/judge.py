"""A whole evaluation, as `plif eval` does it: accuracy, the bars it must reach, what it is compared with, and the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.api import Model, load
from runtime.base.errors import CheckFailed, Gate, PlifError
from runtime.base.options import with_fields
from runtime.base.progress import Progress
from runtime.measure.evaluate.census import problems
from runtime.measure.evaluate.evaluation import Evaluation, evaluate, kept_in, write_results
from runtime.measure.evaluate.loop import begun_engine
from runtime.measure.options import EvaluateOptions, JudgeOptions


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

    options  the fields of JudgeOptions (runtime/measure/options.py)
    command  what a user typed, for the record;  shown: with progress bars
    """
    bars = JudgeOptions(data=data, **options)
    heard = bars.hear("eval", bars, command, shown)
    how = {name: value for name, value in vars(bars).items() if name in EvaluateOptions.__dataclass_fields__}
    with Progress("evaluating", shown) as progress:
        judged = Judgement(evaluate(model, progress=progress.update, **how))
    result = judged.result
    if bars.against is not None:
        result.compare(_other(bars, how, model, shown), bars.against)
    if bars.out is not None:
        judged.written = write_results(result, bars.out, command)
    for add in heard:
        add(judged, model)
    unreadable, told = result.unreadable["samples"], f"so accuracy is of {result.samples}"
    first = "".join(
        f"{one['path']}: {one['error'].removeprefix(one['path'] + ': ')}" for one in result.unreadable["first"][:1]
    )
    judged.gates = [*_bars(bars, result)]
    judged.problems = [CheckFailed(bar.failed) for bar in judged.gates if bar.failed]
    unread = [*problems(result.samples + unreadable, unreadable, first, result.lost, told)]
    judged.gates.append(Gate("all recordings", "; ".join(map(str, unread)) or None))
    judged.problems += unread
    return judged


def _other(bars: JudgeOptions, how: dict[str, Any], model: Model, shown: bool) -> Evaluation:
    """The same samples with the model of --against."""
    assert bars.against is not None
    place = None if bars.out is None else bars.out / "against"
    begun = begun_engine(bars, kept_in(place)) or "auto"
    other = load(bars.against, begun, threads=model.options.threads, device=model.options.device)
    how = how | {"out": place, "batch": None if other.card.get("batch") else bars.batch}
    if how.get("exit_margin") != "off":  # a margin is of one network
        how.pop("exit_margin", None)
    with Progress("evaluating the other", shown) as progress:
        return evaluate(other, progress=progress.update, **how)


def _bars(bars: JudgeOptions, result: Evaluation) -> Iterator[Gate]:
    """Each bar that was set, and whether the result misses it."""
    if bars.min_accuracy is not None:
        low, high = result.interval
        bar = f"--min-accuracy {bars.min_accuracy:g}"
        missed = f"accuracy {result.accuracy:.4f} (95 % interval {low:.4f} - {high:.4f}) is below {bar}"
        yield Gate(bar, missed if result.accuracy < bars.min_accuracy else None)
    if bars.max_changed is not None and result.against is not None:
        changed, n, bar = (
            result.against["decisions_changed"],
            len(result.predictions),
            f"--max-changed {bars.max_changed:g}",
        )
        missed = f"{changed} of {n} decisions changed ({changed / n:.4f}), more than {bar}"
        yield Gate(bar, missed if changed > bars.max_changed * n else None)
    p99 = result.latency_ms["p99"]
    if bars.max_p99_ms is not None and p99 is not None:
        bar = f"--max-p99-ms {bars.max_p99_ms:g}"
        missed = f"p99 of a call is {p99:g} ms at batch {result.batch}, more than {bar}"
        yield Gate(bar, missed if p99 > bars.max_p99_ms else None)
