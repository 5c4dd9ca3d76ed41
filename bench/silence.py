"""What silence costs: steps of an active network, then steps without an input event, and steps from reset without one.

    python bench/silence.py
    python bench/silence.py --workload trained --threads 2 --json
    python bench/silence.py --workload models/nmnist-digits.pt --silent 5000

A camera before a scene at rest sends nothing, and most scenes are at rest most of the time. Times are those of a step: in
activity, in the last 20 of the silent steps (the membranes decay meanwhile, which must not cost more), and from reset. Engines
take turns.

Without input, the shift that batch normalisation adds to every current can make neurons fire for ever; it does so with the
random weights of the Gesture network. There these shifts are set to zero, so that no input means no spikes. The rows give the
firing rates of each phase.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import workload
from bench.artifacts import artifact, prepared, work_folder
from bench.machine import machine
from bench.peers import peer
from bench.subjects import ours, timed
from plif_train.core.network.network import Network

ACTIVE, TAIL = 10, 20
PHASES = ("active", "silent", "from reset")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", default="gesture", help="gesture, trained, or a model.pt")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--silent", type=int, default=100, help="steps of silence, whose last 20 are timed")
    parser.add_argument("--work", type=Path, help="a folder where artifacts are kept from run to run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    workload.with_malloc_settings()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    with work_folder(options.work) as folder:
        rows = measure(options.workload, options.threads, options.rounds, options.silent, folder)
    if options.json:
        print(json.dumps({"bench": "silence", "machine": machine(), "workload": options.workload, "rows": rows}))
        return
    print(f"{'name':26}" + "".join(f"{phase + ' ms':>16}" for phase in PHASES))
    for name in dict.fromkeys(row["engine_name"] for row in rows):
        print(f"{name:26}" + "".join(f"{row['p50_ms']:16.3f}" for row in rows if row["engine_name"] == name))


def measure(name: str, threads: int, rounds: int, silent: int, folder: Path) -> list[dict[str, Any]]:
    work = prepared(name, ACTIVE, folder)
    stem = Path(name).stem
    if name == "gesture":
        without_shifts(work.net)
        stem = "gesture_without_shifts"
    fp32, int8 = (artifact(work.net, stem, "onnx", p, folder) for p in ("fp32", "int8"))
    assert fp32 is not None
    found = [ours(fp32, "event", "event fp32", threads), ours(fp32, "onnxruntime", "onnxruntime fp32", threads)]
    if int8 is not None:
        found.append(ours(int8, "event", "event int8", threads))
    found += [peer(p, work.net, threads, fp32) for p in ("openvino-default", "pytorch", "spikingjelly")]
    subjects = [s for s in found if s is not None]
    empty = np.zeros((TAIL, *work.x.shape[1:]), np.float32)
    rates = firing(work)
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for s in subjects:
            s.reset()
            timed(s.step, work.x[:2])
            times.setdefault((s.name, "active"), []).extend(timed(s.step, work.x))
            for _ in range((silent - TAIL) // TAIL):
                timed(s.step, empty)
            times.setdefault((s.name, "silent"), []).extend(timed(s.step, empty))
            s.reset()
            timed(s.step, empty[:2])
            times.setdefault((s.name, "from reset"), []).extend(timed(s.step, empty))
    rows = []
    for s in subjects:
        for phase in PHASES:
            s.times_ms, s.mismatches = times[s.name, phase], None
            rows.append(
                {**s.row(threads, phase=phase, engine_name=s.name, rate=rates[phase]), "name": f"{s.name}, {phase}"}
            )
    return rows


def without_shifts(net: Network) -> None:
    """Set the shift of each batch normalisation to zero, so that there is no current without input."""
    with torch.no_grad():
        for named in net.named_layers:
            if named.op == "BatchNorm":
                bn = net.get_submodule(named.name)
                bn.bias.copy_(bn.running_mean * bn.weight / torch.sqrt(bn.running_var + bn.eps))


def firing(work: workload.Workload) -> dict[str, float]:
    """Mean firing rate over all layers in each phase."""

    def mean(x: np.ndarray, tail: int) -> float:
        rates: list[float] = []
        work.net.reset()
        with torch.no_grad():
            for t, x_t in enumerate(x):
                work.net.watch = (lambda _, s: rates.append(float(s.mean()))) if t >= len(x) - tail else None
                work.net.step(torch.from_numpy(x_t))
        work.net.watch = None
        work.net.reset()
        return round(float(np.mean(rates)), 5)

    empty = np.zeros((40, *work.x.shape[1:]), np.float32)
    after = np.concatenate([work.x, empty])
    return {"active": mean(work.x, ACTIVE - 2), "silent": mean(after, 5), "from reset": mean(empty[:TAIL], 5)}


if __name__ == "__main__":
    main()
