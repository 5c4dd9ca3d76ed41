"""UDP on the loopback, end to end: how many events a second are received, framed and answered, and what overload does.

    python bench/udp.py                              rates from 0.1 to 4 million events a second, 4 s each
    python bench/udp.py --artifact gesture.onnx --overload 60        calm, ten times as much for 60 s, calm again
    python bench/udp.py --artifact gesture.onnx --overload 60 --policy drop
    python bench/udp.py --rates 1 --liar 1000 --whose any            beside datagrams of another host that are 0.9 ms ahead each
    python bench/udp.py --make gesture.onnx          the paper's Gesture network, random weights that fire (bench/workload.py)

Another process sends datagrams of 100 events (t64, a 128 x 128 sensor, random places) at the wanted rate; their times are
the moments at which they are due, on a clock that both processes share. So the lag of a decision counts from the moment at
which the last event of its frame was due. Receiver, framing and the network (the shipped digits
network, if no other is given) run in this process, exactly as in `plif stream`.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from runtime.core.api import Model
from runtime.core.events import make_events
from runtime.core.stream.observe import Observer
from runtime.sources.udp.datagrams import encode_datagrams

ROOT = Path(__file__).resolve().parent.parent
EACH = 100
RATES = "0.1,0.3,1,2,3,4"
SENSOR = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rates", default=RATES, help="million events a second")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--overload", type=float, default=0.0, help="seconds of it")
    parser.add_argument("--calm", type=float, default=5.0, help="seconds before and after it")
    parser.add_argument("--policy", default="merge")
    parser.add_argument(
        "--liar", type=int, default=0, help="datagrams a second of 127.0.0.2, each 0.9 ms further ahead"
    )
    parser.add_argument("--whose", default="first", help="from= of the source")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--artifact")
    parser.add_argument("--make")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--send", help=argparse.SUPPRESS)
    parser.add_argument("--lie", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send or options.lie:
        send(**json.loads(options.send)) if options.send else lie(**json.loads(options.lie))
        return
    if options.make:
        from bench import workload
        from plif_export import export

        export(workload.network(), options.make, verify=False)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.artifact or Path(folder) / "digits.onnx")
        if not options.artifact:
            from plif_export import export

            export(ROOT / "models" / "nmnist-digits.pt", path, verify=False)
        model = runtime.load(path, options.engine, threads=1)
        if options.overload:
            rows = [overload(model, options.overload, options.calm, options.policy)]
        else:
            rows = [
                run(
                    model,
                    [(float(rate) * 1e6, options.seconds)],
                    "events:n=20000,max=20ms",
                    liar=options.liar,
                    whose=options.whose,
                )
                for rate in options.rates.split(",")
            ]
    for row in rows:
        row.pop("seconds_of", None)
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


def overload(model: Model, seconds: float, calm_s: float, policy: str) -> dict[str, Any]:
    """With this framing the network is busy half of the time in the calm; ten times the rate is five times too much."""
    session = model.session()
    x = np.ones((1, *model.input_shape), np.float32)
    times = []
    for _ in range(60):
        began_s = time.perf_counter()
        session.step(x)
        times.append(time.perf_counter() - began_s)
    calm_rate = 40_000.0
    n = max(10, round(2 * calm_rate * float(np.median(times))))
    phases = [(calm_rate, calm_s), (10 * calm_rate, seconds), (calm_rate, calm_s)]
    row = run(model, phases, f"events:n={n},max=500ms", policy)
    of = row["seconds_of"]
    before, during = int(calm_s), int(calm_s + seconds)
    for name, begin, end in (
        ("calm", 1, before),
        ("overload", before + 1, during),
        ("after_1s", during + 1, len(of["lag"])),
    ):
        lags = [lag for second in of["lag"][begin:end] for lag in second]
        if name == "after_1s":
            lags = lags[:-1]  # the last frame is closed by the end of the stream, at any time
        row[f"lag_{name}_p50_ms"], row[f"lag_{name}_p99_ms"] = (
            _round(np.percentile(lags, 50)),
            _round(np.percentile(lags, 99)),
        )
    rss = [mb for mb in of["rss_mb"] if mb]
    row["rss_mb_at"] = {
        "calm": rss[before - 1],
        "overload begins": rss[before + 1],
        "ends": rss[during - 1],
        "end": rss[-1],
    }
    row["frame_ms_calm"], row["step_ms"] = _round(1e3 * n / calm_rate), _round(1e3 * float(np.median(times)))
    return row


class Watch(Observer):
    """The lag of each decision, and memory, for each second of the sender's time."""

    def __init__(self, began_s: float, seconds: int) -> None:
        self.began_s = began_s
        self.lag: list[list[float]] = [[] for _ in range(seconds + 1)]
        self.rss_mb: list[float] = [0.0] * (seconds + 1)

    def on_decision(self, decision: Any) -> None:
        behind_s = time.monotonic() - self.began_s - decision.t_us / 1e6
        second = min(int(decision.t_us // 1_000_000), len(self.lag) - 1)
        self.lag[second].append(1e3 * behind_s)
        if not self.rss_mb[second]:
            self.rss_mb[second] = rss_mb()


def run(
    model: Model,
    phases: list[tuple[float, float]],
    framing: str,
    policy: str = "merge",
    liar: int = 0,
    whose: str = "first",
) -> dict[str, Any]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began_s = (
        time.monotonic() + 2.0 + sum(rate * seconds for rate, seconds in phases) / 4e6
    )  # the sender prepares its datagrams
    watch = Watch(began_s, int(sum(seconds for _, seconds in phases)) + 1)
    spec = f"udp://127.0.0.1:{port}?sensor={SENSOR}x{SENSOR}&from={whose}"
    running = model.stream(spec, framing=framing, overload=policy, observers=[watch])
    task = {"port": port, "began_s": began_s, "phases": phases}
    sender = subprocess.Popen([sys.executable, __file__, "--send", json.dumps(task)], stdout=subprocess.PIPE, text=True)
    if liar:
        lies = {"port": port, "began_s": began_s, "rate": liar, "seconds": sum(seconds for _, seconds in phases)}
        subprocess.Popen([sys.executable, __file__, "--lie", json.dumps(lies)])
    said: list[str] = []

    def finish() -> None:
        said.append(sender.communicate()[0])
        time.sleep(0.5)
        running.source.close()  # type: ignore[attr-defined]

    threading.Thread(target=finish).start()
    cpu_s = time.process_time()
    for _ in running:
        pass
    cpu_s = time.process_time() - cpu_s
    sent = json.loads(said[0])
    summary = running.summary()
    kept = sum(summary[f"events_{k}"] for k in ("used", "filtered", "late", "invalid", "dropped"))
    lags = [lag for second in watch.lag for lag in second]
    kernel = summary["datagrams"]["dropped_by_kernel"]
    seconds = sum(seconds for _, seconds in phases)
    return {
        "wanted_per_s": "/".join(f"{rate:g}" for rate, _ in phases),
        "sent": sent["events"],
        "sent_per_s": round(sent["events"] / sent["seconds"]),
        "in": summary["events_in"],
        "kernel_dropped_datagrams": kernel,
        "missing": sent["events"] - summary["events_in"] - EACH * kernel,
        "foreign": summary["datagrams"]["foreign"],
        "account": "adds up" if kept == summary["events_in"] else f"{kept} of {summary['events_in']}",
        "dropped": summary["events_dropped"],
        "late": summary["events_late"],
        "frames": summary["frames"],
        "frames_merged": summary["frames_merged"],
        "frames_dropped": summary["frames_dropped"],
        "lag_p50_ms": _round(np.percentile(lags, 50)),
        "lag_p99_ms": _round(np.percentile(lags, 99)),
        "cpu": round(cpu_s / seconds, 2),
        "framing": framing,
        "seconds_of": {"lag": watch.lag, "rss_mb": watch.rss_mb},
    }


def send(port: int, began_s: float, phases: list[tuple[float, float]]) -> None:
    """Send prepared datagrams; making them during the run is too slow at the highest rates."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, SENSOR, 1 << 16), rng.integers(0, SENSOR, 1 << 16)
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect(("127.0.0.1", port))
    prepared: list[tuple[float, list[bytes]]] = []
    from_s = 0.0
    for rate, seconds in phases:
        count = int(rate * seconds) // EACH * EACH
        for begin in range(0, count, 1_000_000):
            number = np.arange(begin, min(begin + (1_000_000), count))
            t = ((from_s + number / rate) * 1e6).astype(np.int64)
            events = make_events(t, x[number & 0xFFFF], y[number & 0xFFFF], number & 1)
            prepared.append((EACH / rate, list(encode_datagrams(events, "t64", EACH))))
        from_s += seconds
    sent = 0
    due_s = began_s
    while time.monotonic() < began_s:
        time.sleep(0.001)
    for gap_s, bodies in prepared:
        for body in bodies:
            due_s += gap_s
            ahead = due_s - time.monotonic()
            if ahead > 0.0005:
                time.sleep(ahead)
            out.send(body)
            sent += EACH
    seconds = time.monotonic() - began_s
    time.sleep(0.2)
    out.send(
        prepared[-1][1][-1]
    )  # one more: the kernel reports the number of dropped datagrams with the next one that arrives
    print(json.dumps({"events": sent + EACH, "seconds": seconds}))


def lie(port: int, began_s: float, rate: int, seconds: float) -> None:
    """Send one event a datagram from another host, each 0.9 ms further ahead of the camera, up to 49 ms.

    A time-stamp further ahead was refused as a jump when every host was accepted.
    """
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.bind(("127.0.0.2", 0))
    out.connect(("127.0.0.1", port))
    for number in range(1, int(rate * seconds)):
        while (ahead_s := began_s + 0.1 + number / rate - time.monotonic()) > 0:
            time.sleep(ahead_s)
        t_us = int(1e6 * (time.monotonic() - began_s)) + min(900 * number, 49_000)
        out.send(next(encode_datagrams(make_events([t_us], [3], [4], [True]), "t64", 1)))


def rss_mb() -> float:
    return round(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6, 1)


def _round(value: Any) -> float:
    return round(float(value), 2)


if __name__ == "__main__":
    main()
