"""`--latex`: write the report of an evaluation for a paper (paper.py)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError
from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.api import Model
    from runtime.core.measure.evaluate.judge import Judgement, JudgementHook
    from runtime.core.measure.options import JudgeOptions


class LatexOptions(OptionRecord):
    """The command-line option that writes LaTeX files of an evaluation for a paper."""

    latex: bool = option(
        "Also tables, figures as PDF, the proof in a sentence and BibTeX, for a paper: latex/results.tex in --out.",
        default=False,
    )


def hear(bars: JudgeOptions, command: str | None, shown: bool, latex: bool) -> list[JudgementHook]:
    """Return a function that writes the LaTeX files of an evaluation into its output folder.

    Raises PlifError, before the evaluation, if that is not possible.
    """
    if bars.out is None:
        raise PlifError("--latex: writes files for a paper; name a folder for them with --out DIR")
    from runtime.observers.latex.paper import require_matplotlib

    require_matplotlib()
    return [partial(_write, bars.out)]


def _write(out: Path, judged: Judgement, model: Model) -> None:
    from runtime.observers.evaluation_report.report import EvaluationReport
    from runtime.observers.latex.paper import write_latex

    for report in judged.shared:
        if isinstance(report, EvaluationReport):
            judged.written += write_latex(report, out)[:1]
