"""Runs the attacks: python -m tests.export.attacks [--only NAME ...] [--json FILE] [--jobs 2]."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.export.attacks import harness
from tests.export.attacks.kind import ROLES, Kind, digest, everything


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.export.attacks")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these kinds, or groups of kinds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything")
    parser.add_argument("--jobs", type=int, default=2, help="kinds at the same time")
    parser.add_argument("--list", action="store_true", help="name the kinds")
    parser.add_argument("--hash", action="store_true", help="the SHA-256 of the kinds")
    parser.add_argument("--self-check", action="store_true", help="without plif")
    return parser.parse_args()


def chosen(only: list[str] | None) -> list[Kind]:
    kinds = everything()
    if not only:
        return kinds
    known = {kind.name for kind in kinds} | {kind.group for kind in kinds}
    if missing := sorted(set(only) - known):
        raise SystemExit(f"no kind {', '.join(missing)}; --list names them")
    return [kind for kind in kinds if {kind.name, kind.group} & set(only)]


def spread(kinds: list[Kind], work: Callable[[Kind], Any], jobs: int) -> Iterator[tuple[Kind, Any]]:
    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(kinds, pool.map(work, kinds), strict=True)


def attack(kinds: list[Kind], jobs: int, file: Path | None) -> int:
    rows = []
    for kind, row in spread(kinds, harness.both, jobs):
        rows.append(row)
        a, b = (row[role]["outcome"] for role in ROLES)
        line = (row["attack"]["line"].splitlines() or [""])[-1]
        print(f"{kind.name:36} {a:10} twin {b:10} {line[:160]}", flush=True)
    outcomes = [row[role]["outcome"] for row in rows for role in ROLES]
    summary = {
        "kinds": len(rows),
        "false passes": outcomes.count("FALSE PASS"),
        "twins in": sum(row["twin"]["outcome"] == "equal" for row in rows),
        "crashes": outcomes.count("crash"),
        "timeouts": outcomes.count("timeout"),
        "broken": outcomes.count("broken"),
    }
    print(", ".join(f"{name} {number}" for name, number in summary.items()))
    if file is not None:
        file.write_text(json.dumps({"hash": digest(), "summary": summary, "kinds": rows}, indent=1))
    return int(any(summary[name] for name in ("false passes", "crashes", "timeouts", "broken")))


def self_check(kinds: list[Kind], jobs: int) -> int:
    bad = 0
    for kind, (good, text) in spread(kinds, harness.check, jobs):
        bad += not good
        print(f"{'ok ' if good else 'BAD'} {kind.name:36} {text}", flush=True)
    print(f"{len(kinds)} kinds, {bad} bad")
    return int(bad > 0)


def main() -> int:
    given = arguments()
    if given.hash:
        print(digest())
        return 0
    kinds = chosen(given.only)
    if given.list:
        for kind in kinds:
            print(f"{kind.group:10} {kind.name:36} {kind.form:5} {kind.does}")
        return 0
    if given.self_check:
        return self_check(kinds, given.jobs)
    return attack(kinds, given.jobs, given.json)


if __name__ == "__main__":
    sys.exit(main())
