"""Options of figures, declared once for Python and for `plif paper figures`.

The module loads no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.core.base.grammar import integer_parser, parse_list
from runtime.core.base.options import OptionRecord, option


def _parse_channels(context: str, value: Any) -> tuple[int, ...] | None:
    """Parse the text of the option --channels into channel numbers: "45,75" -> (45, 75)."""
    numbers: tuple[int, ...] | None = (
        parse_list(context, value, integer_parser(0), example="45,75,76") if isinstance(value, str) else value
    )
    return numbers


class SubjectOptions(OptionRecord):
    """Command-line options that select the samples and the channels that figures show.

    `only_class` names classes in their order: "c1,c2".
    """

    data: str | None = option("Samples: NAME:DIR, or one recording.", default=None)
    channels: tuple[int, ...] | None = option(
        "Of the first layer, e.g. 45,75,76; chosen when not given.", default=None, parse=_parse_channels
    )
    samples: int = option("How many samples, of each class in turn.", default=10, least=1, most=40)
    steps: int | None = option("T_s: time-steps that count; all when not given.", default=None, least=1)
    only_class: str | None = option("Samples of these classes only: c1,c2.", "--class", default=None)


class FigureOptions(OptionRecord):
    """Command-line options that select the figures to draw and the folder to write them to."""

    out: Path = option("A folder for NAME.png, NAME.svg, NAME.csv and report.html.", default=Path("figures"))
    only: str | None = option("Some of them, e.g. tau,fig-s2; table-s2 is printed.", default=None)
