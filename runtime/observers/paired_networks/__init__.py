"""`--against`: evaluate another network on the same samples, with a limit of changed decisions (paired.py)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError
from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.measure.evaluate.judge import JudgementHook
    from runtime.core.measure.options import JudgeOptions


class PairedOptions(OptionRecord):
    """The command-line options of a comparison with another network on the same samples."""

    against: Path | None = option(
        "Another artifact or model.pt on the same samples: which decisions differ?", default=None
    )
    max_changed: float | None = option(
        "Exit 1 where a larger share (0..1) of decisions differs from --against.", default=None, least=0, most=1
    )


def hear(
    bars: JudgeOptions, command: str | None, shown: bool, against: Path | None, max_changed: float | None
) -> list[JudgementHook]:
    """Return a function that adds to an evaluation the comparison with another network."""
    if against is None:
        raise PlifError("--max-changed: changed from what? Name it with --against FILE")
    from runtime.observers.paired_networks.paired import add_comparison

    return [partial(add_comparison, bars, shown, against, max_changed)]
