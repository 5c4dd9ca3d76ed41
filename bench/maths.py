"""Exact and folded math of one network, compared in one run: which spikes change, and speed. It decides the default math.

    python bench/maths.py                                   the paper's Gesture network, random weights that fire
    python bench/maths.py --model models/nmnist-digits.pt

In each round the engines step in turn (exact, folded, exact again as the control, PyTorch), so that a machine that slows down
slows all of them. Prints medians, the ratio in each round, and the spikes that differ in the parity gate.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import plif_train
import runtime
from plif_export import export
from runtime.core.events.stimulus import make_event_frames

NAMES = ("exact", "folded", "exact again", "pytorch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a model.pt; the Gesture network with random weights when not given")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20, help="time-steps in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    net = network(options.model, options.threads)
    x = make_event_frames(options.steps, 1, net.meta.shape, net.framing, np.random.default_rng(1))
    with tempfile.TemporaryDirectory() as folder:
        sessions, gates = {}, {}
        for math in ("exact", "folded"):
            result = export(net, Path(folder) / f"{math}.onnx", math=math)
            gates[math] = result.verify
            sessions[math] = runtime.load(result.path, threads=options.threads).session()
        sessions["exact again"] = runtime.load(Path(folder) / "exact.onnx", threads=options.threads).session()
        times = measure(net, sessions, x, options.rounds)
    rows = [
        {
            "name": name,
            "threads": options.threads,
            "p50_ms": round(float(np.median(times[name])), 4),
            "p99_ms": round(float(np.percentile(times[name], 99)), 4),
            "ratio_to_exact": ratio(times["exact"], times[name]),
            "spikes": gates[name].spikes if name in gates else None,
            "spike_mismatches": gates[name].spike_mismatches if name in gates else None,
            "free_running_mismatches": gates[name].free_running_mismatches if name in gates else None,
        }
        for name in NAMES
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(
        f"{processor()}, {options.threads} threads, {', '.join(f'{p} {version(p)}' for p in ('torch', 'onnxruntime'))}"
    )
    print(
        f"{'':<12}{'p50 ms':>9}{'p99 ms':>9}   time against exact, round by round   spikes differ (gate, free-running)"
    )
    for row in rows:
        low, middle, high = row["ratio_to_exact"]
        spikes = (
            f"{row['spike_mismatches']}, {row['free_running_mismatches']} of {row['spikes']}" if row["spikes"] else ""
        )
        print(
            f"{row['name']:<12}{row['p50_ms']:>9.3f}{row['p99_ms']:>9.3f}   {middle:.3f} ({low:.3f}..{high:.3f}){'':<15}{spikes}"
        )


def network(path: str | None, threads: int) -> plif_train.Network:
    if path is not None:
        return plif_train.load(path)
    net = plif_train.build("dvs128-gesture")
    plif_train.scale_to_fire(
        net, torch.from_numpy(make_event_frames(4, 1, net.meta.shape, None, np.random.default_rng(0)))
    )
    return net.eval()


def measure(net: plif_train.Network, sessions: dict, x: np.ndarray, rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds of each step: {name: [rounds, steps]}; the first round warms up and is left out."""
    frames = torch.from_numpy(x)
    times = {name: np.zeros((rounds + 1, len(x))) for name in NAMES}
    for k in range(rounds + 1):
        for name, session in sessions.items():
            session.reset()
            for t, x_t in enumerate(x):
                began = time.perf_counter()
                session.step(x_t)
                times[name][k, t] = 1e3 * (time.perf_counter() - began)
        net.reset()
        with torch.no_grad():
            for t, x_t in enumerate(frames):
                began = time.perf_counter()
                net.step(x_t)
                times["pytorch"][k, t] = 1e3 * (time.perf_counter() - began)
    return {name: values[1:] for name, values in times.items()}


def ratio(exact: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Return lowest, middle and highest ratio of a round's median to that of `exact`, both [rounds, steps]."""
    per_round = np.median(other, axis=1) / np.median(exact, axis=1)
    return tuple(round(float(v), 4) for v in (per_round.min(), np.median(per_round), per_round.max()))


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
