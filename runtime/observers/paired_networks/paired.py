"""A comparison of two networks on the same samples: changed decisions, and McNemar's test.

Samples that both get right or both wrong say nothing about a difference. Of the b + c others, b are right in the
first network only and c in the second only; if neither is better, each falls on either side like a fair coin:

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
from runtime.core.measure.evaluate.evaluation import Evaluation, evaluate, find_shards_folder
from runtime.core.measure.evaluate.judge import Judgement
from runtime.core.measure.evaluate.loop import find_resumed_engine
from runtime.core.measure.options import EvaluateOptions, JudgeOptions


def add_comparison(
    bars: JudgeOptions, shown: bool, against: Path, max_share: float | None, judged: Judgement, model: Model
) -> None:
    """Evaluate another network on the same samples, and add the comparison of both to an evaluation.

    Raises PlifError if its classes differ, since its decisions then have another meaning.
    """
    evaluation, reference = judged.evaluation, _evaluate_other(bars, shown, against, model)
    if reference.classes != evaluation.classes:
        raise PlifError(f"{against}: has other classes, so its decisions cannot be compared; expected the same ones")
    judged.shared.append(reference)
    decisions = list(zip(evaluation.truths, evaluation.predictions, reference.predictions, strict=True))
    paired, changed, n = compare_decisions(decisions), sum(a != b for _, a, b in decisions), len(decisions)
    evaluation.against = {
        "path": str(against),
        "accuracy": reference.accuracy,
        "correct": reference.correct,
        "decisions_changed": changed,
        "only_here": paired.only_first,
        "only_there": paired.only_second,
        "p": paired.p,
    }
    judged.lines.append(
        f"against {against}: {changed} of {evaluation.samples} decisions differ; its accuracy {100 * reference.accuracy:.2f} % "
        f"(McNemar's p {paired.p:.3g})"
    )
    if max_share is not None:
        bar = f"--max-changed {max_share:g}"
        missed = f"{changed} of {n} decisions changed ({changed / n:.4f}), more than {bar}"
        judged.gates.append(Gate(bar, missed if changed > max_share * n else None))


def _evaluate_other(bars: JudgeOptions, shown: bool, against: Path, model: Model) -> Evaluation:
    """Evaluate the other network of a comparison on the same samples.

    An early-exit margin belongs to one network, so it is not passed on.
    """
    place = None if bars.out is None else bars.out / "against"
    begun = find_resumed_engine(bars, find_shards_folder(place)) or "auto"
    opening = model.options
    reference = load(against, begun, threads=opening.threads, device=opening.device, confined=opening.confined)
    options = {name: value for name, value in vars(bars).items() if name in EvaluateOptions.__dataclass_fields__}
    options |= {"out": place, "batch": None if reference.card.get("batch") else bars.batch}
    if options.get("exit_margin") != "off":
        options.pop("exit_margin", None)
    with Progress("evaluating the other", shown) as progress:
        return evaluate(reference, progress=progress.update, **options)


@dataclass(frozen=True)
class PairedComparison:
    """A statistical comparison of the decisions of two networks on the same samples.

    changed: decisions that differ; only_first, only_second: right in one of them only; p: of McNemar's exact test.
    """

    samples: int
    changed: int
    only_first: int
    only_second: int
    p: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def compare_decisions(decisions: Iterable[tuple[int | None, int | None, int | None]]) -> PairedComparison:
    """Compare the decisions of two networks, given as (true class, first, second) of each sample.

    Samples without a truth are not counted.
    """
    n = changed = first = second = 0
    for truth, a, b in decisions:
        if truth is None:
            continue
        n += 1
        changed += a != b
        first += a == truth != b
        second += b == truth != a
    return PairedComparison(n, changed, first, second, mcnemar_p_value(first, second))


def mcnemar_p_value(b: int, c: int) -> float:
    """Return the p-value of McNemar's exact test for b and c samples that only one of two networks got right."""
    n = b + c
    if n == 0:
        return 1.0
    total = sum(math.comb(n, k) for k in range(min(b, c) + 1))
    return min(1.0, 2 * total / 2**n) if n < 1000 else min(1.0, math.exp(math.log(2 * total) - n * math.log(2)))
