"""Leaves slow cases out where nothing that they test has changed since they passed here: a plugin of pytest, and a command.

    pytest --slow changed  make test: a slow case runs if its near key (sources.py) is not that of a run in which it passed;
                           if its far key is not, it runs while there is room in BUDGET_S, those first that open fewest files
    pytest --slow all      make test ALL=1, .ci/run: all run
    python -m tests.selection.select FILE...   which slow cases a change of these files would make run

Both runs write build/passed.json, {case: [near key, far key] of its last pass}. In a clone without that file a slow case counts
as passed if the clone does not differ from its upstream in anything that it opens: every commit there was tested as a whole.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from runtime.core.base.files import atomic_write
from tests.selection.costs import FileCost, read_costs
from tests.selection.imports import REPOSITORY
from tests.selection.sources import find_area, list_changes, list_near, list_parts, make_key

PASSED = REPOSITORY / "build" / "passed.json"
BUDGET_S = 120.0  # processor seconds of slow cases

Keys = dict[str, list[str]]


class Choice(NamedTuple):
    """Slow cases by what becomes of them: {case: its processor seconds}."""

    chosen: dict[str, float]
    unchanged: dict[str, float]
    postponed: dict[str, float]  # they open what changed, and there is no room for them


def choose(costs: dict[str, FileCost], keys: Keys, passed: Keys) -> Choice:
    """Choose the slow cases that run.

    keys    {file of tests: [near key, far key]} now
    passed  {case: the keys with which it last passed}
    """
    choice, far = Choice({}, {}, {}), list[tuple[int, str, float]]()
    for name, now in keys.items():
        for inside, seconds in costs[name].slow.items():
            case = f"{name}::{inside}"
            before = passed.get(case, ["", ""])
            if before[0] != now[0]:
                choice.chosen[case] = seconds
            elif before[1] != now[1]:
                far.append((len(costs[name].opens), case, seconds))
            else:
                choice.unchanged[case] = seconds
    room = BUDGET_S - sum(choice.chosen.values())
    for _, case, seconds in sorted(far):
        (choice.chosen if seconds <= room else choice.postponed)[case] = seconds
        room -= seconds * (seconds <= room)
    return choice


def make_keys(costs: dict[str, FileCost]) -> Keys:
    """Return {file of tests: its near and its far key} of the files with slow cases."""
    near = {name: list_near(name) for name, cost in costs.items() if cost.slow}
    return {name: [make_key(places), make_key(places.union(costs[name].opens))] for name, places in near.items()}


def assume_passed(costs: dict[str, FileCost], keys: Keys, changed: Collection[str]) -> Keys:
    """Return the record of a clone in which all passed before these files and areas changed."""
    passed, changed = {}, frozenset(changed)
    for name, now in keys.items():
        near = list_near(name)
        unlike = bool(changed & near), bool(changed & near.union(costs[name].opens))
        passed |= {f"{name}::{inside}": ["" if new else key for new, key in zip(unlike, now, strict=True)]
                   for inside in costs[name].slow}  # fmt: skip
    return passed


def read_passed(path: Path) -> Keys | None:
    """Return {case: keys of its last pass}; None where there is no such record."""
    try:
        found: Keys = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found


def write_passed(path: Path, passed: Keys) -> None:
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as (part,):
        part.write_text(json.dumps(passed, indent=0, sort_keys=True), "utf-8")


def count_cases(cases: Collection[str]) -> str:
    """Return how many slow cases of how many parts these are, in words."""
    owners = {find_owner(case.partition("::")[0]) for case in cases}
    return f"{len(cases)} slow case{'s' * (len(cases) != 1)} of {len(owners)} part{'s' * (len(owners) != 1)}"


def find_owner(test_file: str) -> str:
    """Return the part whose tests a file holds, or the folder of tests that it lies in."""
    own = test_file.removeprefix("tests/")
    return next((part for part in list_parts() if own.startswith(f"{part}/")), own.rpartition("/")[0])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", choices=("changed", "all"), help="which slow cases run; what passes is recorded")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        if selection := config.workerinput.get("selection"):
            config.pluginmanager.register(Selection(**selection))
    elif config.getoption("--slow"):
        costs = read_costs()
        keys, passed = make_keys(costs), read_passed(PASSED)
        if passed is None:
            passed = assume_passed(costs, keys, list_changes())
        everything = config.getoption("--slow") == "all"
        choice = choose(costs, keys, {} if everything else passed)
        config.pluginmanager.register(Recorder(choice, keys, passed))
        config.pluginmanager.register(Selection(*plan_files(costs, choice)))


def plan_files(costs: dict[str, FileCost], choice: Choice) -> tuple[dict[str, float], list[str]]:
    """Return ({file of tests: processor seconds of its cases that run}, cases and files that do not run)."""
    left_out = {**choice.unchanged, **choice.postponed}
    seconds = {name: cost.seconds for name, cost in costs.items()}
    gone: Counter[str] = Counter()
    for case, spent in left_out.items():
        name = case.partition("::")[0]
        seconds[name] -= spent
        gone[name] += 1
    empty = [name for name, count in gone.items() if not costs[name].quick and count == len(costs[name].slow)]
    return seconds, [*left_out, *empty]


class Selection:
    """Leaves out cases, and files without importing them; where cases are collected: in each worker."""

    def __init__(self, seconds: dict[str, float], left_out: list[str]) -> None:
        self.seconds, self.left_out = seconds, frozenset(left_out)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker of pytest-xdist the choice, so that all workers collect the same cases."""
        node.workerinput["selection"] = {"seconds": self.seconds, "left_out": sorted(self.left_out)}

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Leave out whole files."""
        if collection_path.suffix == ".py" and collection_path.is_relative_to(REPOSITORY):
            return collection_path.relative_to(REPOSITORY).as_posix() in self.left_out or None
        return None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out cases of files that have others; the longest files come first, so that workers end together."""
        out = [item for item in items if item.nodeid in self.left_out]
        config.hook.pytest_deselected(items=out)
        kept = [item for item in items if item.nodeid not in self.left_out]
        items[:] = sorted(kept, key=lambda item: -self.seconds.get(item.nodeid.partition("::")[0], 0.0))


class Recorder:
    """Says what runs and what does not, and records which slow cases passed; in the process that was started."""

    def __init__(self, choice: Choice, keys: Keys, passed: Keys) -> None:
        self.choice, self.keys, self.passed = choice, keys, passed
        self.failed: set[str] = set()

    def pytest_report_header(self) -> str:
        """Say how many slow cases run, and what they cost."""
        chosen = self.choice.chosen
        return f"{count_cases(chosen)} run: about {sum(chosen.values()):.0f} s of processor time"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a slow case that passed, and forget one that failed."""
        if report.nodeid not in self.choice.chosen:
            return
        if report.outcome == "failed":
            self.failed.add(report.nodeid)
            self.passed.pop(report.nodeid, None)
        elif report.when == "call" and report.outcome == "passed":
            self.passed[report.nodeid] = self.keys[report.nodeid.partition("::")[0]]

    def pytest_sessionfinish(self) -> None:
        """Write the record, also of a run that was interrupted."""
        known = {**self.choice.chosen, **self.choice.unchanged, **self.choice.postponed}
        passed = {case: keys for case, keys in self.passed.items() if case in known and case not in self.failed}
        write_passed(PASSED, passed)

    def pytest_unconfigure(self) -> None:
        """Say, in the last lines, what did not run."""
        if postponed := self.choice.postponed:
            seconds = sum(postponed.values())
            print(f"{count_cases(postponed)} not run, which open what changed: about {seconds:.0f} s of processor time")
        if postponed or self.choice.unchanged:
            unchanged = count_cases(self.choice.unchanged)
            print(f"{unchanged} not run, since nothing that they test changed: make test ALL=1 runs them")


def main() -> None:
    costs, files = read_costs(), sys.argv[1:]
    if missing := [name for name in files if not (REPOSITORY / name).is_file()]:
        sys.exit(f"{missing[0]}: not a file of the repository")
    keys = make_keys(costs)
    choice = choose(costs, keys, assume_passed(costs, keys, {*files, *map(find_area, files)}))
    for title, cases in (("run", choice.chosen), ("not run, and open what changed", choice.postponed)):
        print(f"{count_cases(cases)} {title}: about {sum(cases.values()):.0f} s of processor time")
        seconds: Counter[str] = Counter()
        for case, spent in cases.items():
            seconds[case.partition("::")[0]] += spent
        print(*(f"    {spent:6.1f} s  {name}" for name, spent in seconds.most_common()), sep="\n")


if __name__ == "__main__":
    main()
