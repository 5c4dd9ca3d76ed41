"""Evaluation of the shipped model on recordings of drawn digits: samples a second, and whether the answers agree.

    python bench/eval.py
    python bench/eval.py --samples 500 --threads 2 --json

All of `plif eval` is timed: reading and framing the recordings (the same for all engines), steps, votes. The recordings are
made before that, as N-MNIST files. Engines take turns; medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench.machine import machine
from plif_export import export
from runtime.base.errors import PlifError
from runtime.events import write_nmnist
from runtime.measure.evaluate import evaluate
from runtime.simulate.digits import draw_digit
from runtime.simulate.saccades import record_digit

MODEL = Path(__file__).resolve().parent.parent / "models" / "nmnist-digits.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options.samples, options.threads, options.rounds)
    if options.json:
        print(json.dumps({"bench": "eval", "machine": machine(), "samples": options.samples, "rows": rows}))
        return
    print(f"{'name':30} {'batch':>6} {'samples/s':>10} {'p50 ms':>9} {'p99 ms':>9} {'accuracy':>9}  other answers")
    for r in rows:
        print(
            f"{r['name']:30} {r['batch']:6} {r['samples_per_s']:10.1f} {r['p50_ms']:9.3f} {r['p99_ms']:9.3f} "
            f"{100 * r['accuracy']:8.2f}%  {r['answers_changed']}"
        )


def measure(samples: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    models = {}
    with tempfile.TemporaryDirectory() as folder:
        data = f"nmnist:{recorded(samples, Path(folder))}"
        for precision in ("fp32", "int8"):
            try:
                path = export(MODEL, Path(folder) / f"{precision}.onnx", precision=precision).path
            except PlifError as error:
                print(f"{precision} is left out: {error}", file=sys.stderr)
                continue
            for engine in ("event", "onnxruntime"):
                try:
                    models[f"{engine} {precision}"] = runtime.load(path, engine, threads=threads, rates=True)
                except PlifError as error:
                    print(f"{engine} {precision} is left out: {error}", file=sys.stderr)
        models["PyTorch (model.pt) fp32"] = runtime.load(MODEL, threads=threads, rates=True)
        found: dict[tuple[str, int], list[Any]] = {}
        seconds: dict[tuple[str, int], list[float]] = {}
        for _ in range(rounds):
            for batch in (1, 16):
                for name, model in models.items():
                    began = time.perf_counter()
                    found.setdefault((name, batch), []).append(evaluate(model, data, batch=batch))
                    seconds.setdefault((name, batch), []).append(time.perf_counter() - began)
    reference = found["PyTorch (model.pt) fp32", 1][0].predictions
    return [
        {
            "name": name,
            "engine": results[0].engine,
            "precision": name.rpartition(" ")[2],
            "threads": threads,
            "p50_ms": statistics.median(r.latency_ms["p50"] for r in results),
            "p99_ms": statistics.median(r.latency_ms["p99"] for r in results),
            "spike_mismatches": None,
            "batch": batch,
            "samples_per_s": round(samples / statistics.median(seconds[name, batch]), 1),
            "accuracy": results[0].accuracy,
            "answers_changed": sum(a != b for a, b in zip(results[0].predictions, reference, strict=True)),
        }
        for (name, batch), results in found.items()
    ]


def recorded(samples: int, folder: Path) -> Path:
    """Writes simulated recordings of drawn digits, in the files and folders of N-MNIST."""
    rng = np.random.default_rng(0)
    for i in range(samples):
        place = folder / "nmnist" / "Test" / str(i % 10)
        place.mkdir(parents=True, exist_ok=True)
        write_nmnist(place / f"{i:05d}.bin", record_digit(draw_digit(i % 10, rng), rng))
    return folder / "nmnist"


if __name__ == "__main__":
    main()
