"""The report of an evaluation (report.py), drawn as a page (page.py) and its files (files.py), and for LaTeX (latex.py)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.base.errors import PlifError
from runtime.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.api import Model
    from runtime.measure.evaluate.judge import Hearer, Judgement
    from runtime.measure.options import JudgeOptions


class ReportOptions(OptionRecord):
    """What more of it than the folder --out has."""

    latex: bool = option(
        "Also tables, figures as PDF, the proof in a sentence and BibTeX, for a paper: latex/results.tex in --out.",
        default=False,
    )


def hear(bars: JudgeOptions, command: str | None, shown: bool, latex: bool) -> list[Hearer]:
    """Who writes it into the folder of the evaluation. Raises PlifError, before the work, where that cannot be."""
    if bars.out is None:
        if latex:
            raise PlifError("--latex: writes files for a paper; name a folder for them with --out DIR")
        return []
    if latex:
        from runtime.observers.evaluation_report.latex import require_drawing

        require_drawing()
    return [partial(_write, bars.out, command, shown, latex)]


def _write(out: Path, command: str | None, shown: bool, latex: bool, judged: Judgement, model: Model) -> None:
    from runtime.base.progress import Progress
    from runtime.observers.evaluation_report.files import write_report
    from runtime.observers.evaluation_report.report import make_report

    with Progress("drawing the report", shown) as progress:
        rows = judged.added.get("stress", [])
        report = make_report(model, judged.result, out, command=command, stress=rows, progress=progress.update)
    judged.written += write_report(report, out)
    if latex:
        from runtime.observers.evaluation_report.latex import write_latex

        judged.written += write_latex(report, out)[:1]
