"""Measures the processor seconds of each test case: a plugin of pytest, and a command.

    pytest --measure FILE               {case: seconds} of what runs, as JSON
    python -m tests.selection.measure   all that `make test ALL=1` runs, into tests/costs.json

The cost of a case is its own processor time, that of its threads and of children that have ended, and its share of each
fixture that several cases use: time of all set-ups of the fixture, divided by the number of its users.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.selection.costs import read_costs, sum_costs, write_costs
from tests.selection.imports import REPOSITORY


def read_cpu_seconds() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


class CostRecorder:
    """Records what each case and each shared fixture costs, in one worker; the controller adds up the workers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cases: dict[str, tuple[float, list[str]]] = {}  # {case: (own seconds, fixtures that it shares)}
        self.setups: dict[str, float] = defaultdict(float)
        self.open: list[float] = []  # for each fixture that is being set up: seconds of those that it asked for
        self.shared = 0.0  # seconds of set-ups of such fixtures in the present case

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: pytest.FixtureRequest) -> Iterator[None]:
        """Measure the set-up of a fixture, without those that it asks for."""
        before = read_cpu_seconds()
        self.open.append(0.0)
        try:
            return (yield)
        finally:
            spent = read_cpu_seconds() - before
            own = spent - self.open.pop()
            if fixturedef.scope != "function":
                param = getattr(request, "param_index", 0)
                self.setups[name_fixture(fixturedef, param)] += own
                self.shared += own
            if self.open:
                self.open[-1] += spent

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Measure a case from set-up to tear-down."""
        before, self.shared = read_cpu_seconds(), 0.0
        try:
            return (yield)
        finally:
            own = read_cpu_seconds() - before - self.shared
            self.cases[item.nodeid] = (own, list_shared_fixtures(item))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker recorded."""
        done = getattr(node, "workeroutput", {}).get("costs")
        if done:
            cases, setups = json.loads(done)
            self.cases.update({case: tuple(said) for case, said in cases.items()})
            for name, seconds in setups.items():
                self.setups[name] += seconds

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Give the costs to the controller, or write the file."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["costs"] = json.dumps([self.cases, self.setups])
        else:
            self.path.write_text(json.dumps(self.add_up()), "utf-8")

    def add_up(self) -> dict[str, float]:
        """Return {case: its processor seconds, with its share of fixtures}."""
        users = Counter(name for _, names in self.cases.values() for name in names)
        return {
            case: own + sum(self.setups.get(name, 0.0) / users[name] for name in names)
            for case, (own, names) in self.cases.items()
        }


def name_fixture(fixturedef: Any, param: int) -> str:
    return f"{fixturedef.baseid}::{fixturedef.argname}[{param}]"


def list_shared_fixtures(item: pytest.Item) -> list[str]:
    """Return the names of the fixtures that a case shares with others."""
    information = getattr(item, "_fixtureinfo", None)
    if information is None:
        return []
    indices = item.callspec.indices if hasattr(item, "callspec") else {}
    shared = (found[-1] for found in information.name2fixturedefs.values() if found[-1].scope != "function")
    return sorted(name_fixture(each, indices.get(each.argname, 0)) for each in shared)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measure", type=Path, metavar="FILE", help="write the processor seconds of each case")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--measure"):
        config.pluginmanager.register(CostRecorder(path.absolute()))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seconds.json")
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "--measure", str(path)]
        done = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
        if done.returncode:
            sys.exit("tests failed: their costs would be wrong, and tests/costs.json stays as it was")
        write_costs(sum_costs(json.loads(path.read_text("utf-8")), read_costs()))


if __name__ == "__main__":
    main()
