"""Time of a step against the firing rate: the work of the event engine is proportional to spikes, that of others is not.

    python bench/density.py                      the Gesture network, all layers at 0.5, 1, 2, 5, 10, 20, 35 and 50 %
    python bench/density.py --rates 0.02,0.1 --threads 2 --json

For each rate the network's layers are tuned (bench/workload.py), the network is exported, and the engines step in turn. The rate
is that of the neurons; a convolution reads the density after pooling, which the rows give, too.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import workload
from bench.artifacts import artifact, work_folder
from bench.machine import machine
from bench.peers import peer, pytorch
from bench.subjects import compare, ours, take_turns
from plif_train.core.network.network import Network

RATES = "0.005,0.01,0.02,0.05,0.1,0.2,0.35,0.5"
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rates", default=RATES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--work", type=Path, help="a folder where artifacts are kept from run to run")
    parser.add_argument("--prepare", action="store_true", help="make the artifacts and stop")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    workload.with_malloc_settings()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    with work_folder(options.work) as folder:
        rates = [float(rate) for rate in options.rates.split(",")]
        if options.prepare:
            for rate in rates:
                tuned(rate, folder)
            return
        rows = [row for r in rates for row in measure(r, options.threads, options.rounds, options.steps, folder)]
    if options.json:
        print(json.dumps({"bench": "density", "machine": machine(), "rows": rows}))
        return
    print(f"{'target':>7} {'rate':>7} {'pooled':>7} {'name':18} {'p50 ms':>9} {'p99 ms':>9} {'mismatches':>11}")
    for r in rows:
        print(
            f"{r['target_rate']:7.3f} {r['rate']:7.3f} {r['pooled']:7.3f} {r['name']:18} "
            f"{r['p50_ms']:9.3f} {r['p99_ms']:9.3f} {r['spike_mismatches']:11}"
        )


def tuned(rate: float, folder: Path) -> tuple[Network, dict[str, Path | None]]:
    import plif_train

    stem = f"density_{rate:g}"
    kept = folder / f"{stem}.pt"
    if not kept.exists():
        plif_train.save(workload.network(rates=(rate,)), kept)
    net = plif_train.load(kept).eval()
    return net, {p: artifact(net, stem, "onnx", p, folder) for p in ("fp32", "int8")}


def measure(target: float, threads: int, rounds: int, steps: int, folder: Path) -> list[dict[str, Any]]:
    net, paths = tuned(target, folder)
    x = workload.moving_blob(steps + WARM_UP, 1, net.meta.shape)
    fp32, int8 = paths["fp32"], paths["int8"]
    assert fp32 is not None
    found = [ours(fp32, "event", "event fp32", threads), ours(fp32, "onnxruntime", "onnxruntime fp32", threads)]
    if int8 is not None:
        found.append(ours(int8, "event", "event int8", threads))
    found.append(peer("spikingjelly", net, threads, fp32))
    subjects = [s for s in found if s is not None]
    compare(net, pytorch(net, threads, fp32), subjects, x)
    take_turns(subjects, x, rounds, WARM_UP)
    rate, pooled = densities(net, x)
    return [s.row(threads, target_rate=target, rate=rate, pooled=pooled) for s in subjects]


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
