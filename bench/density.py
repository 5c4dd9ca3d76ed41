"""Time against firing rate: the event engine does work in proportion to spikes, the dense engine does not.

    python bench/density.py                      the Gesture network, all layers at 0.5, 1, 2, 5, 10, 20, 35 and 50 %
    python bench/density.py --rates 0.02,0.1 --threads 2 --json

For each rate the network's layers are tuned anew (bench/workload.py), exported, and the two engines step in turn.
The rate is that of the neurons; what a convolution reads is the pooled density, which the rows give beside it.
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
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench import workload
from plif_export import export
from plif_train.network import Network

RATES = "0.005,0.01,0.02,0.05,0.1,0.2,0.35,0.5"
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rates", default=RATES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [
        row
        for rate in options.rates.split(",")
        for row in measure(float(rate), options.threads, options.rounds, options.steps)
    ]
    if options.json:
        print(json.dumps({"machine": workload.machine(), "rows": rows}))
        return
    print(f"{'target':>7} {'rate':>7} {'pooled':>7} {'engine':12} {'p50 ms':>9} {'p99 ms':>9}")
    for r in rows:
        print(
            f"{r['target_rate']:7.3f} {r['rate']:7.3f} {r['pooled']:7.3f} {r['engine']:12} "
            f"{r['p50_ms']:9.3f} {r['p99_ms']:9.3f}"
        )


def measure(target: float, threads: int, rounds: int, steps: int) -> list[dict[str, Any]]:
    net = workload.network(rates=(target,))
    x = workload.moving_blob(steps + WARM_UP, 1, net.meta.shape)
    names = ("onnxruntime", "event")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.onnx"
        export(net, path, verify=False)
        sessions = {name: runtime.load(path, name, threads=threads).session() for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, session in sessions.items():
            session.reset()
            for t, x_t in enumerate(x):
                begin = time.perf_counter()
                session.step(x_t)
                if t >= WARM_UP:
                    times[name].append((time.perf_counter() - begin) * 1e3)
    rate, pooled = densities(net, x)
    return [
        {
            "name": f"{target:g}",
            "engine": name,
            "precision": "fp32",
            "threads": threads,
            "p50_ms": round(float(np.median(times[name])), 3),
            "p99_ms": round(float(np.percentile(times[name], 99)), 3),
            "spike_mismatches": None,
            "target_rate": target,
            "rate": rate,
            "pooled": pooled,
        }
        for name in names
    ]


def densities(net: Network, x: np.ndarray) -> tuple[float, float]:
    """Mean firing rate of the convolutional layers, and mean density after their 2x2 max-pooling."""
    rates: list[float] = []
    pooled: list[float] = []

    def watch(layer: str, s: torch.Tensor) -> None:
        if s.ndim == 4:
            rates.append(float(s.mean()))
            pooled.append(float(F.max_pool2d(s, 2).mean()))

    net.reset()
    net.watch = watch
    with torch.no_grad():
        for x_t in x[WARM_UP:]:
            net.step(torch.from_numpy(x_t))
    net.watch = None
    return round(float(np.mean(rates)), 4), round(float(np.mean(pooled)), 4)


if __name__ == "__main__":
    main()
