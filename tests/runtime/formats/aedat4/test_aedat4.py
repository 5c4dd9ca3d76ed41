"""AEDAT 4: what the process that decodes it says is not believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.formats import aedat4
from tests.lies import NO_JSON, check_lie

SENSORS = ('{"a": [1, 2]}', '{"0": 5}', '{"0": [1, 2, 3]}', '{"0": ["a", 2]}', '{"0": [1e999, 2]}', '{"0": [-5, 1]}')
pytest.importorskip("aedat")


@pytest.mark.parametrize("said", [*NO_JSON, *SENSORS], ids=lambda value: value[:30])
def test_a_header_that_is_none_is_one_line(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_lie(aedat4, b"#!AER-DAT4.0", said, tmp_path, monkeypatch)
