"""report.html: all figures and the table on one page that needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from runtime.base.files import whole_or_nothing
from runtime.base.text import printable

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1c2430}"
    "img{max-width:100%}figure{margin:2rem 0}figcaption{color:#5b6673}pre{overflow-x:auto;background:#f4f6f8;padding:1rem}"
)


def write_report(path: Path, title: str, figures: Sequence[tuple[Path, str]], text: str) -> None:
    """`figures` are (PNG file, caption);  text: the table, "" where there is none."""
    title = printable(title)
    parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"]
    parts.append(f"<h1>{html.escape(title)}</h1>" + (f"<pre>{html.escape(text)}</pre>" if text else ""))
    for picture, caption in figures:
        data = base64.b64encode(picture.read_bytes()).decode()
        words = html.escape(printable(caption))
        parts.append(
            f'<figure><img alt="{words}" src="data:image/png;base64,{data}"><figcaption>{words}</figcaption></figure>'
        )
    with whole_or_nothing(path) as (beside,):
        beside.write_text("\n".join(parts) + "\n", encoding="utf-8")
