"""A decoder that fell to its file says what it likes: headers that are none. It comes to one line."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import open_source

SAYS = """
import sys
def record(tag, said):
    sys.stdout.buffer.write(tag + len(said).to_bytes(8, "little") + said)
record(b"H", {said!r}.encode()); record(b"P", bytes(39)); record(b"Z", b"")
"""
NO_JSON = ("{", "NaN", "[8]", "5", '"x"', "[" * 100_000, "9" * 10_000)


def check_lie(part: ModuleType, magic: bytes, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a format whose process says this of its header is refused in one line."""
    file, program = folder / "file", folder / "decoder.py"
    file.write_bytes(magic)
    program.write_text(SAYS.format(said=said))
    monkeypatch.setattr(part, "CHILD", program)
    with pytest.raises(PlifError, match="damaged") as error:
        list(open_source(str(file)).packets())
    assert str(error.value).startswith(str(file))
