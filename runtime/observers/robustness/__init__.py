"""`--stress`: an evaluation also under stress, whose curves (stress.py) are rows of its result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from runtime.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.api import Model
    from runtime.measure.evaluate.judge import Hearer, Judgement
    from runtime.measure.options import JudgeOptions
    from runtime.observers.robustness.stress import Level


class StressOptions(OptionRecord):
    """Whether."""

    stress: bool = option(
        "Also with lost events, noise, hot pixels, stretched, shifted, mirrored, swapped.", default=False
    )


def hear(bars: JudgeOptions, command: str | None, shown: bool, stress: bool) -> list[Hearer]:
    """Who adds it to what is found."""
    return [partial(_add, bars, shown)]


def _add(bars: JudgeOptions, shown: bool, judged: Judgement, model: Model) -> None:
    from runtime.base.progress import Progress
    from runtime.observers.robustness.stress import measure_stress

    data, split, limit = judged.result.data, bars.split, bars.limit
    with Progress("under stress", shown) as progress:
        rows = measure_stress(model, data, split=split, limit=limit, progress=progress.update)
    judged.added["stress"] = rows
    judged.lines += _lines(rows)


def _lines(rows: Sequence[Level]) -> Iterator[str]:
    """A line for each kind of stress: its levels and the accuracy at each."""
    for name in dict.fromkeys(row["stress"] for row in rows):
        points = "  ".join(f"{row['level']:g}: {100 * row['accuracy']:.1f} %" for row in rows if row["stress"] == name)
        yield f"{name:<10} {points}"
