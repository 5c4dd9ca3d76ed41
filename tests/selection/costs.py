"""What each test costs: tests/costs.json, which measure.py and trace.py write and nobody edits.

For each file of tests: `seconds`, the processor seconds of all its cases together; `slow`, {case: its seconds} of those that
cost SLOW_SECONDS or more; `quick`, how many others it has; `opens`, the files that its slow cases open (in tests/costs.json
numbers of lines of `opened`, since many tests open the same files).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.selection.imports import REPOSITORY

COSTS = REPOSITORY / "tests" / "costs.json"
SLOW_SECONDS = 0.3


@dataclass
class FileCost:
    """What the cases of one file of tests cost."""

    seconds: float = 0.0
    quick: int = 0
    slow: dict[str, float] = field(default_factory=dict)
    opens: list[str] = field(default_factory=list)


def read_costs(path: Path = COSTS) -> dict[str, FileCost]:
    """Return {file of tests: its costs}; empty where there is no such file."""
    if not path.is_file():
        return {}
    record = json.loads(path.read_text("utf-8"))
    costs = {name: FileCost(**said) for name, said in record["tests"].items()}
    for cost in costs.values():
        cost.opens = [record["opened"][int(number)] for number in cost.opens]
    return costs


def write_costs(costs: dict[str, FileCost], path: Path = COSTS) -> None:
    """Write the costs, sorted, a line for each file of tests; what is empty is left out."""
    opened = sorted({file for cost in costs.values() for file in cost.opens})
    numbers = {file: number for number, file in enumerate(opened)}
    lines = []
    for name, cost in sorted(costs.items()):
        said = {
            **asdict(cost),
            "slow": dict(sorted(cost.slow.items())),
            "opens": [numbers[file] for file in cost.opens],
        }
        kept = {key: value for key, value in said.items() if value}
        lines.append(f"  {json.dumps(name)}: {json.dumps(kept, ensure_ascii=False)}")
    files = ",\n".join(f"  {json.dumps(file)}" for file in opened)
    path.write_text('{\n "opened": [\n' + files + '\n ],\n "tests": {\n' + ",\n".join(lines) + "\n }\n}\n", "utf-8")


def sum_costs(seconds: dict[str, float], before: dict[str, FileCost]) -> dict[str, FileCost]:
    """Return the costs by file from {case: its processor seconds}, and `opens` from before."""
    costs: dict[str, FileCost] = {}
    for case, spent in sorted(seconds.items()):
        name, _, inside = case.partition("::")
        old = before.get(name, FileCost())
        cost = costs.setdefault(name, FileCost(opens=old.opens))
        cost.seconds = round(cost.seconds + spent, 3)
        if spent >= SLOW_SECONDS:
            cost.slow[inside] = round(spent, 2)
        else:
            cost.quick += 1
    return costs
