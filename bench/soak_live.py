"""An hour as a camera lives it: is the last tenth as good as the first? Memory, lag, threads, files, second by second.

    python bench/soak_live.py --minutes 60 --out soak-live       soak-live.json, soak-live.png, soak-live-page.png
    python bench/soak_live.py --minutes 2 --out /tmp/soak        the same in short

Everything is real and in processes of its own: `plif stream` with two UDP feeds and its dashboard, which is open in Chromium; a
second `plif stream` that records a third feed; and the senders.

    feed 1   t32, --rate events a second (a million), whose clock wraps after a third of the time (30 s at most); the camera is
             lost and found --losses times (50)
    feed 2   t64, 20,000 events a second, never lost
    feed 3   t64, 50,000 events a second, recorded: 1.4 GB an hour

/metrics is asked each second. At the end both get SIGTERM while the feeds go on, and the recording is replayed. Exit code 1
when one of these does not hold, the first twentieth (10 s at least) left out, the first tenth of the rest against the last:

    memory (PSS, median) grew by at most 5 MB; no more threads or open files (medians)
    the mean lag is at most 1.2 times the first and a millisecond, its 99th percentile (as Prometheus reads it from the
    histogram) 1.2 times and 5 ms
    /metrics answered each time, and the page went on drawing
    the camera was found as often as it was lost; no event is invalid or late; every account adds up
    both end within a second of SIGTERM, and the recording replays to the same decisions with the same events
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.udp import EACH, SENSOR
from runtime.core.events import make_events, open_source
from runtime.observers.replayed_stream.recording import METRICS
from runtime.sources.udp.datagrams import encode_datagrams
from tests.browser import Browser, find_chromium
from tests.live import free_port

ROOT = Path(__file__).resolve().parent.parent
LOST_S, AWAY_S = 1.0, 1.5
TICK_S, LATE_S = 0.005, 0.1
GROWTH_MB = 5.0
FATES = ("used", "filtered", "late", "invalid", "dropped")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1e6, help="events a second of feed 1")
    parser.add_argument("--losses", type=int, default=50)
    parser.add_argument("--artifact", help="the shipped digits network, if no other is given")
    parser.add_argument("--out", type=Path, default=Path("soak-live"))
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--send", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(**json.loads(options.send))
        return
    with tempfile.TemporaryDirectory(dir=options.out.absolute().parent) as name, ExitStack() as stack:
        result = soak(options, Path(name), stack)
    options.out.with_suffix(".json").write_text(json.dumps(result))
    plot(result, options.out.with_suffix(".png"))
    print(row(result))
    print("\n".join(result["wrong"]) or "as good at the end as at the beginning")
    sys.exit(bool(result["wrong"]))


def soak(options: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Any]:
    artifact = Path(options.artifact or folder / "digits.onnx")
    if not options.artifact:
        from plif_export import export

        export(ROOT / "models" / "nmnist-digits.pt", artifact, verify=False)
    seconds = 60 * options.minutes
    feeds = [
        {
            "format": "t32",
            "rate": options.rate,
            "origin_us": 2**32 - int(1e6 * min(30, seconds / 3)),
            "losses": options.losses,
        },
        {"format": "t64", "rate": 2e4, "origin_us": 10**6, "losses": 0},
        {"format": "t64", "rate": 5e4, "origin_us": 10**6, "losses": 0},
    ]
    for feed in feeds:
        feed["port"], feed["seconds"] = free_port(), seconds
    specs = [f"udp://127.0.0.1:{f['port']}?format={f['format']}&sensor={SENSOR}x{SENSOR}&lost={LOST_S}s" for f in feeds]
    live = Stream(stack, folder / "live", artifact, *specs[:2], "--dashboard", "127.0.0.1:0")
    recording = folder / "recording"
    recorder = Stream(stack, folder / "recorder", artifact, specs[2], "--record", str(recording))
    page = stack.enter_context(Browser(chromium)) if (chromium := find_chromium()) and not options.no_browser else None
    if page is not None:
        page.open(f"{live.page}?token={live.token}")
    command = [sys.executable, __file__, "--send"]
    senders = [subprocess.Popen([*command, json.dumps(feed)], stdout=subprocess.PIPE, text=True) for feed in feeds]
    for sender in senders:
        stack.callback(sender.kill)
    rows = watch(live, recorder, page, seconds)
    if page is not None:
        page.screenshot(options.out.with_name(f"{options.out.name}-page.png"))
    ends_s = {"stream": live.terminate(), "recorder": recorder.terminate()}  # while the feeds go on
    for sender in senders:
        sender.terminate()
    sent = [json.loads(sender.communicate(timeout=60)[0]) for sender in senders]
    summaries = [*live.summary()["sources"].values(), recorder.summary()]
    result = {
        "minutes": options.minutes,
        "rate": options.rate,
        "losses": options.losses,
        "page": page is not None,
        "rows": rows,
        "tenths": tenths(rows),
        "ends_s": ends_s,
        "sent": sent,
        "summaries": summaries,
        "wrong": [],
    }
    result["wrong"] = wrong(result) + [
        one for one in (live.ended(), recorder.ended(), replay(recorder, artifact, recording)) if one
    ]
    return result


class Stream:
    """`plif stream --json` in a process; stdout and stderr are files."""

    def __init__(self, stack: ExitStack, place: Path, artifact: Path, *words: str) -> None:
        self.out, self.err = place.with_suffix(".out"), place.with_suffix(".err")
        command = [
            sys.executable,
            "-m",
            "runtime.core.cli",
            "stream",
            str(artifact),
            *words,
            "--framing",
            "duration:20ms",
            "--json",
        ]
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err)
        stack.callback(self.process.kill)
        self.page = self.token = ""
        while "engine" not in (said := self.err.read_text()):
            assert self.process.poll() is None, said
            time.sleep(0.05)
        if found := re.search(r"(http://\S+/), its token is in (\S+)", said):
            self.page, self.token = found[1], Path(found[2]).read_text().strip()

    def metrics(self) -> dict[str, float]:
        ask = urllib.request.Request(f"{self.page}metrics", headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(ask, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def holds(self) -> dict[str, float]:
        place = Path(f"/proc/{self.process.pid}")
        pss = re.search(r"^Pss:\s+(\d+) kB", (place / "smaps_rollup").read_text(), re.MULTILINE)
        threads = re.search(r"^Threads:\s+(\d+)", (place / "status").read_text(), re.MULTILINE)
        assert pss is not None and threads is not None
        return {"pss_mb": int(pss[1]) / 1e3, "threads": int(threads[1]), "files": len(os.listdir(place / "fd"))}

    def terminate(self) -> float:
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.monotonic() - began_s

    def ended(self) -> str:
        code = self.process.returncode
        return "" if code == 130 else f"{self.out.stem} ended with {code}: {self.err.read_text()[-300:]}"

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def summary(self) -> dict[str, Any]:
        with open(self.out, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - (1 << 16)))
            return json.loads(file.read().splitlines()[-1])["summary"]


def watch(live: Stream, recorder: Stream, page: Any, seconds: float) -> list[dict[str, Any]]:
    """One row a second; the lag of the steps since the row before."""
    rows: list[dict[str, Any]] = []
    before: dict[str, float] = {}
    began_s = time.monotonic()
    drawn = None
    for second in range(1, int(seconds) + 1):
        time.sleep(max(0.0, began_s + second - time.monotonic()))
        asked_s = time.monotonic()
        try:
            now = live.metrics()
        except OSError as error:
            rows.append({"second": second, "error": str(error)})
            continue
        row: dict[str, Any] = {"second": second, "answer_ms": 1e3 * (time.monotonic() - asked_s), **live.holds()}
        row |= {f"recorder_{name}": value for name, value in recorder.holds().items()}
        row |= {"events": total(now, "plif_events_in_total"), "steps": total(now, "plif_steps_total")}
        row |= {fate: total(now, "plif_events_total", f'fate="{fate}"') for fate in FATES}
        row["lost"] = total(now, "plif_source_state", 'state="lost"')
        steps = {key: now[key] - before.get(key, 0) for key in now if key.startswith("plif_lag_seconds")}
        row["lag"] = [total(steps, "plif_lag_seconds_sum"), buckets(steps)]
        before = now
        if page is not None and second % 10 == 0:
            last = page.run("typeof last === 'undefined' || last === null ? 0 : last.seen")
            row["page_stood_still"], drawn = last == drawn, last
        rows.append(row)
    return rows


def total(metrics: dict[str, float], name: str, label: str = "") -> float:
    return sum(value for key, value in metrics.items() if key.partition("{")[0] == name and label in key)


def buckets(metrics: dict[str, float]) -> dict[str, float]:
    """{upper bound in seconds: steps below}, all sources together."""
    found: dict[str, float] = {}
    for key, value in metrics.items():
        if bound := re.search(r'_bucket\{.*le="([^"]+)"', key):
            found[bound[1]] = found.get(bound[1], 0) + value
    return found


def lag_ms(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Mean and 99th percentile, interpolated within its bucket, of the steps of these seconds."""
    below: dict[float, float] = {}
    for one in rows:
        for bound, count in one["lag"][1].items():
            below[float(bound)] = below.get(float(bound), 0) + count
    steps, lower, counted, p99 = max(below.values(), default=0), 0.0, 0.0, float("nan")
    if not steps:
        return float("nan"), float("nan")
    for bound, count in sorted(below.items()):
        if count >= 0.99 * steps:
            p99 = (
                lower
                if bound == float("inf")
                else lower + (bound - lower) * (0.99 * steps - counted) / max(1, count - counted)
            )
            break
        lower, counted = bound, count
    return 1e3 * sum(one["lag"][0] for one in rows) / steps, 1e3 * p99


def tenths(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    good = [one for one in rows[max(10, len(rows) // 20) :] if "error" not in one]
    found = []
    for part in np.array_split(np.arange(len(good)), 10):
        mine = [good[i] for i in part]
        one = {key: statistics.median(row[key] for row in mine) for key in HELD} if mine else {}
        one["lag_mean_ms"], one["lag_p99_ms"] = lag_ms(mine)
        found.append(one)
    return found


HELD = tuple(f"{whose}{what}" for whose in ("", "recorder_") for what in ("pss_mb", "threads", "files"))


def wrong(result: dict[str, Any]) -> list[str]:
    first, last = result["tenths"][0], result["tenths"][-1]
    found = [
        f"{key}: {last[key]:g}, at first {first[key]:g}"
        for key in HELD
        if last[key] > first[key] + (GROWTH_MB if "pss" in key else 0)
    ]
    for key, more_ms in (("lag_mean_ms", 1.0), ("lag_p99_ms", 5.0)):
        if not last[key] <= 1.2 * first[key] + more_ms:
            found.append(f"{key}: {last[key]:.2f}, at first {first[key]:.2f}")
    if errors := [one for one in result["rows"] if "error" in one]:
        found.append(f"/metrics did not answer {len(errors)} times: {errors[0]['error']}")
    if still := [one["second"] for one in result["rows"] if one.get("page_stood_still")]:
        found.append(f"the page stood still at second {still[0]}, {len(still)} times")
    for number, (summary, losses) in enumerate(zip(result["summaries"], (result["losses"], 0, 0), strict=True), 1):
        if summary["returns"] != losses:
            found.append(f"feed {number}: found {summary['returns']} times, lost {losses}")
        if summary["events_invalid"] or summary["events_late"]:
            found.append(f"feed {number}: {summary['events_invalid']} invalid, {summary['events_late']} late")
        if sum(summary[f"events_{fate}"] for fate in FATES) != summary["events_in"]:
            found.append(f"feed {number}: the account does not add up")
    return found + [f"{name}: {s:.2f} s from SIGTERM to its end" for name, s in result["ends_s"].items() if s > 1]


def replay(recorder: Stream, artifact: Path, recording: Path) -> str:
    command = [sys.executable, "-m", "runtime.core.cli", "stream", str(artifact), str(recording), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    *was, summary = recorder.lines()
    *now, again = [json.loads(line) for line in done.stdout.splitlines()] or [{}]
    keys = ("t_us", "step", "label", "index", "votes")
    if [[one[key] for key in keys] for one in was] != [[one.get(key) for key in keys] for one in now]:
        return f"the recording replays {len(now)} decisions that are not the {len(was)} of the stream: {done.stderr[-300:]}"
    events = sum(len(packet) for packet in open_source(str(next(recording.glob("*.aedat")))).packets())
    found = {"in": summary["summary"]["events_in"], "recorded": events}
    found |= {"used": summary["summary"]["events_used"], "used again": again["summary"]["events_used"]}
    whole = json.loads((recording / METRICS).read_text()).get("complete")
    if whole and found["in"] == found["recorded"] and found["used"] == found["used again"]:
        return ""
    return f"the recording is not whole: {found}, metrics complete: {whole}"


def send(port: int, format: str, rate: float, origin_us: int, seconds: float, losses: int) -> None:
    """Act as a camera with a clock that began at `origin_us`, which disappears `losses` times, evenly.

    On a machine that is too slow, it leaves out events that are late by more than LATE_S, and reports their number.
    """
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(1))
    rng = np.random.default_rng(0)
    count = max(1, round(rate * TICK_S))
    places = [rng.integers(0, SENSOR, (2, count)) for _ in range(64)]
    on = rng.random(count) < 0.5
    step_us = (np.arange(count) * (1e6 * TICK_S / count)).astype(np.int64)
    cycle_s = seconds / (losses + 1)
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect(("127.0.0.1", port))
    began_s, sent, left_out, tick = time.monotonic(), 0, 0, 0
    while not ending:
        at_s = tick * TICK_S
        if (ahead := began_s + at_s - time.monotonic()) > 0:
            time.sleep(ahead)
        # away at the end of each cycle but the last
        if not (at_s < losses * cycle_s and at_s % cycle_s > cycle_s - AWAY_S):
            events = make_events(origin_us + round(1e6 * at_s) + step_us, *places[tick % 64], on)
            for datagram in encode_datagrams(events, format, EACH):
                try:
                    out.send(datagram)
                    sent += min(EACH, count)
                except ConnectionRefusedError:  # nobody listens any more
                    break
        now = int((time.monotonic() - began_s - LATE_S) / TICK_S)
        left_out += max(0, now - tick - 1)
        tick = max(tick + 1, now)
    print(json.dumps({"events": sent, "left_out_s": left_out * TICK_S}))


def plot(result: dict[str, Any], path: Path) -> None:
    """Memory of both processes, and the lag, over the time; grey where the camera was away."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [one for one in result["rows"] if "error" not in one]
    minutes = [one["second"] / 60 for one in rows]
    figure, (memory, lag) = plt.subplots(2, 1, figsize=(8, 5.5), sharex=True)
    memory.plot(minutes, [one["pss_mb"] for one in rows], label="two feeds, dashboard")
    memory.plot(minutes, [one["recorder_pss_mb"] for one in rows], label="recording")
    memory.set_ylabel("memory (PSS, MB)")
    memory.set_ylim(0)
    memory.legend(loc="lower right", frameon=False)
    parts = [part for part in np.array_split(np.arange(len(rows)), min(60, len(rows))) if len(part)]
    shown = [lag_ms([rows[i] for i in part]) for part in parts]
    at = [statistics.mean(minutes[i] for i in part) for part in parts]
    lag.plot(at, [mean for mean, _ in shown], label="mean")
    lag.plot(at, [p99 for _, p99 in shown], label="99th percentile")
    lag.set_ylabel("lag (ms)")
    lag.set_xlabel(
        f"minutes; {result['rate'] / 1e6:g} million events a second, camera lost and found {result['losses']} times"
    )
    lag.set_yscale("log")
    lag.legend(loc="upper right", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def row(result: dict[str, Any]) -> str:
    """For the table of docs/reliability.md."""
    first, last = result["tenths"][0], result["tenths"][-1]
    sent, came = (sum(one[key] for one in result[of]) for of, key in (("sent", "events"), ("summaries", "events_in")))
    both = {key: f"{first[key]:.1f} and {last[key]:.1f}" for key in (*HELD, "lag_mean_ms", "lag_p99_ms")}
    return (
        f"| `python bench/soak_live.py --minutes {result['minutes']:g}` | {result['rate'] / 1e6:g} million events a second, "
        f"lost and found {result['losses']} times; in the first and the last tenth: memory {both['pss_mb']} MB (recording "
        f"{both['recorder_pss_mb']}), mean lag {both['lag_mean_ms']} ms, p99 {both['lag_p99_ms']} ms. Ended "
        f"{max(result['ends_s'].values()):.2f} s after SIGTERM; {sent - came:,} of {sent:,} events never left the socket |"
    )


if __name__ == "__main__":
    main()
