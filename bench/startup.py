"""Start-up time: new processes, from `import runtime` to the first answer of the Gesture network.

    python bench/startup.py
    python bench/startup.py --processes 20 --json

import      `import runtime` loads nothing; NumPy, timed for comparison, is loaded with the first name that needs it
first       from the start of Python to the first answer: import, load, session, one step
calibrated  the same with --engine auto, which measures the engines first; "measured before": auto reads a stored measurement

Medians; the kinds of process take turns. Every number includes the time of a Python process that does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.artifacts import artifact, prepared
from bench.machine import machine

ROOT = Path(__file__).resolve().parent.parent
FIRST = (
    "import runtime, sys; model = runtime.load(sys.argv[1], {engine!r}); "
    "import numpy as np; model.session().step(np.zeros((1, *model.input_shape), np.float32))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=10, help="of each kind")
    parser.add_argument("--work", type=Path, help="a folder where artifacts are kept from run to run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = artifact(prepared("gesture", 1, folder).net, "gesture", "onnx", "fp32", folder)
        assert path is not None
        rows = measure(path, options.processes, Path(temporary) / "cache")
    if options.json:
        print(json.dumps({"bench": "startup", "machine": machine(), "rows": rows}))
        return
    for row in rows:
        print(f"{row['name']:44} {row['p50_ms']:9.1f} ms (p99 {row['p99_ms']:.1f})")


def measure(path: Path, processes: int, cache: Path) -> list[dict[str, Any]]:
    kinds = {
        "python, nothing else": ("", "python"),
        "import numpy": ("import numpy", "python"),
        "import runtime": ("import runtime", "python"),
        "import runtime, and what load needs": ("import runtime; runtime.load", "python"),
        "first answer, event": (FIRST.format(engine="event"), "event"),
        "first answer, onnxruntime": (FIRST.format(engine="onnxruntime"), "onnxruntime"),
        "first answer, auto, measured before": (FIRST.format(engine="auto"), "auto"),
        "first answer, auto, calibrated": (FIRST.format(engine="auto"), "auto"),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for i in range(processes + 1):
        for name, (program, _) in kinds.items():
            # one folder where measurements are stored, and an empty one for each process that has to measure
            home = cache / (f"new-{i}" if name.endswith("calibrated") else "kept")
            environment = {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "XDG_CACHE_HOME": str(home),
                "PLIF_NO_CALIBRATION": "",
            }
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program, str(path)], env=environment, check=True)
            if i:  # the first round fills the file cache and the folder of measurements
                times[name].append(1e3 * (time.perf_counter() - began))
    return [
        {
            "name": name,
            "engine": engine,
            "precision": "fp32",
            "threads": None,
            "p50_ms": round(float(np.median(times[name])), 1),
            "p99_ms": round(float(np.percentile(times[name], 99)), 1),
            "spike_mismatches": None,
        }
        for name, (_, engine) in kinds.items()
    ]


if __name__ == "__main__":
    main()
