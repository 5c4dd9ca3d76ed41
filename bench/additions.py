"""Each layer's additions of weights against the most that this processor can do: the roofline of the event engine.

    python bench/additions.py                        # the Gesture network, fp32 and int8, one thread
    python bench/additions.py --workload trained --json

The engine adds one row of weights for each spike and tap. How fast it could at the best is measured with the same kernels: a
layer of one tap whose 64 inputs all spike, so that its weights lie in the first-level cache and lists and neurons hardly count.
Each operation of the network is then a program of its own, timed while the network steps; additions are counted from its spikes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import plif_train
import runtime
from bench import workload
from bench.artifacts import artifact, prepared, work_folder
from bench.machine import machine
from plif_export import export
from runtime import native
from runtime.engines.event.engine import EventEngine
from runtime.engines.event_program.layout import count_blocks, count_lanes

ROOF = "c64k1s1-IF-c128k1s1-IF-FC10-IF"
NEVER_DENSE = 2.0
STEPS = 20
PRECISIONS = ("fp32", "int8")


@dataclass
class Timed:
    """One operation: what it is, a call of it alone, and the additions (a number a step) and seconds of each step."""

    op: native.Op
    run: Callable[[], None]
    additions: list[int]
    seconds: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", default="gesture", help="gesture, trained, or a model.pt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="a folder where artifacts are kept from run to run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    workload.with_malloc_settings()
    with work_folder(options.work) as folder:
        work = prepared(options.workload, STEPS, folder)
        parts = {p: measure(work, options.workload, p, options.rounds, folder) for p in PRECISIONS}
    if options.json:
        print(json.dumps({"bench": "additions", "machine": machine(), "workload": options.workload, "parts": parts}))
        return
    for precision, part in parts.items():
        print(f"{precision}: at most {part['roof_g_per_s']:.1f} thousand million additions a second")
        print(f"{'layer':10} {'millions':>9} {'list ms':>8} {'ms':>7} {'at least':>9} {'of the roof':>12}")
        for row in part["rows"]:
            print(
                f"{row['layer']:10} {row['additions_m']:9.2f} {row['list_ms']:8.3f} {row['ms']:7.3f} {row['least_ms']:9.3f} "
                f"{100 * row['share']:10.0f} %"
            )


def measure(work: workload.Workload, name: str, precision: str, rounds: int, folder: Path) -> dict[str, Any]:
    path = artifact(work.net, Path(name).stem, "onnx", precision, folder)
    assert path is not None
    roof = best_rate(precision, folder)
    model = runtime.load(path, "event", threads=1)
    assert isinstance(model.engine, EventEngine)
    found = run(model.engine, work.x, rounds)
    lists = {timed.op.out: statistics.median(timed.seconds) for timed in found if kind(timed.op) == "ACTIVE"}
    rows = []
    for timed in found:
        if kind(timed.op) != "CONV":
            continue
        seconds, list_s = statistics.median(timed.seconds), lists[timed.op.in_]
        additions = statistics.mean(timed.additions)
        state = model.card["states"][timed.op.state]["layer"] if timed.op.state >= 0 else "-"
        rows.append(
            {
                "layer": state,
                "additions_m": additions / 1e6,
                "list_ms": 1e3 * list_s,
                "ms": 1e3 * seconds,
                "least_ms": 1e3 * additions / roof,
                "share": additions / roof / (seconds + list_s),
            }
        )
    return {"roof_g_per_s": roof / 1e9, "rows": rows}


def best_rate(precision: str, folder: Path) -> float:
    """Additions a second where nothing but them counts."""
    net = plif_train.build(ROOF, shape=(2, 8, 64)).eval()
    with torch.no_grad():
        first, second = [module for module in net.modules() if isinstance(module, torch.nn.Conv2d)]
        first.weight.fill_(1.0)
        second.weight.uniform_(-0.5, 0.5)
    path = export(net, folder / f"roof_{precision}.onnx", precision=precision, verify=False).path
    engine = runtime.load(path, "event", threads=1).engine
    assert isinstance(engine, EventEngine)
    for op in engine._ops:
        op.dense_from = NEVER_DENSE
    layer = [t for t in run(engine, np.ones((30, 1, 2, 8, 64), np.float32), 3) if kind(t.op) == "CONV"][1]
    return statistics.mean(layer.additions) / min(layer.seconds)


def kind(op: native.Op) -> str:
    return native.KINDS[op.kind]


def run(engine: EventEngine, x: np.ndarray, rounds: int) -> list[Timed]:
    """Every operation of a network, timed in each step of `rounds` passes over x [T, 1, C, H, W], after one pass untimed."""
    v, _ = engine.membranes(1)
    x_t, y = np.zeros_like(x[0]), np.zeros((1, len(engine.card["classes"])), np.float32)
    scratch = engine._allocate_scratch()
    found = []
    for op in engine._ops:
        part = copy(engine)  # a program of one operation, on the same memory
        part._program = native.Program.from_buffer_copy(engine._program)
        part._program.ops, part._program.count = ctypes.addressof(op), 1
        part._allocate_scratch = lambda: scratch  # type: ignore[method-assign]
        found.append(Timed(op, part.bind(x_t, v, y, v), [], []))
    for counted in (False, *[True] * rounds):
        for state, array in zip(engine.card["states"], v, strict=True):
            array[...] = state["initial"]
        for frame in x:
            x_t[...] = frame
            for timed in found:
                began = time.perf_counter()
                timed.run()
                took = time.perf_counter() - began
                if counted:
                    timed.seconds.append(took)
            if counted:
                for timed in found:
                    if kind(timed.op) == "CONV":
                        timed.additions.append(additions(timed.op, found, scratch.arrays[0], x_t[0]))
    return found


def additions(op: native.Op, found: list[Timed], arena: np.ndarray, x: np.ndarray) -> int:
    """Weights that a convolution adds: for each nonzero input, lanes of outputs times the taps that reach it."""
    source = next(t.op for t in found if kind(t.op) == "ACTIVE" and t.op.out == op.in_)
    if source.from_ == native.FROM_X:
        nonzero = (x.reshape(op.ic, op.ih, op.iw) != 0).sum(0)
    elif source.from_ == native.FROM_SPIKES:
        words = op.ih * op.iw * count_blocks(op.ic)
        bits = arena[source.in_ : source.in_ + 8 * words].reshape(op.ih, op.iw, -1)
        nonzero = np.unpackbits(bits, axis=-1).sum(-1, dtype=np.int64)
    else:
        floats = arena[source.in_ : source.in_ + 4 * op.ih * op.iw * count_lanes(op.ic)].view(np.float32)
        nonzero = (floats.reshape(op.ih, op.iw, -1)[..., : op.ic] != 0).sum(-1)
    taps = np.outer(reached(op.ih, op.oh, op.kh, op), reached(op.iw, op.ow, op.kw, op))
    return int((nonzero * taps).sum()) * count_lanes(op.oc)


def reached(inputs: int, outputs: int, kernel: int, op: native.Op) -> np.ndarray:
    """How many output rows (columns) each input row (column) has a tap for."""
    at = np.arange(inputs)[:, None] + op.pad - np.arange(kernel)
    return ((at % op.stride == 0) & (at >= 0) & (at // op.stride < outputs)).sum(1)


if __name__ == "__main__":
    main()
