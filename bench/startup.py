"""Start-up time: new processes, from `import runtime` to the first answer of the Gesture network.

    python bench/startup.py
    python bench/startup.py --processes 20 --json
    python bench/startup.py --command           # Python, `plif --help` and `plif info MODEL` alone, beside the aim

import      `import runtime` loads nothing; NumPy, timed for comparison, is loaded with the first name that needs it
first       from the start of Python to the first answer: import, load, session, one step
command     `plif --help` and `plif info MODEL`: at most AIM_MS more than Python that does nothing, in processor time, too
calibrated  the same with --engine auto, which measures the engines first; "measured before": auto reads a stored measurement

Medians; the kinds of process take turns. Every number includes the time of a Python process that does nothing. Compiled modules
are kept in a folder of the run, as an installed plif has them.
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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

AIM_MS = {"plif --help": 80, "plif info MODEL": 90}
COMMAND = "import sys; sys.argv = ['plif', {words}]; from runtime.core.cli.__main__ import main; main()"
MODEL = ROOT / "models" / "nmnist-digits.pt"
ALONE = {  # name -> program, engine
    "python, nothing else": ("", "python"),
    "plif --help": (COMMAND.format(words="'--help'"), "python"),
    "plif info MODEL": (COMMAND.format(words=f"'info', {str(MODEL)!r}"), "python"),
}
FIRST = (
    "import runtime, sys; model = runtime.load(sys.argv[1], {engine!r}); "
    "import numpy as np; model.session().step(np.zeros((1, *model.input_shape), np.float32))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=10, help="of each kind")
    parser.add_argument("--work", type=Path, help="a folder where artifacts are kept from run to run")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--command", action="store_true", help="only the command; exit code 1 above the aim")
    options = parser.parse_args()
    if options.command:
        sys.exit(command(options.processes))
    from bench.artifacts import artifact, prepared
    from bench.machine import machine

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


def command(processes: int) -> int:
    """Print the start time of the command next to Python's own; return exit code 1 if one is above the aim."""
    with tempfile.TemporaryDirectory() as temporary:
        wall, processor = run_in_turns(ALONE, processes, Path(temporary), "")
    print(f"p50 of {processes} processes each, in turns, in ms; load average {os.getloadavg()[0]:.1f}")
    bare, *others = ALONE
    print(f"{bare:24} {np.median(wall[bare]):7.1f} wall {np.median(processor[bare]):7.1f} processor")
    above = False
    for name in others:
        more = [float(np.median(np.subtract(times[name], times[bare]))) for times in (wall, processor)]
        print(f"{name:24} {more[0]:+7.1f} wall {more[1]:+7.1f} processor; aim: {AIM_MS[name]} more than Python alone")
        above |= min(more) > AIM_MS[name]  # a busy machine makes the wall clock late, and a cold one the processor
    return int(above)


def measure(path: Path, processes: int, cache: Path) -> list[dict[str, Any]]:
    kinds = {
        **ALONE,
        "import numpy": ("import numpy", "python"),
        "import runtime": ("import runtime", "python"),
        "import runtime, and what load needs": ("import runtime; runtime.load", "python"),
        "first answer, event": (FIRST.format(engine="event"), "event"),
        "first answer, onnxruntime": (FIRST.format(engine="onnxruntime"), "onnxruntime"),
        "first answer, auto, measured before": (FIRST.format(engine="auto"), "auto"),
        "first answer, auto, calibrated": (FIRST.format(engine="auto"), "auto"),
    }
    times, _ = run_in_turns(kinds, processes, cache, str(path))
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


def run_in_turns(
    kinds: dict[str, tuple[str, str]], processes: int, cache: Path, path: str
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall clock and processor time in ms of each process, by kind: {name: [processes]}, twice."""
    wall: dict[str, list[float]] = {name: [] for name in kinds}
    processor: dict[str, list[float]] = {name: [] for name in kinds}
    for i in range(processes + 1):
        for name, (program, _) in kinds.items():
            # one folder where measurements are stored, and an empty one for each process that has to measure
            home = cache / (f"new-{i}" if name.endswith("calibrated") else "kept")
            environment = {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "PYTHONPYCACHEPREFIX": str(cache / "compiled"),
                "PYTHONDONTWRITEBYTECODE": "",
                "XDG_CACHE_HOME": str(home),
                "PLIF_NO_CALIBRATION": "",
            }
            began = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-c", program, path], env=environment, stdout=subprocess.DEVNULL
            )
            _, status, used = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"{name}: failed")
            if i:  # the first round fills the file cache and the folder of measurements
                wall[name].append(1e3 * (time.perf_counter() - began))
                processor[name].append(1e3 * (used.ru_utime + used.ru_stime))
    return wall, processor


if __name__ == "__main__":
    main()
