"""What watching costs a stream: a dashboard without and with open pages, and --record, compared with nobody watching.

    python bench/watching.py [--model model.pt] [--source SPEC] [--framing duration:10ms] [--rounds 8] [--json]

The same recording runs at full speed in one thread; in every round each kind of watching has its turn, so that a machine that
slows down slows all of them. "nobody again" is the control: its difference is noise. Pages are processes of their own that ask
for the next message when they have received the last, as the browser does. Times are processor time per step, with framing,
without the first steps, in which the server starts: of the stream's own thread, and of the whole process with the threads of
the server and the recorder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from plif_export import export
from runtime.core.api import Model
from runtime.core.events import open_source
from runtime.core.stream.observe import Observer
from runtime.formats.aedat31 import make_header, write_packets
from runtime.observers.dashboard.dashboard import Dashboard
from runtime.observers.replayed_stream.recorder import Recorder

HERE = Path(__file__).resolve().parent.parent
KINDS = ("nobody", "rates counted", "dashboard", "dashboard, 1 page", "dashboard, 4 pages", "record", "nobody again")
WARM_UP = 300  # steps
PAGE = """
import json, sys
from websockets.sync.client import connect
address, token = sys.argv[1:]
with connect(f"ws://{address}/feed", subprotocols=["plif", token], compression=None) as feed:
    seen = 0
    try:
        while True:
            feed.send(json.dumps({"since": seen}))
            data = feed.recv()
            seen = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])["seen"]
    except Exception:
        pass
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=HERE / "models" / "nmnist-digits.pt")
    parser.add_argument("--source", help="a recording; 10 s of simulated digits when not given")
    parser.add_argument("--framing", default="duration:10ms")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = measure(asked, Path(name))
    if asked.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'':<20}{'stream ms':>10}{'x':>7}{'process ms':>12}{'x':>7}{'spread':>9}")
    for row in rows:
        print(
            f"{row['watching']:<20}{row['stream_ms']:>10.4f}{row['stream_ratio']:>7.3f}{row['process_ms']:>12.4f}"
            f"{row['process_ratio']:>7.3f}{row['spread']:>9.4f}"
        )


def measure(asked: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    export(asked.model, folder / "m.onnx")
    plain = runtime.load(folder / "m.onnx", threads=1)
    counting = runtime.load(folder / "m.onnx", threads=1, rates=True)
    source = asked.source or str(_digits(folder / "digits.aedat"))
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for number in range(asked.rounds + 1):
        for kind in KINDS:
            model = counting if kind.startswith(("rates", "dashboard")) else plain
            found = one(model, kind, source, asked.framing, folder / f"{number}-{kind}")
            if number:  # the first round warms up
                times[kind].append(found)
    rows: list[dict[str, object]] = []
    for kind, values in times.items():
        row: dict[str, object] = {"watching": kind}
        for at, name in enumerate(("stream", "process")):
            own = [value[at] for value in values]
            row[f"{name}_ms"] = statistics.median(own)
            row[f"{name}_ratio"] = statistics.median(a / b[at] for a, b in zip(own, times["nobody"], strict=True))
        quarters = statistics.quantiles([value[0] for value in values], n=4)
        row["spread"] = quarters[2] - quarters[0]
        rows.append(row)
    return rows


def _digits(path: Path) -> Path:
    simulated = open_source("sim:digits?seed=1&seconds=10")
    with open(path, "wb") as file:
        file.write(make_header(simulated.sensor))
        for packet in simulated.packets():
            write_packets(file, packet)
    return path


def one(model: Model, kind: str, source: str, framing: str, place: Path) -> tuple[float, float]:
    with ExitStack() as stack:
        observers: list[Observer] = []
        pages = 4 if "4" in kind else 1 if "1" in kind else 0
        if kind.startswith("dashboard"):
            dashboard = stack.enter_context(Dashboard("127.0.0.1:0"))
            observers.append(dashboard)
            token = dashboard.address.partition("token=")[2]
            for _ in range(pages):
                command = [sys.executable, "-c", PAGE, f"127.0.0.1:{dashboard.port}", token]
                page = subprocess.Popen(command, stderr=subprocess.DEVNULL)
                stack.callback(page.wait)
                stack.callback(page.terminate)
        elif kind == "record":
            observers.append(stack.enter_context(Recorder(place)))
        running = model.stream(source, framing=framing, observers=observers)
        if pages:
            time.sleep(0.3)  # the pages connect and wait in the socket's queue until the stream starts
        steps = 0
        for decision in running:
            steps += 1
            if decision.step == WARM_UP:
                stream_s, process_s, began = time.thread_time(), time.process_time(), steps
        taken = steps - began
        return 1e3 * (time.thread_time() - stream_s) / taken, 1e3 * (time.process_time() - process_s) / taken


if __name__ == "__main__":
    main()
