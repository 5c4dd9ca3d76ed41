"""Markdown that plif writes shows the text of others as it is: two renderers make no markup, link or HTML of it."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from runtime.commands.bench.artifacts import Measurement
from runtime.commands.bench.table import write_table
from runtime.core.base.text import escape_markdown, printable
from runtime.core.measure.evaluate.evaluation import Evaluation
from runtime.observers.evaluation_report.files import render_model_card
from runtime.observers.evaluation_report.report import EvaluationReport

HOSTILE = (
    "<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "<!--", "&lt;b&gt;", "a|b", "a\\|b", "\\", "`", "``` x",
    "`<b>`|",
    "[x](javascript:alert(1))", "![x](http://example.org/x.png)", "[x]: http://example.org", "[x][y]", "<http://example.org>",
    "https://example.org", "www.example.org", "me@example.org", "**bold**", "_it_", "__init__", "a_b_c", "~~gone~~", "$x$",
    "# head",
    "two\nlines\n\n# head", "\n---\n", "\r\n| a | b |", "\033[2J\x00\u202e", "{: onclick=alert(1) }", "{.evil}", ":smile:",
    "@user", "#1",
    "- item", "1. item", "> quote", "left_hand wave", "拍手 µ", "&", "*", "^1^", "==mark==", "+ x", "%%%",
)  # fmt: skip
ALLOWED = {"h1", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "a"}


class Seen(HTMLParser):
    """The texts of cells and headings of a page, the targets of its links, and every element with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.links: list[str | None] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(key for key, _ in attrs)
        self.links += [value for key, value in attrs if key == "href"]
        if tag in ("td", "h1"):
            self.cells.append("")
        self.inside = tag in ("td", "h1") or (self.inside and tag == "code")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "h1")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def python_markdown(text: str) -> str:
    renderer = pytest.importorskip("markdown", reason="comes with the extra [docs]")
    page: str = renderer.markdown(text, extensions=["tables", "attr_list", "fenced_code", "sane_lists", "md_in_html"])
    return page


def common_mark(text: str) -> str:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)


renderers = pytest.mark.parametrize("render", [common_mark, python_markdown])


@renderers
@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_of_others_is_one_cell_and_nothing_but_text(render: Callable[[str], str], text: str) -> None:
    seen = Seen(render(f"# {escape_markdown(text)}\n\n| a | b |\n|---|---|\n| {escape_markdown(text)} | x |\n"))
    assert [" ".join(cell.split()) for cell in seen.cells] == [" ".join(printable(text).split())] * 2 + ["x"]
    assert seen.tags <= ALLOWED - {"a", "code"} and not seen.links


def test_numbers_and_plain_names_stay_readable_in_the_file() -> None:
    for text in (
        "98.50 % (197 of 200; 95 % interval 95.6 to 99.5)",
        "left_hand wave",
        "1.2e-05",
        "C(3), x/y = 'z'",
        "拍手",
    ):
        assert escape_markdown(text) == text


@renderers
@pytest.mark.parametrize("evil", HOSTILE)
def test_the_model_card_of_a_stranger_shows_its_names_as_text(render: Callable[[str], str], evil: str) -> None:
    result = Evaluation(
        accuracy=1.0, samples=2, correct=2, T=5, engine=evil, batch=1, latency_ms={}, throughput_per_s=1.0, firing_rates={},
        confusion=np.eye(2, dtype=int).tolist(), classes=[evil, "b"], data=evil,
        artifact={"path": evil, "bytes": 1, "sha256": "0"},
    )  # fmt: skip
    card: dict[str, Any] = {
        "input": {"kind": "events", "shape": [2, 4, 4]}, "notation": evil, "framing": evil, "precision": evil,
        "provenance": {evil: evil},
    }  # fmt: skip
    text = render_model_card(EvaluationReport(result, card, f"plif eval {evil}"))
    assert all(line.isprintable() for line in text.split("\n"))
    head, body = text.removeprefix("---\n").split("\n---\n", 1)
    assert len(head.split("\n")) == 4
    seen = Seen(render(body))
    shown = " ".join(printable(evil).split())
    cells = [" ".join(cell.split()) for cell in seen.cells]
    found = dict(zip(cells[1::2], cells[2::2], strict=True))
    assert (
        found["classes"] == f"{shown}, b"
        and found["network"] == found["framing"] == found[f"provenance: {shown}"] == shown
    )
    assert cells[0] == " ".join(printable(evil.rsplit("/", 1)[-1]).split())
    assert seen.tags <= ALLOWED and seen.links == ["report.html", "metrics.json"]
    assert seen.attributes <= {"href", "class"}


@renderers
def test_the_table_of_a_bench_shows_names_of_files_as_text(render: Callable[[str], str], tmp_path: Path) -> None:
    write_table([Measurement(text, text, text, 1, 1) for text in HOSTILE], tmp_path)
    seen = Seen(render((tmp_path / "bench.md").read_text()))
    width = len(seen.cells) // len(HOSTILE)
    for at, text in enumerate(HOSTILE):
        shown = [" ".join(cell.split()) for cell in seen.cells[at * width : at * width + 3]]
        assert shown == [" ".join(printable(text).split())] * 3
    assert seen.tags <= ALLOWED - {"a", "code"}
