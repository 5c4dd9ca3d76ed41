"""`--stress`: an evaluation also under stress, whose curves (stress.py) are rows of its result."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.measure.evaluate.judge import Hearer
    from runtime.core.measure.options import JudgeOptions


class StressOptions(OptionRecord):
    """Whether."""

    stress: bool = option(
        "Also with lost events, noise, hot pixels, stretched, shifted, mirrored, swapped.", default=False
    )


def hear(bars: JudgeOptions, command: str | None, shown: bool, stress: bool) -> list[Hearer]:
    """Who adds it to what is found."""
    from runtime.observers.robustness.stress import add_stress

    return [partial(add_stress, bars, shown)]
