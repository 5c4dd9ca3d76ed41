"""A hundred thousand recordings in one `plif predict`, and a CSV of ten gigabytes: memory, time, and nothing left out.

    python bench/soak_files.py predict --files 100000             small recordings are made, predicted, and removed
    python bench/soak_files.py csv --gb 10                        the file is made (23 bytes an event), streamed, and removed
    python bench/soak_files.py predict --files 10000 --json       the same in short

Exit code 1 when one of these does not hold, against the same with a tenth of the files or bytes:

    every recording has its line in predictions.csv, in order, and every event of the CSV its fate
    time is at most 12 times as much
    memory (PSS of all processes, its peak) is at most 20 MB more, and 300 bytes a file: their names

(`plif predict` holds a recording as a whole, and refuses one of more than 2^26 events: docs/limits.md.)
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ROOT = Path(__file__).resolve().parent.parent
GROWTH_MB, A_FILE_MB, LINEAR = 20.0, 3e-4, 12.0
LINE = "100000000000,100,100,1\n"  # t, x, y, p: all of one width
BLOCK = 1_000_000  # lines
FILES = 1000  # recordings that differ


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["predict", "csv"])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--gb", type=float, default=10.0)
    parser.add_argument(
        "--folder", type=Path, help="where there is room for them; the folder for temporary files if not given"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        from plif_export import export

        artifact = Path(name) / "digits.onnx"
        export(ROOT / "models" / "nmnist-digits.pt", artifact, verify=False)
        run: Callable[[Path, Path, int], list[dict[str, Any]]] = predict if options.what == "predict" else stream
        size = options.files if options.what == "predict" else int(1e9 * options.gb) // len(LINE)
        (few, many) = (run(artifact, Path(name), count) for count in (size // 10, size))
    found = [one for small, large in zip(few, many, strict=True) for one in wrong(small, large)]
    if options.json:
        print(json.dumps({"few": few, "many": many, "wrong": found}))
    else:
        for one in (*few, *many):
            print("  ".join(f"{key} {value}" for key, value in one.items()))
        print("\n".join(found) or "all there, memory flat, time linear")
    sys.exit(bool(found))


def wrong(few: dict[str, Any], many: dict[str, Any]) -> list[str]:
    found = [f"{one['what']}: {one['found']} of {one['count']}" for one in (few, many) if one["found"] != one["count"]]
    files = many["count"] - few["count"] if many["what"].startswith("files") else 0
    if many["peak_mb"] > few["peak_mb"] + GROWTH_MB + A_FILE_MB * files:
        found.append(f"{many['what']}: memory {many['peak_mb']} MB, with a tenth {few['peak_mb']} MB")
    if many["seconds"] > LINEAR * few["seconds"]:
        found.append(f"{many['what']}: {many['seconds']} s, with a tenth {few['seconds']} s")
    return found


def predict(artifact: Path, place: Path, count: int) -> list[dict[str, Any]]:
    """Write recordings in N-MNIST's format with 50 events each, 250 bytes, into one folder; each has many names."""
    recordings, table = place / f"recordings{count}", place / "predictions.csv"
    recordings.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        path = recordings / f"recording_2026-11-29_camera3_{number}.bin"
        if number >= FILES:
            path.hardlink_to(recordings / f"recording_2026-11-29_camera3_{number % FILES}.bin")
            continue
        words = rng.integers(0, 34, (50, 5), np.uint8)
        words[:, 2:4], words[:, 4] = 0, 200  # a timestamp of 23 bits behind the polarity
        words[:, 3] = np.arange(50)
        path.write_bytes(words.tobytes())
    measured = measure("predict", str(artifact), str(recordings), "--out", str(table))
    with open(table, newline="") as file:
        paths = [Path(row["path"]).name for row in csv.DictReader(file)]
    found = sum(name == f"recording_2026-11-29_camera3_{number}.bin" for number, name in enumerate(paths))
    return [{"what": "files predicted", "count": count, "found": found, **measured}]


def stream(artifact: Path, place: Path, count: int) -> list[dict[str, Any]]:
    """Write a recording with one event in each microsecond."""
    path, out = place / f"events{count}.csv", place / "out"
    write_csv(path, count)
    how = ("--framing", "duration:20ms", "--sensor", "128x128", "--json")
    measured = measure("stream", str(artifact), str(path), *how, out=out)
    path.unlink()
    summary = json.loads(out.read_bytes().splitlines()[-1])["summary"]
    used = summary["events_used"] if summary["events_in"] == count else -1
    return [{"what": "events streamed", "count": count, "found": used, **measured}]


def write_csv(path: Path, count: int) -> None:
    template = np.frombuffer(LINE.encode(), np.uint8)
    rng = np.random.default_rng(0)
    block = np.tile(template, (BLOCK, 1))
    block[:, 14:16] = rng.integers(0, [3, 8], (BLOCK, 2)) + ord("0")  # x and y of 100 to 127
    block[:, 18:20] = rng.integers(0, [3, 8], (BLOCK, 2)) + ord("0")
    block[:, 21] = rng.integers(0, 2, BLOCK) + ord("0")
    with open(path, "wb") as file:
        for begin in range(0, count, BLOCK):
            t = np.arange(begin, min(begin + BLOCK, count))
            for digit in range(11):
                block[: len(t), 11 - digit] = t // 10**digit % 10 + ord("0")
            file.write(block[: len(t)].tobytes())


def measure(*words: str, out: Path | None = None) -> dict[str, Any]:
    """Run plif; return the seconds and the peak memory of its processes, sampled ten times a second."""
    began_s = time.monotonic()
    with open(out or "/dev/null", "wb") as file, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime.core.cli", *words], cwd=ROOT, stdout=file, stderr=err
        )
        peak, ended = [0.0], threading.Event()

        def watch() -> None:
            while not ended.wait(0.1):
                peak[0] = max(peak[0], pss_mb(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        ended.set()
        watcher.join()
        err.seek(0)
        if code:
            raise SystemExit(f"plif {' '.join(words)}: {code}: {err.read()[-2000:].decode()}")
    return {"seconds": round(time.monotonic() - began_s, 1), "peak_mb": round(peak[0], 1)}


def pss_mb(pid: int) -> float:
    """Of a process and its children."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # it has ended
        return 0.0
    return (int(found[1]) / 1e3 if found else 0.0) + sum(map(pss_mb, children))


if __name__ == "__main__":
    main()
