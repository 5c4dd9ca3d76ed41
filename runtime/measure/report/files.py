"""The files of a report: the page, the model card, and the numbers of each figure."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from runtime.base.files import make_folder, whole_or_nothing
from runtime.base.text import cell
from runtime.measure.report.model_card import model_card
from runtime.measure.report.page import page
from runtime.measure.report.report import Report

FIGURES = "figures"  # the folder with a CSV file for each curve
REPORT_JSON, REPORT_HTML = "report.json", "report.html"


def write_report(report: Report, folder: Path) -> list[Path]:
    """report.html, report.json, README.md and a CSV file for each figure; returns them. Those of an older report go away."""
    figures = make_folder(folder / FIGURES)
    for old in figures.glob("*.csv"):
        old.unlink()
    content: dict[str, object] = {
        "ece": report.ece,
        "traced": report.traced,
        "left_out": report.left_out,
        "figures": report.figures,
    }
    if report.activity is not None:
        content["activity"] = report.activity.to_dict()
    texts = {
        folder / REPORT_HTML: page(report),
        folder / REPORT_JSON: json.dumps(content, indent=1) + "\n",
        folder / "README.md": model_card(report),
    }
    with whole_or_nothing(*texts) as parts:
        for part, text in zip(parts, texts.values(), strict=True):
            part.write_text(text, encoding="utf-8", errors="replace")
    tables = {figures / f"{name}.csv": rows for name, rows in report.figures.items()}
    with whole_or_nothing(*tables) as parts:
        for part, rows in zip(parts, tables.values(), strict=True):
            with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                table.writeheader()
                table.writerows({k: cell(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows)
    return [*texts, *tables]
