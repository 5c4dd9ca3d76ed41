"""Lazy neurons (docs/event-engine-inside.md) beside the same engine that steps every neuron in every step: times and their ratio.

    python bench/lazy.py
    python bench/lazy.py --rounds 20 --json

One thread, both in one process, in turn. Input: the moving blob, real recordings of gestures in frames of 10 ms (where they lie
beside the project), and silence. Both give the same bits, which is compared at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench import workload
from bench.artifacts import artifact, prepared, work_folder
from bench.machine import machine
from bench.silence import without_shifts
from bench.subjects import timed
from plif_export import export
from runtime.core.engines import Engine
from runtime.core.engines.session import Session
from runtime.core.events import make_frames, read_events
from runtime.engines.event.engine import EventEngine

SHIPPED = Path(__file__).resolve().parent.parent / "models" / "gesture-sim.pt"
STEPS, OF_A_CLIP = 25, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--work", type=Path, help="a folder where artifacts are kept from run to run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with work_folder(options.work) as folder:
        rows = [
            {"network": network, "input": name} | compare(path, x, options.rounds)
            for network, path in networks(folder).items()
            for name, x in inputs(runtime.load(path, "event").input_shape).items()
        ]
    if options.json:
        print(json.dumps({"bench": "lazy", "machine": machine(), "rows": rows}))
        return
    print(f"{'network':28} {'input':18} {'every neuron ms':>16} {'lazy ms':>9} {'x faster':>9}  from - to")
    for r in rows:
        print(
            f"{r['network']:28} {r['input']:18} {r['every_ms']:16.3f} {r['lazy_ms']:9.3f} {r['times']:9.2f}  "
            f"{r['spread'][0]:.2f} - {r['spread'][1]:.2f}"
        )


def networks(folder: Path) -> dict[str, Path]:
    """Artifacts, fp32: with shifts that make some neurons fire in silence, without, and the network that ships."""
    work = prepared("gesture", 1, folder)
    found = {"Gesture": artifact(work.net, "gesture", "onnx", "fp32", folder)}
    without_shifts(work.net)
    found["Gesture without shifts"] = artifact(work.net, "gesture_without_shifts", "onnx", "fp32", folder)
    found[SHIPPED.name] = export(SHIPPED, folder / "shipped_fp32.onnx", verify=False).path
    return {name: path for name, path in found.items() if path is not None}


def inputs(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Event counts float32 [T, 1, C, H, W] by name."""
    c, h, w = shape
    found = {
        "moving blob": workload.moving_blob(STEPS, 1, (c, h, w)),
        "silence": np.zeros((STEPS, 1, c, h, w), np.float32),
    }
    if clips := sorted(workload.CLIPS.glob("*.bs2")):
        frames = [make_frames(read_events(path), "duration:10ms", (c, h, w), (128, 128))[:OF_A_CLIP] for path in clips]
        found["real recordings"] = np.concatenate(frames)[:, None].astype(np.float32)
    return found


def compare(path: Path, x: np.ndarray, rounds: int) -> dict[str, Any]:
    sessions = {lazy: session_of(path, lazy) for lazy in (True, False)}
    medians: dict[bool, list[float]] = {True: [], False: []}
    for k in range(-1, rounds):  # the first round is not counted
        for lazy in (True, False) if k % 2 else (False, True):
            sessions[lazy].reset()
            took = statistics.median(timed(sessions[lazy].step, x))
            if k >= 0:
                medians[lazy].append(took)
    for a, b in zip(sessions[True].snapshot(), sessions[False].snapshot(), strict=True):
        np.testing.assert_array_equal(a.view(np.int32), b.view(np.int32))
    ratios = [every / lazy for lazy, every in zip(medians[True], medians[False], strict=True)]
    return {
        "every_ms": statistics.median(medians[False]),
        "lazy_ms": statistics.median(medians[True]),
        "times": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
    }


def session_of(path: Path, lazy: bool) -> Session:
    """Return a session; unless lazy, on the arrays of the other engines, so that no decay is deferred."""
    model = runtime.load(path, "event", threads=1)
    assert isinstance(model.engine, EventEngine)
    if not lazy:
        model.engine.buffers = lambda rows, rates=False: Engine.buffers(model.engine, rows, rates)  # type: ignore[method-assign]
    return model.session()


if __name__ == "__main__":
    main()
