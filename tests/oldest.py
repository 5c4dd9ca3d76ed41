"""The oldest versions that pyproject.toml allows, as pip's constraints: numpy>=1.26 gives numpy==1.26.

    python tests/oldest.py > oldest.txt && pip install -c oldest.txt -e '.[cpu,export]' pytest
`make oldest` does all of it, with the oldest Python that is on the machine, and gives this file to pytest as a plugin: files of
tests that need libraries of others, which ask for newer versions, are skipped.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest import Collector, CollectReport

PEERS = "spikingjelly|snntorch|norse|nirtorch|lightning"
TEXT = (Path(__file__).parents[1] / "pyproject.toml").read_text()


def lower_bounds(*extras: str) -> dict[str, str]:
    """{package: the oldest version} of the base and of some extras, e.g. {"numpy": "1.26"}."""
    lists = re.findall(rf"^(?:dependencies|{'|'.join(extras)}) = \[(.*?)\]", TEXT, re.DOTALL | re.MULTILINE)
    found = re.findall(r'"([\w.-]+)(?:\[[\w,]+\])?>=([\d.]+)', " ".join(lists))
    return dict(found)


def pytest_make_collect_report(collector: Collector) -> CollectReport:
    from _pytest.runner import pytest_make_collect_report as make

    report = make(collector)
    missing = re.search(rf"No module named '({PEERS})", str(report.longrepr))
    if report.outcome == "failed" and missing:
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, f"Skipped: {missing[1]} is not installed")
    return report


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in lower_bounds(*sys.argv[1:] or ("cpu", "export")).items()))
