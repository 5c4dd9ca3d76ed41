"""The report of an evaluation: its data (report.py), its page (page.py) and its files (files.py)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.core.api import Model
    from runtime.core.measure.evaluate.judge import Judgement, JudgementHook
    from runtime.core.measure.options import JudgeOptions


def hear(bars: JudgeOptions, command: str | None, shown: bool) -> list[JudgementHook]:
    """Return a function that writes the report of an evaluation into its output folder, if the user named one."""
    return [] if bars.out is None else [partial(_write, bars.out, command, shown)]


def _write(out: Path, command: str | None, shown: bool, judged: Judgement, model: Model) -> None:
    from runtime.core.base.progress import Progress
    from runtime.observers.evaluation_report.files import write_report
    from runtime.observers.evaluation_report.report import make_report

    with Progress("drawing the report", shown) as progress:
        rows = judged.added.get("stress", [])
        report = make_report(model, judged.evaluation, out, command=command, stress=rows, progress=progress.update)
    judged.written += write_report(report, out)
    judged.shared.append(report)
