"""The dashboard shows text of others as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plif_export import export
from runtime.core.api import load
from runtime.core.base.text import printable
from tests.networks import digits_network
from tests.recordings import csv_bytes, some_events

pytestmark = pytest.mark.filterwarnings("ignore:Glyph")


CLASSES = (
    "\033[2J\033[1;1Hplif: parity passed", "two\nlines\r\n", "\u202egnp.exe\u2066", "[bold red]markup[/]", "=HYPERLINK(1)",
    "<script>alert(1)</script>", "$\\frac{1}$ and $x", "\x9b31m\x07\x00", "a,\"b\"", "拍手 \u2028",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m.onnx with those classes, and a recording whose name is no better."""
    folder = tmp_path_factory.mktemp("text")
    export(digits_network(classes=CLASSES), folder / "m.onnx")
    (folder / "a\033[31m\n\u202eb.csv").write_bytes(csv_bytes(some_events(3000)))
    return folder


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def strings(value: Any) -> Iterator[str]:
    inside = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    yield from [value] if isinstance(value, str) else []
    for one in inside:
        yield from strings(one)


def test_the_dashboard_shows_text_and_asks_for_a_source_by_its_exact_name(inside: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra [dashboard] is not installed")
    from runtime.observers.dashboard.dashboard import Dashboard

    recording = next(path.name for path in inside.glob("*.csv"))
    with Dashboard("127.0.0.1:0") as dashboard:
        stream = load(inside / "m.onnx", rates=True, threads=1).stream([recording, recording], observers=[dashboard])
        for decision in stream:
            assert decision.label is None or decision.label in CLASSES
        stream.controls.end()
        dashboard.on_note(recording, "lost\033[2J\n")
        message = dashboard.message(0, f"{recording} #2")
    document = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
    exact, shown = zip(*document["facts"]["sources"], strict=True)
    assert exact == (recording, f"{recording} #2") and all(name.isprintable() for name in shown)
    assert document.pop("source") == exact[1]
    document["facts"].pop("sources")
    assert all(text.isprintable() for text in strings(document))
    assert document["facts"]["classes"] == [printable(name) for name in CLASSES]
