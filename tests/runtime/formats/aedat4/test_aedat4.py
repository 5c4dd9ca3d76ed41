"""AEDAT 4: cut files, names of any bytes, and what the process that decodes it says is not believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import events_sha256, open_source, read_events
from runtime.formats import aedat4
from tests.lies import NO_JSON, check_lie
from tests.recorded import real_or_shipped

Make = Callable[..., Path]

SENSORS = ('{"a": [1, 2]}', '{"0": 5}', '{"0": [1, 2, 3]}', '{"0": ["a", 2]}', '{"0": [1e999, 2]}', '{"0": [-5, 1]}')
pytest.importorskip("aedat")
pytestmark = pytest.mark.usefixtures("warm_child")


@pytest.mark.parametrize("said", [*NO_JSON, *SENSORS], ids=lambda value: value[:30])
def test_a_header_that_is_none_is_one_line(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_lie(aedat4, b"#!AER-DAT4.0", said, tmp_path, monkeypatch)


def test_a_cut_aedat4_file_gives_what_was_readable_and_a_note(make: Make) -> None:
    whole = real_or_shipped("davis346_346x260_0p13s.aedat4", "aedat4.aedat4")
    data = whole.read_bytes()
    events = read_events(whole)
    for size in (20, 100, 3000, 4000, 100_000, len(data) // 2, len(data) - 10_000):
        try:
            source = open_source(str(make(data[:size], "cut.aedat4")))
            decoded = np.concatenate(list(source.packets()))
        except PlifError as error:
            assert size < 100_000 and "\n" not in str(error)
            continue
        assert decoded.tolist() == events[: len(decoded)].tolist()
        assert len(decoded) == len(events) or "reading stopped after" in source.notes[0]


def test_an_aedat4_file_is_read_whatever_bytes_its_name_has(make: Make) -> None:
    whole = real_or_shipped("davis346_346x260_0p13s.aedat4", "aedat4.aedat4")
    named = make(whole.read_bytes(), os.fsdecode(b"caf\xe9.aedat4"))  # Latin-1, and no UTF-8
    assert events_sha256(read_events(named)) == events_sha256(read_events(whole))
