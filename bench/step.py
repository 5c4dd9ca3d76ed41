"""One step of a network at batch 1: our engines and their peers take turns, in one process for each number of threads.

    python bench/step.py                                the Gesture network; threads 1, then 2
    python bench/step.py --workload trained             a trained network on real recordings, if they are there
    python bench/step.py --workload model.pt --threads 1 --rounds 10 --json
    python bench/step.py --only event,onnxruntime,spikingjelly

Engines take turns in short runs from reset (3 steps to warm up, then the timed ones), so that a machine that slows down slows
all of them. "event again" is the control: the same engine, opened twice; the difference of the two is noise. Times are those of
the Python call, with the copy of the input. Spikes are compared with those of eager PyTorch in every layer and step,
free-running (bench/subjects.py). A row in another precision than fp32 has other, rounded weights: its mismatches say that it is
not bit-equal, and nothing about accuracy.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import workload
from bench.artifacts import WANTED, artifact, prepared, work_folder
from bench.machine import machine
from bench.peers import PEERS, peer, pytorch
from bench.subjects import Subject, compare, ours, take_turns

WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", default="gesture", help="gesture, trained, or a model.pt")
    parser.add_argument("--threads", type=int, action="append", help="1 and 2 when not given")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", default="", help="engines and peers, by the beginning of their names")
    parser.add_argument("--work", type=Path, help="a folder where artifacts are kept from run to run")
    parser.add_argument("--prepare", action="store_true", help="make the artifacts and stop")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    workload.with_malloc_settings()
    with work_folder(options.work) as folder:
        if options.prepare:
            prepare(options.workload, folder)
            return
        threads = options.threads or [1, 2]
        if len(threads) > 1:  # in one process, PyTorch and OpenMP keep their first number of threads
            again = [sys.executable, __file__, f"--workload={options.workload}", f"--work={folder}"]
            again += [f"--rounds={options.rounds}", f"--steps={options.steps}", f"--only={options.only}"]
            again += ["--json"] if options.json else []
            for n in threads:
                subprocess.run([*again, f"--threads={n}"], check=True)
            return
        only = tuple(part for part in options.only.split(",") if part)
        report = measure(options.workload, threads[0], options.rounds, options.steps, only, folder)
    if options.json:
        print(json.dumps(report))
    else:
        show(report)


def prepare(name: str, folder: Path) -> None:
    work = prepared(name, 1, folder)
    for to, precision in WANTED:
        artifact(work.net, Path(name).stem, to, precision, folder)


def measure(name: str, threads: int, rounds: int, steps: int, only: tuple[str, ...], folder: Path) -> dict[str, Any]:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    work = prepared(name, steps + WARM_UP, folder)
    subjects = chosen(work, name, threads, only, folder)
    compare(work.net, pytorch(work.net, threads, folder), subjects, work.x)
    take_turns(subjects, work.x, rounds, WARM_UP)
    return {
        "bench": "step",
        "machine": machine(),
        "workload": name if name in ("gesture", "trained") else Path(name).name,
        "network": str(work.net.notation),
        "weights": work.weights,
        "input": work.source,
        "firing_rates": workload.measured_rates(work.net, work.x),
        "input_nonzero": round(float(np.mean(work.x != 0)), 4),
        "neuron_steps_compared": len(work.x) * workload.neurons(work.net),
        "threads": threads,
        "steps_timed": rounds * steps,
        "rows": [s.row(threads) for s in subjects],
    }


def chosen(work: workload.Workload, name: str, threads: int, only: tuple[str, ...], folder: Path) -> list[Subject]:
    """Our engines come first: ONNX Runtime flushes denormals only if the first session of the process asks for it."""
    stem = Path(name).stem
    found: list[Subject | None] = []
    exported: dict[tuple[str, str], Path | None] = {}
    for (to, precision), engines in WANTED.items():
        wanted = [e for e in engines if not only or e.startswith(only)]
        if wanted or (to, precision) == ("onnx", "fp32"):
            exported[to, precision] = path = artifact(work.net, stem, to, precision, folder)
            for engine in wanted:
                if path is not None:
                    found.append(ours(path, engine, f"{engine} {precision}", threads))
    fp32 = exported["onnx", "fp32"]
    assert fp32 is not None
    found += [peer(p, work.net, threads, fp32) for p in PEERS if not only or p.startswith(only)]
    if not only or "event".startswith(only):
        found.append(ours(fp32, "event", "event again", threads))
    return [s for s in found if s is not None]


def show(report: dict[str, Any]) -> None:
    for key, value in report.items():
        if key != "rows":
            print(f"{key:22} {value}")
    rows = report["rows"]
    event = next((row["p50_ms"] for row in rows if row["name"] == "event fp32"), None)
    print(
        f"{'name':26} {'precision':9} {'p50 ms':>9} {'p99 ms':>9} {'mismatches':>11} {'excused':>8} {'event is x faster':>22}"
    )
    for row in rows:
        ratio = f"{row['p50_ms'] / event:.2f}" if event else ""
        counts = f"{row['spike_mismatches']:>11} {row['excused']:>8}"
        print(f"{row['name']:26} {row['precision']:9} {row['p50_ms']:9.3f} {row['p99_ms']:9.3f} {counts} {ratio:>22}")


if __name__ == "__main__":
    main()
