"""`--stress`: evaluate recordings with changed events as well; the curves (stress.py) are rows of the result."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.measure.evaluate.judge import JudgementHook
    from runtime.core.measure.options import JudgeOptions


class StressOptions(OptionRecord):
    """The command-line option that also evaluates recordings with changed events (stress), such as added noise."""

    stress: bool = option(
        "Also with lost events, noise, hot pixels, stretched, shifted, mirrored, swapped.", default=False
    )


def hear(bars: JudgeOptions, command: str | None, shown: bool, stress: bool) -> list[JudgementHook]:
    """Return a function that adds the accuracy on recordings with changed events to an evaluation."""
    from runtime.observers.robustness.stress import add_stress

    return [partial(add_stress, bars, shown)]
