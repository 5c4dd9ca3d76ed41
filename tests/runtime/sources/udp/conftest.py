"""A clock that a test sets."""

from __future__ import annotations

import pytest


class Clock:
    now_us = 10_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time at which datagrams arrive."""
    told = Clock()
    monkeypatch.setattr("runtime.sources.udp._now_us", lambda: told.now_us)
    return told
