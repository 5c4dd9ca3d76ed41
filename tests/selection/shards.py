"""Cuts `make test-all` into shards, and keeps when each was run: a plugin of pytest, and a command.

    pytest --shard 1/8                       the cases of one shard; its result goes into tests/shards.json
    python -m tests.selection.shards         what each shard gave when it last ran, and which one is due
    python -m tests.selection.shards --page  the same, written into docs/reliability.md
    python -m tests.selection.shards --deal  deals the files anew, by what they took when the shards last ran

A file of tests is in one shard with all its cases, so that what they share is made once. Files are dealt out by their
seconds (--deal), the longest first, each to the shard that has least. A test of MATRIX cases or more is dealt out by case.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import datetime, timezone
from typing import Any

import pytest

from tests.selection.imports import REPOSITORY
from tests.selection.sources import find_commit

RESULTS = REPOSITORY / "tests" / "shards.json"
PAGE = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- made by python -m tests.selection.shards --page -->\n", "<!-- end of shards -->\n"
SHARDS = 8
MATRIX = 200  # cases of one test
UNKNOWN_S = 20.0  # of a file that was never measured


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shard", metavar="K/N", help="of all cases those of shard K of N; the result is recorded")


def pytest_configure(config: pytest.Config) -> None:
    if shard := config.getoption("--shard"):
        number, _, count = shard.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise pytest.UsageError(f"--shard {shard}: expected K/N with 1 <= K <= N, such as 1/{SHARDS}")
        config.pluginmanager.register(Shard(config, int(number), int(count)))


class Shard:
    """Chooses the cases of one shard, and records its result."""

    def __init__(self, config: pytest.Config, number: int, count: int) -> None:
        self.is_worker, self.number, self.count = hasattr(config, "workerinput"), number, count
        self.outcomes: Counter[str] = Counter()
        self.spent: Counter[str] = Counter()
        self.began = time.monotonic()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the cases of this shard."""
        cases = Counter(name_test(item) for item in items)
        files = sorted({item.nodeid.partition("::")[0] for item in items})
        shards = deal_files(files, self.count)
        numbers: Counter[str] = Counter()
        kept, out = [], []
        for item in items:
            test = name_test(item)
            shard = numbers[test] % self.count if cases[test] >= MATRIX else shards[item.nodeid.partition("::")[0]]
            numbers[test] += 1
            (kept if shard + 1 == self.number else out).append(item)
        config.hook.pytest_deselected(items=out)
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a case, and its seconds."""
        self.spent[report.nodeid.partition("::")[0]] += report.duration
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome if report.when == "call" or report.outcome == "skipped" else "failed"] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Record the result of a shard that came to its end."""
        if self.is_worker or not self.outcomes:
            return
        record = read_results()
        record["shards"][f"{self.number}/{self.count}"] = {
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
            "commit": find_commit(),
            **{outcome: self.outcomes[outcome] for outcome in ("passed", "failed", "skipped")},
            "minutes": round((time.monotonic() - self.began) / 60),
            "seconds": {name: round(seconds) for name, seconds in self.spent.items() if seconds >= UNKNOWN_S},
        }
        write_results(record)


def name_test(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def deal_files(files: list[str], count: int) -> dict[str, int]:
    """Return {file of tests: number of its shard, from 0}."""
    seconds: dict[str, float] = read_results()["seconds"]
    total = [0.0] * count
    shards = {}
    for name in sorted(files, key=lambda name: (-seconds.get(name, UNKNOWN_S), name)):
        shards[name] = total.index(min(total))
        total[shards[name]] += seconds.get(name, UNKNOWN_S)
    return shards


def read_results() -> dict[str, Any]:
    """Return {"shards": {"K/N": its last result}, "seconds": {file of tests: seconds by which it is dealt}}."""
    if not RESULTS.is_file():
        return {"shards": {}, "seconds": {}}
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))
    return found


def write_results(record: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")


def find_due(shards: dict[str, Any], count: int = SHARDS) -> str:
    """Return the shard that was not run for the longest time."""
    names = [f"{number}/{count}" for number in range(1, count + 1)]
    return min(names, key=lambda name: shards.get(name, {}).get("date", ""))


def make_table(shards: dict[str, Any], count: int = SHARDS) -> str:
    """Return the last result of each shard, as a table of docs/reliability.md."""
    lines = ["| shard | date | commit | passed | failed | skipped | minutes |", "|---|---|---|---|---|---|---|"]
    for name in (f"{number}/{count}" for number in range(1, count + 1)):
        said = shards.get(name)
        keys = ("date", "commit", "passed", "failed", "skipped", "minutes")
        cells = [str(said[key]) for key in keys] if said else ["not run"] + [""] * 5
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def weigh_files(shards: dict[str, Any]) -> dict[str, float]:
    """Return the seconds that each file took in its shard; without those that are dealt out by case."""
    found = Counter(name for said in shards.values() for name in said["seconds"])
    return {name: spent for said in shards.values() for name, spent in said["seconds"].items() if found[name] == 1}


def main() -> None:
    record = read_results()
    shards = record["shards"]
    if sys.argv[1:] == ["--deal"]:
        write_results({**record, "seconds": weigh_files(shards)})
    table = make_table(shards)
    if sys.argv[1:] == ["--page"]:
        head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", "utf-8")
    print(table)
    print(f"due: make test-all SHARD={find_due(shards)}")


if __name__ == "__main__":
    main()
