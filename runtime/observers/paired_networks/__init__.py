"""`--against`: the same samples with another network, and the bar of decisions that may differ (paired.py)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.base.errors import Gate, PlifError
from runtime.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.api import Model
    from runtime.measure.evaluate.evaluation import Evaluation
    from runtime.measure.evaluate.judge import Hearer, Judgement
    from runtime.measure.options import JudgeOptions


class PairedOptions(OptionRecord):
    """With what, and what it may cost."""

    against: Path | None = option(
        "Another artifact or model.pt on the same samples: which decisions differ?", default=None
    )
    max_changed: float | None = option(
        "Exit 1 where a larger share (0..1) of decisions differs from --against.", default=None, least=0, most=1
    )


def hear(
    bars: JudgeOptions, command: str | None, shown: bool, against: Path | None, max_changed: float | None
) -> list[Hearer]:
    """Who compares."""
    if against is None:
        raise PlifError("--max-changed: changed from what? Name it with --against FILE")
    return [partial(_compare, bars, shown, against, max_changed)]


def _compare(
    bars: JudgeOptions, shown: bool, against: Path, most: float | None, judged: Judgement, model: Model
) -> None:
    """Raises PlifError when the other has other classes, so that its decisions mean something else."""
    from runtime.observers.paired_networks.paired import compare

    result, other = judged.result, _evaluate(bars, shown, against, model)
    if other.classes != result.classes:
        raise PlifError(f"{against}: has other classes, so its decisions cannot be compared; expected the same ones")
    judged.left.append(other)
    decisions = list(zip(result.truths, result.predictions, other.predictions, strict=True))
    paired, changed, n = compare(decisions), sum(a != b for _, a, b in decisions), len(decisions)
    result.against = {
        "path": str(against),
        "accuracy": other.accuracy,
        "correct": other.correct,
        "decisions_changed": changed,
        "only_here": paired.only_first,
        "only_there": paired.only_second,
        "p": paired.p,
    }
    judged.lines.append(
        f"against {against}: {changed} of {result.samples} decisions differ; its accuracy {100 * other.accuracy:.2f} % "
        f"(McNemar's p {paired.p:.3g})"
    )
    if most is not None:
        bar = f"--max-changed {most:g}"
        missed = f"{changed} of {n} decisions changed ({changed / n:.4f}), more than {bar}"
        judged.gates.append(Gate(bar, missed if changed > most * n else None))


def _evaluate(bars: JudgeOptions, shown: bool, against: Path, model: Model) -> Evaluation:
    """The same samples with the other model. A margin of an early exit is of one network."""
    from runtime.api import load
    from runtime.base.progress import Progress
    from runtime.measure.evaluate.evaluation import evaluate, kept_in
    from runtime.measure.evaluate.loop import begun_engine
    from runtime.measure.options import EvaluateOptions

    place = None if bars.out is None else bars.out / "against"
    begun = begun_engine(bars, kept_in(place)) or "auto"
    other = load(against, begun, threads=model.options.threads, device=model.options.device)
    how = {name: value for name, value in vars(bars).items() if name in EvaluateOptions.__dataclass_fields__}
    how |= {"out": place, "batch": None if other.card.get("batch") else bars.batch}
    if how.get("exit_margin") != "off":
        how.pop("exit_margin", None)
    with Progress("evaluating the other", shown) as progress:
        return evaluate(other, progress=progress.update, **how)
