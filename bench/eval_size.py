"""What an evaluation costs against the number of samples: time a sample and memory, which must both stay flat.

    python bench/eval_size.py --data ../shared/data/nmnist_small --plot docs/evaluation-size.png
    python bench/eval_size.py --sizes 1000,10000,100000 --workers 2 --json

The recordings (those of an N-MNIST, or drawn ones) are repeated under new names, as often as it takes: to plif they are new
samples. Each size is a process of its own, with --out, so that predictions are written, too. Memory is the peak of the program
and of its workers together.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.eval import MODEL, recorded, repeated
from bench.machine import machine
from plif_export import export

CHILD = """
import json, multiprocessing, resource, sys
from pathlib import Path
import runtime
from runtime.core.measure.evaluate.evaluation import evaluate

def peak_kb(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

peaks = {}
def progress(done, total, note):
    if total - done < 5000 or done % 4096 == 0:
        peaks.update({child.pid: max(peaks.get(child.pid, 0), peak_kb(child.pid)) for child in multiprocessing.active_children()})

if __name__ == "__main__":
    model, data, out, workers = sys.argv[1:]
    opened = runtime.load(model, "event", threads=1)
    result = evaluate(opened, data, out=out, workers=int(workers), batch=16, progress=progress)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({
        "samples": result.samples, "accuracy": result.accuracy, "seconds": result.seconds, "workers": result.workers,
        "cpu_s": round(sum(u.ru_utime + u.ru_stime for u in used), 2),
        "program_mb": round(peak_kb("self") / 1024, 1), "workers_mb": round(sum(peaks.values()) / 1024, 1),
    }))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, help="A folder with Train/ and Test/ of N-MNIST; 200 drawn digits when not given."
    )
    parser.add_argument("--sizes", default="1000,10000,30000,100000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure([int(size) for size in options.sizes.split(",")], options.workers, options.data)
    if options.plot:
        plot(rows, options.plot)
    if options.json:
        print(json.dumps({"bench": "eval_size", "machine": machine(), "rows": rows}))
        return
    print(
        f"{'samples':>9} {'seconds':>9} {'CPU ms a sample':>16} {'program MB':>11} {'workers MB':>11} {'accuracy':>9}"
    )
    for r in rows:
        print(
            f"{r['samples']:9} {r['seconds']:9.1f} {1e3 * r['cpu_s'] / r['samples']:16.3f} {r['program_mb']:11.1f} "
            f"{r['workers_mb']:11.1f} {100 * r['accuracy']:8.2f}%"
        )


def measure(sizes: list[int], workers: int, data: Path | None) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = export(MODEL, place / "m.onnx").path
        source = copied(data, place / "once") if data else recorded(200, place / "once")
        originals = sorted((source / "Test").rglob("*.bin"), key=lambda path: path.name)
        program = place / "child.py"
        program.write_text(CHILD)
        for size in sizes:
            repeated(originals, size, place / "many")
            command = [
                sys.executable,
                str(program),
                str(model),
                f"nmnist:{place / 'many'}",
                str(place / "out"),
                str(workers),
            ]
            environment = {
                **os.environ,
                "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
                "OMP_NUM_THREADS": "1",
            }
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(done.stdout))
            print(f"{size} samples done", file=sys.stderr)
            for name in ("many", "out"):
                shutil.rmtree(place / name)
    return rows


def copied(data: Path, place: Path) -> Path:
    """All recordings of an N-MNIST, of both splits, as one split with numbers of their own."""
    for n, path in enumerate(sorted([*data.glob("Train/*/*.bin"), *data.glob("Test/*/*.bin")])):
        to = place / "Test" / path.parent.name / f"{n:05d}.bin"
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
    return place


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (time, memory) = plt.subplots(1, 2, figsize=(9, 3.6))
    n = [r["samples"] for r in rows]
    time.plot(n, [1e3 * r["cpu_s"] / r["samples"] for r in rows], "o-")
    time.set(ylabel="processor time a sample, ms", title="Cost a sample")
    together = [r["program_mb"] + r["workers_mb"] for r in rows]
    memory.plot(n, together, "o-", label=f"program and {rows[0]['workers']} workers")
    memory.plot(n, [r["program_mb"] for r in rows], "s--", label="program alone")
    memory.axhline(500, color="grey", lw=1, ls=":", label="500 MB")
    memory.set(ylabel="peak memory, MB", title="Memory")
    memory.legend(frameon=False)
    for axes in (time, memory):
        axes.set(xlabel="samples", xscale="log")
        axes.set_ylim(0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
