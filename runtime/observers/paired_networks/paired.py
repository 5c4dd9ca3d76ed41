"""Two networks on the same samples: which decisions changed, and whether one is really better (McNemar's test).

Samples that both get right or both wrong say nothing about a difference. Of the b + c others, b are right in the first one only
and c in the second one only; if neither is better, each falls on either side like a fair coin:

    p = min(1, 2 sum_{k=0}^{min(b, c)} C(b+c, k) / 2^(b+c))         exact, two-sided (Q. McNemar, 1947)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.core.api import Model, load
from runtime.core.base.errors import Gate, PlifError
from runtime.core.base.progress import Progress
from runtime.core.measure.evaluate.evaluation import Evaluation, evaluate, kept_in
from runtime.core.measure.evaluate.judge import Judgement
from runtime.core.measure.evaluate.loop import begun_engine
from runtime.core.measure.options import EvaluateOptions, JudgeOptions


def add_other(
    bars: JudgeOptions, shown: bool, against: Path, most: float | None, judged: Judgement, model: Model
) -> None:
    """Compares. Raises PlifError when the other has other classes, so that its decisions mean something else."""
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
    place = None if bars.out is None else bars.out / "against"
    begun = begun_engine(bars, kept_in(place)) or "auto"
    other = load(against, begun, threads=model.options.threads, device=model.options.device)
    how = {name: value for name, value in vars(bars).items() if name in EvaluateOptions.__dataclass_fields__}
    how |= {"out": place, "batch": None if other.card.get("batch") else bars.batch}
    if how.get("exit_margin") != "off":
        how.pop("exit_margin", None)
    with Progress("evaluating the other", shown) as progress:
        return evaluate(other, progress=progress.update, **how)


@dataclass(frozen=True)
class Paired:
    """changed: decisions that differ; only_first, only_second: right in one of them only; p: of McNemar's exact test."""

    samples: int
    changed: int
    only_first: int
    only_second: int
    p: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def compare(decisions: Iterable[tuple[int | None, int | None, int | None]]) -> Paired:
    """decisions  (truth, of the first, of the second) of each sample; those without a truth are not counted"""
    n = changed = first = second = 0
    for truth, a, b in decisions:
        if truth is None:
            continue
        n += 1
        changed += a != b
        first += a == truth != b
        second += b == truth != a
    return Paired(n, changed, first, second, mcnemar(first, second))


def mcnemar(b: int, c: int) -> float:
    """The p of McNemar's exact test; 1 where nothing differs."""
    n = b + c
    if n == 0:
        return 1.0
    total = sum(math.comb(n, k) for k in range(min(b, c) + 1))
    return min(1.0, 2 * total / 2**n) if n < 1000 else min(1.0, math.exp(math.log(2 * total) - n * math.log(2)))
