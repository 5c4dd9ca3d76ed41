"""Many streams at once: throughput of one session with 1 to 64 streams, on one thread and on two.

    python bench/streams.py
    python bench/streams.py --streams 1,16 --threads 1 --threads 2 --json

A step advances every stream by one frame. Engines and thread counts take turns, round by round. Before anything is timed,
each stream of the event engine is compared, bit for bit, with a session that runs it alone: spikes must not depend on the
other streams.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench import workload
from bench.artifacts import artifact, prepared, work_folder
from bench.machine import machine
from bench.subjects import timed
from runtime.core.base.errors import PlifError

STREAMS = "1,2,4,8,16,32,64"
MOST_DENSE = 16  # more streams than this take a dense engine seconds a step
FRAMES = 4
PAUSE_S = 0.05  # after a step, an engine's threads wait for work in a loop for a while, on the cores of the next engine


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", default="gesture", help="gesture, or a model.pt")
    parser.add_argument("--streams", default=STREAMS)
    parser.add_argument("--threads", type=int, action="append", help="1 and 2 when not given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="a folder where artifacts are kept from run to run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with work_folder(options.work) as folder:
        counts = [int(n) for n in options.streams.split(",")]
        rows = measure(options.workload, counts, options.threads or [1, 2], options.rounds, folder)
    if options.json:
        print(json.dumps({"bench": "streams", "machine": machine(), "workload": options.workload, "rows": rows}))
        return
    print(f"{'name':20} {'streams':>8} {'threads':>8} {'p50 ms':>9} {'p99 ms':>9} {'steps/s':>9}  differ")
    for r in rows:
        differ = "-" if r["spike_mismatches"] is None else r["spike_mismatches"]
        print(
            f"{r['name']:20} {r['streams']:8} {r['threads']:8} {r['p50_ms']:9.3f} {r['p99_ms']:9.3f} "
            f"{r['steps_per_s']:9.1f}  {differ}"
        )


def measure(name: str, counts: list[int], threads: list[int], rounds: int, folder: Path) -> list[dict[str, Any]]:
    work = prepared(name, 1, folder)
    x = workload.moving_blob(FRAMES, max(counts), work.net.meta.shape)
    subjects: list[tuple[str, str, str, int, Any]] = []
    for precision in ("fp32", "int8"):
        path = artifact(work.net, Path(name).stem, "onnx", precision, folder)
        for engine in ("event", "onnxruntime") if path else ():
            for n in threads:
                try:
                    subjects.append(
                        (f"{engine} {precision}", engine, precision, n, runtime.load(path, engine, threads=n))
                    )
                except PlifError as error:
                    print(f"{engine} {precision} is left out: {error}", file=sys.stderr)
    rows = []
    for streams in counts:
        times: dict[int, list[float]] = {}
        running = {
            i: model.session(streams)
            for i, (_, engine, _, _, model) in enumerate(subjects)
            if engine == "event" or streams <= MOST_DENSE
        }
        differ = {i: compare(session, x[:, :streams]) for i, session in running.items() if subjects[i][1] == "event"}
        for _ in range(rounds):
            for i, session in running.items():
                time.sleep(PAUSE_S)
                session.step(x[0, :streams])
                times.setdefault(i, []).extend(timed(session.step, x[:, :streams]))
        for i, ms in times.items():
            label, engine, precision, n, _ = subjects[i]
            rows.append(
                {
                    "name": label,
                    "engine": engine,
                    "precision": precision,
                    "threads": n,
                    "p50_ms": round(float(np.median(ms)), 4),
                    "p99_ms": round(float(np.percentile(ms, 99)), 4),
                    "spike_mismatches": differ.get(i),
                    "streams": streams,
                    "steps_per_s": round(1e3 * streams / float(np.median(ms)), 1),
                }
            )
    return rows


def compare(session: runtime.Session, x: np.ndarray) -> int:
    """How many numbers differ (membranes and outputs) between each stream of x [T, B, C, H, W] and a session of its own."""
    session.reset()
    y = session.run(x)
    alone = session.model.session()
    differ = 0
    for i in range(session.streams):
        alone.reset()
        differ += int(np.sum(alone.run(x[:, i : i + 1]) != y[:, i : i + 1]))
        differ += sum(int(np.sum(v[0] != session.state[name][i])) for name, v in alone.state.items())
    return differ


if __name__ == "__main__":
    main()
