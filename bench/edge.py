"""The ways to run a network beside a camera, side by side in one run: sizes, first answers, steps a second (docs/edge.md).

    python bench/edge.py
    python bench/edge.py --network models/nmnist-digits.pt --processes 20 --json

Each row is a program that reads frames from a file and prints y of each step. All get the same frames, take turns, and run one
thread. A row whose compiler or library is not on this machine is left out, and the line says what is missing.

first    median ms from the start of a process to its end, with one frame: open, one step, print
steps/s  (N - 1) / (median time with N frames - median time with one)
same     steps whose y is the same text as that of the Python event engine

To add a row, write a function (Place) -> Program and enter it in ROWS.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine
from bench.workload import workload
from plif_export import export

ROOT = Path(__file__).resolve().parent.parent
PYTHON = """
import sys, numpy as np, runtime
model = runtime.load(sys.argv[1], "event", threads=1)
session, shape = model.session(), (1, *model.input_shape)
for x in np.fromfile(sys.argv[2], np.float32).reshape(-1, *shape):
    print(*(f"{y:.9g}" for y in session.step(x)[0]), "", flush=True)
"""


@dataclass(frozen=True)
class Place:
    """Where a row works: a folder of its own, the network (a model.pt or a live module), and its precision."""

    folder: Path
    net: Any
    precision: str

    def artifact(self, to: str, suffix: str) -> Path:
        path = self.folder / f"m{suffix}"
        if not path.exists():
            export(self.net, path, to=to, precision=self.precision, verify=False)
        return path


@dataclass(frozen=True)
class Program:
    """command: what runs, without the file of frames; files: what has to be on the machine for it, beside libc."""

    command: list[str]
    files: list[Path]


class NotHere(Exception):
    """What is missing on this machine."""


def compiled(place: Place, compiler: str, source: Path, *flags: str) -> Path:
    if shutil.which(compiler) is None:
        raise NotHere(f"no {compiler}")
    to = place.folder / source.name.replace(".", "_")
    done = subprocess.run([compiler, "-O2", str(source), "-o", str(to), *flags], capture_output=True, text=True)
    if done.returncode:
        raise NotHere(done.stderr.strip().splitlines()[0])
    return to


def python_event(place: Place) -> Program:
    """The event engine from Python, on the same file as libplif."""
    return Program(
        [sys.executable, "-c", PYTHON, str(place.artifact("plif", ".plif"))], [place.artifact("plif", ".plif")]
    )


def libplif(place: Place) -> Program:
    prefix = place.folder / "usr"
    if shutil.which("make") is None:
        raise NotHere("no make")
    make = [
        "make",
        "-s",
        "-C",
        str(ROOT / "runtime/native"),
        "install",
        f"PREFIX={prefix}",
        f"BUILD={place.folder / 'build'}",
    ]
    subprocess.run(make, check=True, capture_output=True)
    library = (prefix / "lib/libplif.so").resolve()
    subprocess.run(["strip", str(library)], check=True)
    flags = (f"-I{prefix}/include", f"-L{prefix}/lib", "-lplif", f"-Wl,-rpath,{prefix}/lib")
    program = compiled(place, "cc", ROOT / "runtime/native/examples/step.c", *flags)
    plif = place.artifact("plif", ".plif")
    return Program([str(program), str(plif)], [library, plif])


def onnxruntime_cpp(place: Place) -> Program:
    include = next(
        (path for path in (Path("/usr/include/onnxruntime"), Path("/usr/local/include/onnxruntime")) if path.is_dir()),
        None,
    )
    if include is None:
        raise NotHere("no headers of ONNX Runtime (libonnxruntime-dev)")
    program = compiled(place, "g++", ROOT / "docs/step.cpp", "-std=c++17", f"-I{include}", "-lonnxruntime")
    linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True).stdout
    libraries = [
        Path(line.split()[2]).resolve() for line in linked.splitlines() if "onnxruntime" in line and "=>" in line
    ]
    return Program([str(program), str(place.artifact("onnx", ".onnx"))], [*libraries, place.artifact("onnx", ".onnx")])


ROWS: dict[str, Callable[[Place], Program]] = {
    "Python, event engine": python_event,
    "libplif": libplif,
    "ONNX Runtime, C++": onnxruntime_cpp,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", default="gesture", help="gesture (the paper's), or a model.pt")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--processes", type=int, default=10, help="of each row, with one frame and with N")
    parser.add_argument("--steps", type=int, default=200, help="N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options.network, options.precision, options.processes, options.steps)
    if options.json:
        print(json.dumps({"bench": "edge", "network": options.network, "machine": machine(), "rows": rows}))
        return
    print("| | files, MB | first answer, ms | steps a second | the same y |\n|---|---|---|---|---|")
    for row in rows:
        if "missing" in row:
            print(f"| {row['name']} | not measured: {row['missing']} | | | |")
        else:
            numbers = f"{row['mb']:.2f} | {row['first_ms']:.1f} | {row['steps_per_s']:.0f}"
            print(f"| {row['name']} | {numbers} | {row['same']} of {options.steps} |")


def measure(network: str, precision: str, processes: int, steps: int) -> list[dict[str, Any]]:
    work = workload(network, steps)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        place = Place(folder, work.net, precision)
        frames = {count: folder / f"{count}.f32" for count in (1, steps)}
        for count, path in frames.items():
            work.x[:count].astype("<f4").tofile(path)
        programs: dict[str, Program] = {}
        rows: dict[str, dict[str, Any]] = {}
        for name, make in ROWS.items():
            rows[name] = {"name": name, "precision": precision}
            try:
                programs[name] = make(place)
            except NotHere as missing:
                rows[name]["missing"] = str(missing)
        times: dict[tuple[str, int], list[float]] = {}
        said: dict[str, list[str]] = {}
        for i in range(processes + 1):
            for name, program in programs.items():
                for count, path in frames.items():
                    began = time.perf_counter()
                    done = subprocess.run(
                        [*program.command, str(path)], check=True, capture_output=True, text=True, env=one_thread()
                    )
                    if i:  # the first round fills the file cache
                        times.setdefault((name, count), []).append(time.perf_counter() - began)
                    said[name] = done.stdout.splitlines()
        reference = next(iter(said.values()))
        for name, program in programs.items():
            first, whole = (float(np.median(times[name, count])) for count in (1, steps))
            rows[name] |= {
                "mb": sum(path.stat().st_size for path in program.files) / 1e6,
                "first_ms": 1e3 * first,
                "steps_per_s": (steps - 1) / max(whole - first, 1e-9),
                "same": sum(a.split() == b.split() for a, b in zip(said[name], reference, strict=True)),
            }
    return list(rows.values())


def one_thread() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
