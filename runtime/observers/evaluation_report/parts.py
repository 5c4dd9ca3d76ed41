"""The pieces of report.html: style, sections, tables, and the format of numbers and untrusted texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from runtime.core.base.text import printable

STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def section(title: str, text: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{f'<p>{text}</p>' if text else ''}\n{body}</section>"


def side_by_side(parts: Sequence[str]) -> str:
    return f'<div class="two">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def make_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def cells(tag: str, row: Sequence[object]) -> Iterator[str]:
        return (f"<{tag}>{'' if value is None else value}</{tag}>" for value in row)

    body = "".join(f"<tr>{''.join(cells('td', row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{"".join(cells("th", head))}</tr>{body}</table></div>'


def safe(text: str) -> str:
    return escape(printable(str(text), 400))


def format_percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def points_lost(lost: float) -> str:
    return "loses nothing" if lost <= 0 else f"loses {100 * lost:.2f} points"


def format_share(n: int, total: int) -> str:
    return f"{n} ({100 * n / total:.1f} %)" if n else "0"


def format_ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms"


def format_count(value: float) -> str:
    """Format a count with a unit: 1234567 -> 1.23 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
