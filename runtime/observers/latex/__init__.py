"""`--latex`: the report of an evaluation for a paper (paper.py)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError
from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.api import Model
    from runtime.core.measure.evaluate.judge import Hearer, Judgement
    from runtime.core.measure.options import JudgeOptions


class LatexOptions(OptionRecord):
    """Whether."""

    latex: bool = option(
        "Also tables, figures as PDF, the proof in a sentence and BibTeX, for a paper: latex/results.tex in --out.",
        default=False,
    )


def hear(bars: JudgeOptions, command: str | None, shown: bool, latex: bool) -> list[Hearer]:
    """Who writes it into the folder of the evaluation. Raises PlifError, before the work, where that cannot be."""
    if bars.out is None:
        raise PlifError("--latex: writes files for a paper; name a folder for them with --out DIR")
    from runtime.observers.latex.paper import require_drawing

    require_drawing()
    return [partial(_write, bars.out)]


def _write(out: Path, judged: Judgement, model: Model) -> None:
    from runtime.observers.evaluation_report.report import EvaluationReport
    from runtime.observers.latex.paper import write_latex

    for report in judged.left:
        if isinstance(report, EvaluationReport):
            judged.written += write_latex(report, out)[:1]
