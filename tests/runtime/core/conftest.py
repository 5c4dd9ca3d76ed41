"""Files that are read in pieces of another size, and engines of a test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from runtime.core.engines import Engine
from runtime.core.parts import Part, find_parts


def add_engines(monkeypatch: pytest.MonkeyPatch, *engines: type[Engine]) -> None:
    """Adds a part with these engines, before all others that have the same names."""
    part = Part("of_a_test", "of_a_test", names={engine.name: "" for engine in engines})
    monkeypatch.setitem(find_parts("engines"), part.name, part)
    monkeypatch.setitem(sys.modules, f"{part.module}.engine", SimpleNamespace(ENGINES=engines))


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets how much of a recording is read at a time: in bytes, and in the other sizes that are named."""

    def every(size: int, *also: str) -> None:
        for name in ("runtime.core.events.formats.base.CHUNK_BYTES", *also):
            monkeypatch.setattr(name, size)

    return every
