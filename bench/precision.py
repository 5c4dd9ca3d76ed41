"""fp32, fp16 and int8 of one network in ONNX Runtime, in one run: time, size, and what rounding changes.

    python bench/precision.py                                       the paper's Gesture network, random weights that fire
    python bench/precision.py --model models/nmnist-digits.pt --data nmnist:DIR

In each round the files step in turn (fp32, fp16, int8, the form of int8 for compilers, fp32 again as the control), so that a
machine that slows down slows all of them. A ratio is the median of fp32 divided by that of the file, for each round; above 1 is
faster than fp32. With --data the decisions on real recordings are compared, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench import workload
from bench.machine import machine
from plif_export import export
from plif_export.core.pipeline import Exported
from plif_export.core.targets.onnx import OnnxTarget
from runtime.core.engines.session import Session
from runtime.core.measure.evaluate.evaluation import evaluate

WARM_UP = 3
NAMES = ("fp32", "fp16", "int8", "int8 as qdq", "fp32 again")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a model.pt; the Gesture network with random weights when not given")
    parser.add_argument("--data", help="NAME:DIR: compare decisions on recordings as well")
    parser.add_argument("--split", default="test")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20, help="time-steps in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    net = workload.network(options.model)
    x = workload.moving_blob(options.steps + WARM_UP, 1, net.meta.shape)
    with tempfile.TemporaryDirectory() as folder:
        made = {name: written(net, name, Path(folder)) for name in NAMES}
        sessions = {name: runtime.load(result.path, threads=options.threads).session() for name, result in made.items()}
        times = measure(sessions, x, options.rounds)
        decisions = on_data(made, options.data, options.split) if options.data else {}
    report = {
        "machine": machine(),
        "network": str(net.notation),
        "threads": options.threads,
        "rows": [row(name, made[name], times, decisions.get(name)) for name in NAMES],
    }
    if options.json:
        print(json.dumps(report))
    else:
        show(report)


def written(net: Any, name: str, folder: Path) -> Exported:
    """Export the network in that precision; "int8 as qdq" and "fp32 again" are only timed and not verified."""
    precision = name.split()[0]
    dialect = OnnxTarget.dialect
    try:
        OnnxTarget.dialect = "qdq" if name.endswith("qdq") else dialect
        return export(net, folder / f"{name.replace(' ', '_')}.onnx", precision=precision, verify=" " not in name)
    finally:
        OnnxTarget.dialect = dialect


def measure(sessions: dict[str, Session], x: np.ndarray, rounds: int) -> dict[str, list[list[float]]]:
    """Milliseconds of each step, round by round."""
    times: dict[str, list[list[float]]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            session.reset()
            taken = []
            for x_t in x:
                begin = time.perf_counter()
                session.step(x_t)
                taken.append((time.perf_counter() - begin) * 1e3)
            times[name].append(taken[WARM_UP:])
    return times


def on_data(made: dict[str, Exported], data: str, split: str) -> dict[str, dict[str, Any]]:
    """Accuracy of each precision, and how many decisions differ from those of fp32."""
    found = {name: evaluate(runtime.load(made[name].path), data, split=split) for name in ("fp32", "fp16", "int8")}
    for result in found.values():
        result.compare(found["fp32"], "fp32")
    return {
        name: {"accuracy": result.accuracy, "samples": result.samples, **(result.against or {})}
        for name, result in found.items()
    }


def row(
    name: str, made: Exported, times: dict[str, list[list[float]]], decisions: dict[str, Any] | None
) -> dict[str, Any]:
    ratios = [float(np.median(a) / np.median(b)) for a, b in zip(times["fp32"], times[name], strict=True)]
    gate = made.verify
    return {
        "name": name,
        "bytes": made.bytes,
        "p50_ms": round(float(np.median(times[name])), 3),
        "p99_ms": round(float(np.percentile(times[name], 99)), 3),
        "times_as_fast": [round(float(np.percentile(ratios, q)), 3) for q in (50, 0, 100)],
        "spikes": gate.spikes if gate else None,
        "flips": gate.free_running_mismatches if gate else None,
        "flips_in_one_step": gate.rounding_mismatches if gate else None,
        "flips_by_layer": {layer.name: layer.free_running_mismatches for layer in gate.layers} if gate else None,
        "decisions": decisions,
    }


def show(report: dict[str, Any]) -> None:
    for key in ("machine", "network", "threads"):
        print(f"{key:10} {report[key]}")
    heads = ("p50 ms", "p99 ms", "x as fast (rounds)", "spikes", "flips", "in one step")
    print(
        f"{'name':12} {'MB':>7} {heads[0]:>8} {heads[1]:>8} {heads[2]:>24} {heads[3]:>10} {heads[4]:>8} {heads[5]:>12}"
    )
    for r in report["rows"]:
        middle, low, high = r["times_as_fast"]
        counts = [("" if r[key] is None else r[key]) for key in ("spikes", "flips", "flips_in_one_step")]
        print(
            f"{r['name']:12} {r['bytes'] / 1e6:7.2f} {r['p50_ms']:8.3f} {r['p99_ms']:8.3f} "
            f"{f'{middle:.2f} ({low:.2f} - {high:.2f})':>24} {counts[0]:>10} {counts[1]:>8} {counts[2]:>12}"
        )
        if r["decisions"]:
            d = r["decisions"]
            print(
                f"{'':12} {100 * d['accuracy']:.1f} % right of {d['samples']}, {d['decisions_changed']} decisions changed"
            )


if __name__ == "__main__":
    main()
