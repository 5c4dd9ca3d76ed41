"""What `--engine auto` chose, where it is kept, and when it is forgotten.

A measurement is kept in this process and in the user's cache folder. It holds while steps take about what they took then:
where most steps of a stream take SLOWER times as long, it is removed, and the next start measures again. The stream itself
keeps its engine, because another one adds in another order.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.base.errors import PlifError
from runtime.base.files import make_folder, whole_or_nothing

CACHE_LIMIT = 1 << 16
SLOWER = 3.0
CALLS = 500  # most of so many in a row


@dataclass(frozen=True)
class EngineChoice:
    """Which engine runs an artifact, and why.

    asked        what the caller asked for: auto, or a name
    reason       half a sentence
    measured_ms  engine -> {"active": ms a call, "silent": ms a call}; empty where nothing was measured
    key          of what it depends on; empty where nothing was measured
    """

    engine: str
    asked: str
    reason: str
    measured_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    key: str = ""

    def sentence(self) -> str:
        return f"engine {self.engine}: {self.reason}"


chosen: dict[str, EngineChoice] = {}  # by key, in this process


class Watch:
    """Compares the calls of a stream with the measurement behind its engine.

    rows     how many rows of the batch a call has: the measurement had as many as the card says, one in most
    on       whether there is anything to compare with, or still is
    took_ms  where a stream puts the time of each call; `judge` is due when there are `calls` of them
    """

    def __init__(self, choice: EngineChoice | None, rows: int) -> None:
        times = choice.measured_ms.get(choice.engine, {}) if choice is not None else {}
        self._choice, self._expected_ms = choice, rows * max(times.values(), default=0.0)
        self.on = self._expected_ms > 0
        self.took_ms: list[float] = []
        self.calls = CALLS

    def judge(self) -> str | None:
        """Looks at the calls since the last look. Where the measurement is forgotten: why, in a sentence."""
        slow = sum(ms > SLOWER * self._expected_ms for ms in self.took_ms)
        most = 2 * slow > len(self.took_ms)
        self.took_ms.clear()
        if not most or self._choice is None:
            return None
        forget(self._choice.key)
        self.on = False
        return (
            f"most steps take over {SLOWER:g} times the {self._expected_ms:.3g} ms for which engine {self._choice.engine} was "
            "chosen: the next start measures again"
        )


def forget(key: str) -> None:
    """Removes a measurement, here and in the cache folder."""
    chosen.pop(key, None)
    if (folder := cache_folder()) is not None:
        with suppress(OSError):
            (folder / f"{key}.json").unlink()


def cache_folder() -> Path | None:
    """The user's cache folder for engine choices, which need not exist; None where there is no home folder."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        if os.path.isabs(given):  # the XDG rule: a relative path is ignored
            base = Path(given)
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        elif sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        else:
            base = Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "plif" / "engines"


def read(file: Path, names: tuple[str, ...]) -> dict[str, dict[str, float]] | None:
    """The measured times, or None where there are none or the file is not one of ours; then they are measured again."""
    try:
        with open(file, "rb") as opened:
            found = json.loads(opened.read(CACHE_LIMIT))["measured_ms"]
        times = {name: {key: float(found[name][key]) for key in ("active", "silent")} for name in names}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return times if all(0 < ms < 1e9 for pair in times.values() for ms in pair.values()) else None


def write(file: Path, content: dict[str, Any]) -> bool:
    """Whether it could be written; where it could not, the next process measures again."""
    try:
        make_folder(file.parent)
        with whole_or_nothing(file) as (part,):
            part.write_text(json.dumps(content, indent=2) + "\n")
    except PlifError:
        return False
    return True
