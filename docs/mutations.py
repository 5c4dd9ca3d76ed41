"""Makes the table of mutations in docs/numerics.md: what the gate notices of everything that can be wrong with an artifact.

    python docs/mutations.py            tries them all (tests/plif_export/core/mutations.py), minutes
    python docs/mutations.py --json     prints each of them with its result

Every mutation that has a place in a network is tried once in each way in which that network runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from tests.plif_export.core.mutated_networks import NETWORKS  # noqa: E402
from tests.plif_export.core.mutations import MUTATIONS, WAYS, Trial, trials  # noqa: E402

PAGE = ROOT / "docs" / "numerics.md"
BEGIN, END = "<!-- made by docs/mutations.py -->\n", "<!-- end -->\n"
TITLES = {
    "step": "ONNX, step",
    "unrolled": "ONNX, unrolled",
    "event": "event engine",
    "openvino": "OpenVINO",
    "nir": "NIR",
}
EACH = 1  # mutants of one mutation in one network, run in one way; `pytest -m large` takes 4


def everything(jobs: int) -> list[Trial]:
    tasks = list(itertools.product(NETWORKS, WAYS))
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        return [one for found in pool.map(tried, *zip(*tasks, strict=True)) for one in found]


def tried(network: str, way: str) -> list[Trial]:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        found = list(trials(network, way, MUTATIONS, EACH, Path(folder)))
    print(network, way, len(found), file=sys.stderr, flush=True)
    return found


def table(found: list[Trial]) -> str:
    """Caught (or refused before the gate) of all, by mutation and way; then what was missed."""
    lines = [f"| what is wrong | {' | '.join(TITLES[way] for way in WAYS)} |", f"|---|{'---|' * len(WAYS)}"]
    for name in MUTATIONS:
        here = [[one for one in found if (one.mutation, one.way) == (name, way)] for way in WAYS]
        lines.append(f"| {name} | {' | '.join(_cell(trials) for trials in here)} |")
    missed = [one for one in found if one.became == "missed"]
    lines += [
        "",
        f"{len(found)} mutants, {len(missed)} missed. A number alone: all were noticed; -: has no place there. Missed:",
        "",
    ]
    reasons = Counter(
        (one.mutation, one.reason or f"no reason is known: {one.network}, {one.way}, {one.where}") for one in missed
    )
    lines += [f"- {name} ({count}): {reason}." for (name, reason), count in reasons.items()]
    return "\n".join(lines) + "\n"


def _cell(here: list[Trial]) -> str:
    noticed = sum(one.became != "missed" for one in here)
    return "-" if not here else str(noticed) if noticed == len(here) else f"{noticed} of {len(here)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    found = everything(options.jobs)
    if options.json:
        print(json.dumps([asdict(one) for one in found]))
        return
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table(found)}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
