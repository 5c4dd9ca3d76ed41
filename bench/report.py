"""Runs the benches and writes docs/performance.md. All numbers and pictures of that page come from here.

    python bench/report.py                      everything, about ten minutes on two cores: make performance
    python bench/report.py --run step-gesture-1 one part, then the page from all stored parts
    python bench/report.py --run ''             only the page
    python bench/report.py --list               the parts and their commands

The output of each part is stored in docs/performance/PART.json, with its command and date. Where a part was not run or an engine
is not installed, the page says so. Run it on an idle machine: `nice` does not keep other processes from disturbing it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import workload
from bench.report_page import write_page
from bench.report_pieces import Results
from runtime.core.base.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "performance"
WORK = ROOT / "build" / "bench"  # artifacts, made once
REAL_EVT3 = workload.SHARED / "recordings" / "gen41_1280x720_evt3.raw"


def parts() -> dict[str, list[str]]:
    """{name: command} of the parts, in the order in which they run."""
    work = f"--work={WORK.relative_to(ROOT)}"
    found = {}
    for name in ("gesture", "trained"):
        for threads in (1, 2):
            found[f"step-{name}-{threads}"] = ["step.py", f"--workload={name}", f"--threads={threads}", work]
    found["density"] = ["density.py", work]
    found["silence"] = ["silence.py", work]
    found["streams"] = ["streams.py", work]
    found["events"] = ["events.py", *([f"--file={REAL_EVT3}"] if REAL_EVT3.exists() else [])]
    found["eval"] = ["eval.py"]
    found["eval-gesture"] = ["eval.py", "--network=gesture"]
    found["startup"] = ["startup.py", work]
    for precision, threads in (("bf16", 1), ("bf16", 2), ("fp32", 2)):  # the large networks: docs/training.md
        found[f"train-{precision}-{threads}"] = [
            "train.py", "--presets=fashion-mnist,nmnist", f"--precision={precision}", f"--threads={threads}"
        ]  # fmt: skip
    for precision in ("bf16", "fp32"):
        found[f"train-{precision}-2-rare"] = [*found[f"train-{precision}-2"], "--threshold=2"]
    for threads in (1, 2):
        found[f"roofline-{threads}"] = ["roofline.py", f"--threads={threads}"]
    found["additions"] = ["additions.py", work]
    return {name: command for name, command in found.items() if "trained" not in name or workload.is_there("trained")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", help="parts, separated by commas; all when not given, none when empty")
    parser.add_argument("--prepare", action="store_true", help="make the artifacts that the parts need, and stop")
    parser.add_argument("--list", action="store_true", help="print the parts and stop")
    options = parser.parse_args()
    known = parts()
    if options.list:
        print("\n".join(f"{name:20} python bench/{' '.join(command)}" for name, command in known.items()))
        return
    if options.prepare:
        prepare()
        return
    names = list(known) if options.run is None else [name for name in options.run.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"bench/report.py: no part {', '.join(unknown)}; expected some of {', '.join(known)}")
    if options.run is None:
        prepare()
    failed = [name for name in names if not run(name, known[name])]
    write_page(ROOT / "docs" / "performance.md", FOLDER, stored())
    if failed:
        sys.exit(f"bench/report.py: {', '.join(failed)} did not run; the page shows their stored results")


def stored() -> Results:
    """Return the measurements of each part; bench/edge.py writes edge.json next to them."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    return {name: content for name, content in found.items() if "reports" in content}


def prepare() -> None:
    """Export the artifacts first, so that the parts only measure."""
    for name in ("gesture", "trained"):
        if workload.is_there(name):
            _bench(["step.py", f"--workload={name}", "--prepare", f"--work={WORK}"], capture=False)
    _bench(["density.py", "--prepare", f"--work={WORK}"], capture=False)


def run(name: str, command: list[str]) -> bool:
    """Run one part and store its JSON. Return False if it failed; the previous result then stays."""
    print(f"{name}: {command[0]}", file=sys.stderr)
    done = _bench([*command, "--json"], capture=True)
    try:
        reports: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    except ValueError:
        reports = []
    if done.returncode or not reports:
        return False
    shown = " ".join(part.split("=")[0] + "=..." if str(workload.SHARED) in part else part for part in command)
    # how many threads wanted a core, on average over the last minute; the part's own threads are included
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    command_line = f"python bench/{shown}"
    content = {"command": command_line, "date": time.strftime("%Y-%m-%d"), "load": load, "reports": reports}
    FOLDER.mkdir(parents=True, exist_ok=True)
    with atomic_write(FOLDER / f"{name}.json") as (part,):
        part.write_text(json.dumps(content, indent=1) + "\n")
    return True


def _bench(command: list[str], capture: bool) -> subprocess.CompletedProcess[str]:
    out = subprocess.PIPE if capture else None
    return subprocess.run(
        [sys.executable, str(ROOT / "bench" / command[0]), *command[1:]], stdout=out, text=True, cwd=ROOT
    )


if __name__ == "__main__":
    main()
