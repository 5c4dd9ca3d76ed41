"""Runs attacks and prints a table: name, expected, found, verdict (attacks/__init__.py). Exit code 1 where one is wrong."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.plif_export.core.attacks.artifacts import DIGITS, Finding, Subject, all_attacks
from tests.plif_export.core.attacks.modules import all_modules, try_module


def findings(asked: argparse.Namespace, folder: Path) -> Iterator[Finding]:
    """Of the attacks that are asked for."""
    subject = Subject.of(folder, None if asked.model == "SMALL" else Path(asked.model))
    first, step = (int(n) for n in asked.part.split("/"))
    attacks = [one for one in all_attacks() if asked.only in one.name and asked.target in (None, one.target)]
    modules = [one for one in all_modules() if asked.only in one.name]
    for attack in attacks[first - 1 :: step] if asked.kind != "modules" else ():
        yield subject.try_one(attack)
    for module in modules[first - 1 :: step] if asked.kind != "artifacts" else ():
        yield try_module(module, folder)


def row(found: Finding) -> str:
    said = " ".join(found.message.split())[:100]
    effect = f"  [{found.effect}]" if found.effect else ""
    return f"{found.name:54} {found.expected:8} {found.found:8} {found.verdict:14} {said}{effect}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.plif_export.core.attacks", description=__doc__)
    parser.add_argument("--only", default="", help="of these, with this text in their name")
    parser.add_argument("--kind", choices=("all", "artifacts", "modules"), default="all")
    parser.add_argument("--target", help="artifacts that are exported in this way only: onnx, triton, c, ...")
    parser.add_argument("--model", default=str(DIGITS), help="whose artifacts are changed: a model.pt, or SMALL")
    parser.add_argument(
        "--part", default="1/1", help="2/4: the second of each four, for several runs that share the work"
    )
    parser.add_argument("--json", type=Path, help="a file for the table")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    table: list[Finding] = []
    with tempfile.TemporaryDirectory() as folder:
        for found in findings(asked, Path(folder)):
            table.append(found)
            print(row(found).replace(folder, ""), flush=True)
    counts = Counter((found.kind, found.expected, found.verdict) for found in table)
    for (kind, expected, verdict), number in sorted(counts.items()):
        print(f"{kind:9} expected {expected:8} {verdict:15} {number}")
    if asked.json:
        asked.json.write_text(json.dumps([asdict(found) for found in table], indent=1) + "\n")
    return int(any(found.verdict not in ("right", "not run") for found in table))


if __name__ == "__main__":
    sys.exit(main())
