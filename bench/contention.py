"""One step beside busy processes: how an engine shares the machine, with one thread, with all, and as it chooses itself.

    python bench/contention.py                                          the Gesture network, 0, 1, 2 and 4 busy processes
    python bench/contention.py --workload models/gesture-sim.pt --busy 0,4,8 --json
    python bench/contention.py --only event --rounds 30

A busy process is a loop that does nothing, pinned nowhere. Beside each number of them the engines and their numbers of threads
take turns, in short runs from reset, so that a minute that is worse is worse for all. "default" is no number of threads: the
event engine then chooses from the times of its steps, and the others take one for each processor. Run it on a machine that
does nothing else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.artifacts import artifact, prepared, work_folder
from bench.machine import machine
from bench.subjects import Subject, ours, take_turns, timed
from runtime.native import count_cores

WARM_UP = 3  # steps of each turn
ENGINES = {"event": "onnx", "onnxruntime": "onnx", "openvino": "openvino"}  # engine -> target of the export
SETTLE = 3  # turns that are not counted after the number of busy processes has changed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", default="gesture", help="gesture, trained, or a model.pt")
    parser.add_argument("--busy", default="0,1,2,4", help="numbers of busy processes, with commas")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", default="", help="engines, by the beginning of their names, with commas")
    parser.add_argument("--work", type=Path, help="a folder where artifacts are kept from run to run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with work_folder(options.work) as folder:
        work = prepared(options.workload, options.steps + WARM_UP, folder)
        stem, only = Path(options.workload).stem, tuple(options.only.split(","))
        paths = {to: artifact(work.net, stem, to, options.precision, folder) for to in dict.fromkeys(ENGINES.values())}
        subjects = opened({engine: paths[to] for engine, to in ENGINES.items() if engine.startswith(only)})
        rows = [row for k in map(int, options.busy.split(",")) for row in measure(subjects, k, work.x, options.rounds)]
    if options.json:
        print(json.dumps({"bench": "contention", "machine": machine(), "workload": options.workload, "rows": rows}))
        return
    print(f"{'engine':14} {'busy':>5} {'threads':>8} {'p50 ms':>9} {'p99 ms':>9}")
    for r in rows:
        print(f"{r['engine']:14} {r['busy']:>5} {r['threads']:>8} {r['p50_ms']:9.3f} {r['p99_ms']:9.3f}")


def opened(paths: dict[str, Path | None]) -> list[tuple[str, Subject]]:
    """Each engine with one thread, two (one for each processor where there are more), and by default; with that word."""
    found = []
    for engine, path in paths.items():
        for threads in (1, max(2, count_cores()), None):
            word = str(threads or "default")
            subject = ours(path, engine, f"{engine} {word}", threads) if path else None
            if subject is not None:
                found.append((word, subject))
    return found


def measure(subjects: list[tuple[str, Subject]], k: int, x: np.ndarray, rounds: int) -> list[dict[str, Any]]:
    """Rows beside k busy processes; x float32 [T, 1, C, H, W]."""
    with busy(k):
        for _, subject in subjects:
            for _ in range(SETTLE):
                timed(subject.step, x)
            subject.times_ms.clear()
            subject.mismatches = None  # nothing is compared here
        take_turns([subject for _, subject in subjects], x, rounds, WARM_UP)
    return [{**subject.row(0), "threads": word, "busy": k} for word, subject in subjects]


@contextmanager
def busy(k: int) -> Iterator[None]:
    """Run k processes that never sleep."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(k)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
