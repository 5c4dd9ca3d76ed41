"""docs/edge.md: its tables are those that bench/edge.py measured, and every row of them runs here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.edge import BEGIN, END, ROWS, markdown, measure

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_tables_of_the_page_are_those_that_were_measured() -> None:
    measured = DOCS / "performance" / "edge.json"
    tables = (DOCS / "edge.md").read_text().partition(BEGIN)[2].partition(END)[0]
    assert tables == (markdown(json.loads(measured.read_text())) if measured.exists() else "")


@pytest.mark.large
def test_every_row_steps_the_same_frames_to_the_same_answers() -> None:
    rows = {row["name"]: row for row in measure("models/nmnist-digits.pt", "fp32", processes=1, steps=12)}
    assert list(rows) == list(ROWS)
    for name, row in rows.items():
        if "missing" in row:
            assert row["missing"].startswith("no "), (name, row)  # a compiler or a library, not a failure
        else:
            assert row["same"] == 12 and row["mb"] > 0.1 and row["first_ms"] > 0.1, (name, row)
