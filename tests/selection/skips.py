"""One line at the end of a run says which tests were skipped and what would bring them: a plugin of pytest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest


def describe_skips(reasons: Iterable[str]) -> str:
    """Return one line with each reason once, behind its count, the most frequent first; an empty one without skips."""
    counts = Counter(" ".join(reason.removeprefix("Skipped: ").split()) for reason in reasons)
    said = (f"{count} x {reason}" for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return f"{counts.total()} skipped: {'; '.join(said)}" if counts else ""


def _find_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason of a skip: pytest keeps (file, line, reason)."""
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if line := describe_skips(map(_find_reason, terminalreporter.stats.get("skipped", []))):
        terminalreporter.write_line(line)
