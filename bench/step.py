"""One step of the Gesture network at batch 1: every engine and its peers, in turn, in one process.

    python bench/step.py                         threads 1, then 2 in a process of its own
    python bench/step.py --threads 1 --rounds 10 --json
    python bench/step.py --engines event,onnxruntime --model model.pt

Engines take turns in short runs from reset (3 steps to warm up, then the recorded ones), so that a machine that slows down
slows all of them; "event again" is the control: the same engine built twice, whose difference is the noise. Times are
around the Python call, input copy included. Spikes are read from the membranes (v == v_reset just where it fired) and
compared with PyTorch's in every layer and step, free-running: a spike that differs is excused where the side that did not
fire was at the threshold to within 1e-5 (no two float32 programs agree there); what such a flip causes later is not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench import workload
from plif_export import export
from plif_export.parity import EPS
from plif_train.network import Network
from plif_train.neuron import Neuron
from runtime.errors import PlifError

WARM_UP = 3
ENGINES = ("onnxruntime", "event", "pytorch", "spikingjelly", "event again")


@dataclass
class Subject:
    """One engine in the comparison. `membranes` gives each layer's v [C, H, W] after the last step."""

    name: str
    engine: str
    reset: Callable[[], None]
    step: Callable[[np.ndarray], Any]
    membranes: Callable[[], list[np.ndarray]]
    times_ms: list[float] = field(default_factory=list)
    mismatches: int = 0
    excused: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, action="append", help="1 and 2 when not given")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument(
        "--model", help="a model.pt with a hard reset; the Gesture network with random weights when not given"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    threads = options.threads or [1, 2]
    if len(threads) > 1:  # PyTorch and OpenMP keep the thread count they began with
        given = [f"--{key}={value}" for key, value in vars(options).items() if key not in ("threads", "json") and value]
        given += ["--json"] if options.json else []
        for n in threads:
            subprocess.run([sys.executable, __file__, *given, f"--threads={n}"], check=True)
        return
    report = measure(options.model, threads[0], options.rounds, options.steps, options.engines.split(","))
    if options.json:
        print(json.dumps(report))
    else:
        show(report)


def measure(model: str | None, threads: int, rounds: int, steps: int, engines: list[str]) -> dict[str, Any]:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    net = workload.network(model)
    x = workload.moving_blob(steps + WARM_UP, 1, net.meta.shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.onnx"
        gate = export(net, path)
        subjects = [made for name in engines if (made := subject(name, net, path, threads)) is not None]
    compare(net, subjects, x)
    for _ in range(rounds):
        for s in subjects:
            s.reset()
            for t, x_t in enumerate(x):
                begin = time.perf_counter()
                s.step(x_t)
                if t >= WARM_UP:
                    s.times_ms.append((time.perf_counter() - begin) * 1e3)
            time.sleep(0.05)
    return {
        "machine": workload.machine(),
        "network": str(net.notation),
        "weights": "random, tuned to fire" if model is None else Path(model).name,
        "gate": gate.verify.sentence(),
        "firing_rates": workload.measured_rates(net, x),
        "input_nonzero": round(float(np.mean(x != 0)), 4),
        "threads": threads,
        "rows": [
            {
                "name": s.name,
                "engine": s.engine,
                "precision": "fp32",
                "threads": threads,
                "p50_ms": round(float(np.median(s.times_ms)), 3),
                "p99_ms": round(float(np.percentile(s.times_ms, 99)), 3),
                "spike_mismatches": s.mismatches,
                "excused": s.excused,
            }
            for s in subjects
        ],
    }


def compare(net: Network, subjects: list[Subject], x: np.ndarray) -> None:
    """Counts the spikes that differ from PyTorch's, free-running from reset."""
    neurons = list(net.neurons().values())
    resets = [np.float32(neuron.v_reset or 0.0) for neuron in neurons]
    peer = pytorch(net, "reference")
    peer.reset()
    reference = []
    for x_t in x:
        peer.step(x_t)
        reference.append([v.copy() for v in peer.membranes()])
    for s in subjects:
        s.reset()
        for x_t, expected in zip(x, reference, strict=True):
            s.step(x_t)
            for ours, theirs, r, neuron in zip(s.membranes(), expected, resets, neurons, strict=True):
                # also v_reset by arithmetic, to the last bits: no spike on either side
                differ = ((ours == r) != (theirs == r)) & (np.abs(ours - theirs) > EPS)
                silent = np.where(ours == r, theirs, ours)[differ]  # the side that did not fire keeps its h
                s.mismatches += int(differ.sum())
                s.excused += int(np.sum(np.abs(silent - neuron.v_threshold) < EPS * np.maximum(1, np.abs(silent))))


def subject(name: str, net: Network, path: Path, threads: int) -> Subject | None:
    if name == "pytorch":
        return pytorch(net, name)
    if name == "spikingjelly":
        return spikingjelly(net)
    try:
        return session(name, path, threads)
    except PlifError as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return None


def session(name: str, path: Path, threads: int) -> Subject:
    """One of our engines."""
    engine = name.split()[0]
    opened = runtime.load(path, engine, threads=threads).session()
    return Subject(name, engine, opened.reset, opened.step, lambda: [v[0] for v in opened.state.values()])


def pytorch(net: Network, name: str) -> Subject:
    """Our own modules, eager."""

    def step(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net.step(torch.from_numpy(x)).numpy()

    return Subject(name, "pytorch", net.reset, step, lambda: [v[0].numpy() for v in net.state().values()])


def spikingjelly(net: Network) -> Subject | None:
    """The same network from SpikingJelly's neurons, single-step."""
    try:
        from spikingjelly.activation_based import functional, neuron, surrogate
    except ImportError:
        print("spikingjelly is left out: it is not installed", file=sys.stderr)
        return None
    modules: list[torch.nn.Module] = []
    for step in net.plan:
        module = net.get_submodule(step.name) if step.op not in ("Flatten",) else torch.nn.Flatten()
        if isinstance(module, Neuron):
            node = neuron.ParametricLIFNode(
                v_threshold=module.v_threshold,
                v_reset=module.v_reset,
                decay_input=module.decay_input,
                surrogate_function=surrogate.ATan(),
                detach_reset=True,
            )
            assert module.w is not None, "the peer is built for PLIF neurons"
            node.load_state_dict({"w": module.w.detach().clone()})
            module = node
        elif step.op == "Vote":
            voters = step.layer.kernel  # type: ignore[union-attr]
            module = torch.nn.Sequential(
                torch.nn.Unflatten(1, (1, -1)), torch.nn.AvgPool1d(voters, voters), torch.nn.Flatten()
            )
        elif step.op == "Dropout":
            continue
        modules.append(module)
    peer = torch.nn.Sequential(*modules).eval()
    neurons = [m for m in peer if isinstance(m, neuron.ParametricLIFNode)]

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return peer(torch.from_numpy(x)).numpy()

    def reset() -> None:
        functional.reset_net(peer)

    return Subject("spikingjelly", "spikingjelly", reset, run, lambda: [n.v[0].numpy() for n in neurons])


def show(report: dict[str, Any]) -> None:
    for key, value in report.items():
        if key != "rows":
            print(f"{key:14} {value}")
    rows = report["rows"]
    event = next((row["p50_ms"] for row in rows if row["name"] == "event"), None)
    print(f"{'name':14} {'p50 ms':>9} {'p99 ms':>9} {'mismatches':>11} {'excused':>8} {'event is x faster':>18}")
    for row in rows:
        ratio = f"{row['p50_ms'] / event:.2f}" if event else ""
        counts = f"{row['spike_mismatches']:>11} {row['excused']:>8}"
        print(f"{row['name']:14} {row['p50_ms']:9.3f} {row['p99_ms']:9.3f} {counts} {ratio:>18}")


if __name__ == "__main__":
    main()
