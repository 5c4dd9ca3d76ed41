"""A package outside of the tree adds a format, a source and a command: those of docs/own-parts.md, as they stand there.

Its observer is in tests/test_contracts.py, since a process keeps the options of records."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.events import format_names, open_source
from runtime.core.parts import FILE, read_part, third_party_parts
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "own-parts.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r"```python\n# (\w+/\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
ENTRIES = re.search(r"```toml\n\[project\.entry-points\.\"plif\.parts\"\]\n(.*?)```", PAGE, re.DOTALL)

WORD = np.dtype([("t", "<u4"), ("x", "<u2"), ("y", "<u2"), ("on", "u1")])


def install(folder: Path) -> None:
    """Puts the packages of the page into a folder, as pip does."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    about = folder / "own-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    assert ENTRIES is not None
    (about / "entry_points.txt").write_text("[plif.parts]\n" + ENTRIES[1].replace('"', ""))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the packages of the page lie."""
    install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    third_party_parts.cache_clear()
    yield tmp_path
    third_party_parts.cache_clear()
    for name in FILES:
        sys.modules.pop(name.partition("/")[0], None)


def test_an_example_has_at_most_thirty_lines() -> None:
    for part in {name.partition("/")[0] for name in FILES}:
        lines = [line for name, text in FILES.items() if name.startswith(part) for line in text.splitlines()]
        assert len(lines) <= 30, part


def test_a_format_of_another_package_is_read(installed: Path) -> None:
    words = np.array([(5, 1, 2, 1), (9, 63, 62, 0)], WORD)
    path = installed / "a.lab"
    path.write_bytes(b"LABCAM1\n" + words.tobytes() + b"cut")
    source = open_source(str(path))
    assert (source.format, source.sensor) == ("labcam", (64, 64)) and "labcam" in format_names()
    assert np.concatenate(list(source.packets())).tolist() == [(5, 1, 2, True), (9, 63, 62, False)]
    assert "the last 9-byte word is cut" in source.notes[0]


def test_a_source_of_another_package_is_read_and_named(installed: Path) -> None:
    assert open_source("ticks://").count() == 1000
    with pytest.raises(PlifError, match=r"known: a path, .*'ticks'"):
        open_source("tocks://")


def test_a_command_of_another_package_is_run(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = installed / "a.lab"
    path.write_bytes(b"LABCAM1\n" + np.array([(5, 1, 2, 1)], WORD).tobytes())
    assert run(["rates", str(path), "--window-ms", "10"]) == 0
    assert capsys.readouterr().out == "0 ms: 100 events/s\n"
    assert run(["rates", "--help"]) == 0 and "Events a second of a recording." in capsys.readouterr().out
    assert run(["rates", str(path), "--window-ms", "0"]) == 2
    assert "--window-ms 0: expected 1 or more" in capsys.readouterr().err


def test_without_the_package_neither_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.lab").write_bytes(b"LABCAM1\n" + bytes(9))
    with pytest.raises(PlifError, match="known format"):
        open_source(str(tmp_path / "a.lab"))
    with pytest.raises(PlifError, match="no source is called 'ticks'"):
        open_source("ticks://")


def test_a_part_that_is_registered_and_gone_is_named(installed: Path) -> None:
    shutil.rmtree(installed / "ticks")
    with pytest.raises(PlifError, match=r"registered as a part of plif \('sources\.ticks'\), and not installed"):
        open_source("ticks://")


def test_what_the_page_says_of_a_part_is_what_one_has(installed: Path) -> None:
    for name in FILES:
        if name.endswith(FILE):
            assert read_part(installed / name, "its.module").contract in (
                "Format",
                "Source",
                "Target",
                "Observer",
                "Command",
            )
