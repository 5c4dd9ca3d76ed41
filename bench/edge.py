"""The ways to run a network beside a camera, side by side in one run: sizes, first answers, steps a second (docs/edge.md).

    python bench/edge.py --write                      docs/edge.md and docs/performance/edge.json; a quiet machine, minutes
    python bench/edge.py --network models/nmnist-digits.pt --precision int8 --processes 20 --json

Each row is a program that reads frames and gives y of each step. All get the same frames, take turns, and run one thread. A row
whose compiler or library is not on this machine is left out, and the line says what is missing.

files    what has to be on the machine beside the C and C++ libraries; of Python the .plif file, of Chromium the page
first    median ms from the start of a process to its end, with one frame: open, one step, print. In Chromium, which runs already:
         from the start of the page's navigation to the first y
steps/s  (N - 1) / (median time with N frames - median time with one)
same     steps whose y is the very same numbers as that of the Python event engine

To add a row, write a function (Place) -> Program and enter it in ROWS.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.edge_page import visit, write_page
from bench.machine import machine
from bench.workload import workload
from plif_export import export
from runtime.artifacts.web_page.page import read_plif_bytes
from tests.browser import Browser, find_chromium

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = (
    ("gesture", "fp32", 200),
    ("models/nmnist-digits.pt", "int8", 2000),
)  # of the page, and N: a second of steps or so
TITLES = {"gesture": "The paper's Gesture network", "models/nmnist-digits.pt": "The digits network that ships"}
BEGIN, END = "<!-- python bench/edge.py --write -->\n", "<!-- end -->"
SYSTEM = ("linux-vdso", "ld-linux", "libc", "libm", "libdl", "librt", "libpthread", "libgcc_s", "libstdc++")
PYTHON = """
import sys, numpy as np, runtime
model = runtime.load(sys.argv[1], "event", threads=1)
session, shape = model.session(), (1, *model.input_shape)
for x in np.fromfile(sys.argv[2], np.float32).reshape(-1, *shape):
    print(*(f"{y:.9g}" for y in session.step(x)[0]), "", flush=True)
"""


@dataclass(frozen=True)
class Place:
    """The place where a row of the table is measured: folder, network (a model.pt or a live module) and precision.

    `stack` closes at the end.
    """

    folder: Path
    net: Any
    precision: str
    stack: ExitStack = field(default_factory=ExitStack)

    def artifact(self, to: str, suffix: str) -> Path:
        path = self.folder / f"m{suffix}"
        if not path.exists():
            export(self.net, path, to=to, precision=self.precision, verify=False)
        return path


Run = Callable[
    [Path], tuple[float, np.ndarray]
]  # a file of frames, float32 [T, ...] -> (seconds, y float32 [T, classes])


@dataclass(frozen=True)
class Program:
    """run: steps a file of frames;  files: what has to be on the machine for it."""

    run: Run
    files: list[Path]


def process(*command: str | Path) -> Run:
    """Start a program with the file of frames as its last argument; it prints y, a line for each step."""

    def run(frames: Path) -> tuple[float, np.ndarray]:
        began = time.perf_counter()
        done = subprocess.run([*command, frames], check=True, capture_output=True, text=True, env=one_thread())
        seconds = time.perf_counter() - began
        return seconds, np.array([line.split() for line in done.stdout.splitlines()], np.float32)

    return run


class NotHere(Exception):
    """What is missing on this machine."""


def compiled(place: Place, compiler: str, source: Path, *flags: str | Path) -> Path:
    if shutil.which(compiler) is None:
        raise NotHere(f"no {compiler}")
    to = place.folder / source.name.replace(".", "_")
    done = subprocess.run([compiler, "-O2", source, "-o", to, *flags], capture_output=True, text=True)
    if done.returncode:
        raise NotHere(done.stderr.strip().splitlines()[0])
    subprocess.run(["strip", to], check=True)
    return to


def python_event(place: Place) -> Program:
    """Run the event engine from Python, on the same file as libplif."""
    plif = place.artifact("plif", ".plif")
    return Program(process(sys.executable, "-c", PYTHON, plif), [plif])


def libplif(place: Place) -> Program:
    prefix = place.folder / "usr"
    if shutil.which("make") is None:
        raise NotHere("no make")
    where = (f"PREFIX={prefix}", f"BUILD={place.folder / 'build'}")
    subprocess.run(["make", "-s", "-C", ROOT / "runtime/native", "install", *where], check=True, capture_output=True)
    library = (prefix / "lib/libplif.so").resolve()
    subprocess.run(["strip", library], check=True)
    flags = (f"-I{prefix}/include", f"-L{prefix}/lib", "-lplif", f"-Wl,-rpath,{prefix}/lib")
    program = compiled(place, "cc", ROOT / "runtime/native/examples/step.c", *flags)
    plif = place.artifact("plif", ".plif")
    return Program(process(program, plif), [library, plif])


def generated_c(place: Place) -> Program:
    source = place.artifact("c", ".c")
    names = (f'-DPLIF_SOURCE="{source}"', "-DPLIF_NAME=m", "-DPLIF_BIG=M")
    program = compiled(place, "gcc", ROOT / "bench/edge_step.c", "-O3", *names, "-lm")
    return Program(process(program), [program])


def onnxruntime_cpp(place: Place) -> Program:
    places = (Path("/usr/include/onnxruntime"), Path("/usr/local/include/onnxruntime"))
    include = next((path for path in places if path.is_dir()), None)
    if include is None:
        raise NotHere("no headers of ONNX Runtime (libonnxruntime-dev)")
    program = compiled(place, "g++", ROOT / "docs/step.cpp", "-std=c++17", f"-I{include}", "-lonnxruntime")
    linked = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    found = re.findall(r"=> (/\S+)", linked)
    libraries = [Path(path).resolve() for path in found if Path(path).name.partition(".so")[0] not in SYSTEM]
    model = place.artifact("onnx", ".onnx")
    return Program(process(program, model), [*libraries, model])


def wasm_chromium(place: Place) -> Program:
    chromium, made = find_chromium(), place.artifact("web", ".html")
    if chromium is None:
        raise NotHere("no Chromium")
    browser = place.stack.enter_context(Browser(chromium))
    shape = place.net.meta.shape

    def run(frames: Path) -> tuple[float, np.ndarray]:
        page = frames.with_suffix(".html")
        if not page.exists():
            x = np.fromfile(frames, "<f4").reshape(-1, *shape)
            write_page(page, read_plif_bytes(made), x)
        return visit(browser, page)

    return Program(run, [made])


ROWS: dict[str, Callable[[Place], Program]] = {
    "Python, event engine": python_event,
    "libplif": libplif,
    "generated C, gcc -O3": generated_c,
    "ONNX Runtime, C++": onnxruntime_cpp,
    "WebAssembly in Chromium": wasm_chromium,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", help="gesture (the paper's), or a model.pt; without it both of the page")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--processes", type=int, default=10, help="of each row, with one frame and with N")
    parser.add_argument("--steps", type=int, help="N")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="into docs/edge.md and docs/performance/edge.json")
    options = parser.parse_args()
    networks = NETWORKS if options.network is None else ((options.network, options.precision, 200),)
    about, tables = machine(), []
    for network, precision, usual in networks:
        steps = options.steps or usual
        rows = measure(network, precision, options.processes, steps)
        tables.append({"network": network, "precision": precision, "steps": steps, "rows": rows})
    found = {"bench": "edge", "machine": about, "processes": options.processes, "tables": tables}
    text = json.dumps(found, indent=1) if options.json else markdown(found)
    print(text)
    if options.write:
        (ROOT / "docs/performance/edge.json").write_text(json.dumps(found, indent=1) + "\n")
        page = ROOT / "docs/edge.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}{markdown(found)}{END}{rest.partition(END)[2]}")


def markdown(found: dict[str, Any]) -> str:
    """Return the tables of docs/edge.md."""
    lines = []
    for table in found["tables"]:
        lines += [f"{TITLES.get(table['network'], table['network'])}, {table['precision']}:", ""]
        lines += ["| | files, MB | first answer, ms | steps a second | the same y |", "|---|---|---|---|---|"]
        for row in table["rows"]:
            if "missing" in row:
                lines.append(f"| {row['name']} | not measured: {row['missing']} | | | |")
                continue
            rate = "-" if row["steps_per_s"] is None else f"{row['steps_per_s']:.0f}"
            numbers = f"{row['mb']:.2f} | {row['first_ms']:.1f} | {rate}"
            lines.append(f"| {row['name']} | {numbers} | {row['same']} of {table['steps']} |")
        lines.append("")
    about, processes = found["machine"], found["processes"]
    lines += [
        f"{about['processor']}, {about['cores']} cores; medians of {processes} processes each, which took turns.",
        "",
    ]
    return "\n".join(lines)


def measure(network: str, precision: str, processes: int, steps: int) -> list[dict[str, Any]]:
    work = workload(network, steps)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        place = Place(folder, work.net, precision, stack)
        frames = {count: folder / f"{count}.f32" for count in (1, steps)}
        for count, path in frames.items():
            work.x[:count].astype("<f4").tofile(path)
        programs: dict[str, Program] = {}
        said: dict[str, np.ndarray] = {}
        rows: dict[str, dict[str, Any]] = {name: {"name": name} for name in ROWS}
        for name, make in ROWS.items():
            try:
                program = make(place)
                program.run(frames[1])  # and the file cache is full
                said[name] = program.run(frames[steps])[1]
                programs[name] = program
            except NotHere as missing:
                rows[name]["missing"] = str(missing)
            except subprocess.CalledProcessError as failed:
                rows[name]["missing"] = (
                    (failed.stderr or "it failed").strip().splitlines()[-1].replace("what():", "").strip()[:110]
                )
        times: dict[tuple[str, int], list[float]] = {(name, count): [] for name in programs for count in frames}
        for _ in range(processes):
            for name, program in programs.items():
                for count, path in frames.items():
                    times[name, count].append(program.run(path)[0])
        reference = next(iter(said.values()))
        for name, program in programs.items():
            first, whole = (float(np.median(times[name, count])) for count in (1, steps))
            rows[name] |= {
                "mb": sum(path.stat().st_size for path in program.files) / 1e6,
                "first_ms": 1e3 * first,
                "steps_per_s": (steps - 1) / (whole - first) if whole > first else None,  # None: too few steps to tell
                "same": int((said[name] == reference).all(axis=1).sum()),
            }
    return list(rows.values())


def one_thread() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
