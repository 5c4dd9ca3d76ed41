"""The pieces of report.html: its look, sections, tables, and how numbers and texts of others are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from runtime.base.text import printable
from runtime.observers.evaluation_report import charts

STYLE = (
    charts.STYLE
    + """
* { box-sizing: border-box }
body { margin: 0 auto; padding: 24px 18px 60px; max-width: 1040px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; margin: 0 0 4px; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; margin: 40px 0 6px; padding-top: 14px; border-top: 1px solid var(--rule) }
p { margin: 6px 0 12px; max-width: 75ch } p.soft, td.soft, .tile span { color: var(--soft) } p.soft { font-size: .92rem }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 10px; margin: 18px 0 }
.tile { background: var(--panel); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 14px }
.tile b { display: block; font-size: 1.35rem; font-weight: 650 } .tile span { font-size: .85rem }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); gap: 22px; align-items: start }
.beside { display: flex; flex-wrap: wrap; gap: 22px } .beside > :first-child { flex: 1 1 min(100%, 380px) }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .92rem; margin: 8px 0 }
th, td { text-align: right; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--rule); white-space: nowrap }
th:first-child, td:first-child { text-align: left } th { color: var(--soft); font-weight: 600 }
.legend { font-size: .85rem; color: var(--soft); margin: 0 0 8px } .legend span { margin-right: 16px; white-space: nowrap }
.legend i { display: inline-block; width: 14px; height: 4px; border-radius: 2px; margin-right: 5px; vertical-align: middle }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px }
figure { margin: 0 } figure img { width: 100%; image-rendering: pixelated; border: 1px solid var(--rule); background: #fff }
figcaption { font-size: .85rem; overflow-wrap: anywhere } code { overflow-wrap: anywhere; font-size: .9em }
@media print { body { max-width: none; padding: 0; font-size: 11pt }
  h2, figure, .tile, svg, tr, .two > div { break-inside: avoid }
  h2, section > p { break-after: avoid } .beside svg.chart { max-width: 400px }
  .two { grid-template-columns: 1fr 1fr } .two svg.chart text { font-size: 18px } }
"""
)


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


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def points_lost(lost: float) -> str:
    return "loses nothing" if lost <= 0 else f"loses {100 * lost:.2f} points"


def part_of(n: int, of: int) -> str:
    return f"{n} ({100 * n / of:.1f} %)" if n else "0"


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms"


def short_count(value: float) -> str:
    """1234567 -> 1.23 M"""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
