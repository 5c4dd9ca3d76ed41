"""A long run: is the last minute as good as the first? Latency, memory, threads and answers, minute by minute.

    python bench/soak.py                                            30 simulated minutes of digits, at full speed
    python bench/soak.py gesture.onnx 'sim:dvs128-gesture?seconds=1800&seed=7'
    python bench/soak.py --minutes 2 --json

Options that are not given have the defaults of `plif stream`. Exit code 1 when the last third is worse than the first: the median
latency of a step by more than a fifth, the share of spans in which the right label was shown longest by more than a point (if
there are more than 500 spans in a third), memory by more than 5 MB, or one more thread; or when the 99th percentile of latency is
more than a fifth worse in the last tenth than in the first. Memory and threads are compared with their values after the first
tenth, when everything that is loaded on demand has been loaded. bench/soak_live.py is the same for an hour with a camera.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench.udp import rss_mb
from runtime.core.stream.run import Run

ROOT = Path(__file__).resolve().parent.parent
MINUTE_US = 60_000_000
DIGITS = "models/nmnist-digits.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact", nargs="?")
    parser.add_argument("source", nargs="?")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--framing")
    parser.add_argument("--decide")
    parser.add_argument("--reset")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artifact = options.artifact
        if artifact is None:
            from plif_export import export

            artifact = Path(folder) / "digits.onnx"
            export(ROOT / DIGITS, artifact, verify=False)
            options.framing = options.framing or "duration:30ms"  # its own divides a whole recording
        source = options.source or f"sim:digits?seed=17&seconds={60 * options.minutes}"
        model = runtime.load(artifact, options.engine, threads=1)
        running = model.stream(source, framing=options.framing, decide=options.decide, reset=options.reset)
        result = soak(running)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        how = running.options
        print(f"{source}, {running.framing}, {how.decide}, reset {how.reset}")
        print(f"{'minute':>6}{'steps':>8}{'p50 ms':>9}{'p99 ms':>9}{'right':>8}{'rss MB':>8}{'threads':>8}")
        for row in result["minutes"]:
            right = "-" if row["right"] is None else f"{row['right']:.3f}"
            print(
                f"{row['minute']:>6}{row['steps']:>8}{row['p50_ms']:>9.3f}{row['p99_ms']:>9.3f}{right:>8}"
                f"{row['rss_mb']:>8.1f}{row['threads']:>8}"
            )
        print("as good at the end as at the beginning" if not result["worse"] else "; ".join(result["worse"]))
    sys.exit(1 if result["worse"] else 0)


def soak(running: Run) -> dict[str, Any]:
    truth = list(getattr(running.source, "truth", []))
    at, shown, outcomes = 0, Counter[str](), []  # (t_off_us, was the right label shown longest in the span)
    minutes: list[dict[str, Any]] = []
    times: list[float] = []
    for decision in running:
        while at < len(truth) and decision.t_us > truth[at][1]:
            outcomes.append((truth[at][1], bool(shown) and shown.most_common(1)[0][0] == truth[at][2]))
            at, shown = at + 1, Counter()
        if decision.label is not None and at < len(truth) and decision.t_us > truth[at][0]:
            shown[decision.label] += 1
        if decision.t_us // MINUTE_US > len(minutes):
            minutes.append(_minute(len(minutes), times, outcomes))
            times = []
        times.append(decision.latency_ms)
    minutes.append(_minute(len(minutes), times, outcomes))
    summary = running.summary()
    kept = sum(summary[f"events_{k}"] for k in ("used", "filtered", "late", "invalid", "dropped"))
    worse = _worse(minutes, outcomes)
    if kept != summary["events_in"]:
        worse.append(f"the account does not add up: {kept} of {summary['events_in']}")
    return {"minutes": minutes, "worse": worse, "summary": summary}


def _minute(number: int, times: list[float], outcomes: list[tuple[int, bool]]) -> dict[str, Any]:
    mine = [right for t_us, right in outcomes if t_us // MINUTE_US == number]
    return {
        "minute": number + 1,
        "steps": len(times),
        "p50_ms": float(np.percentile(times, 50)) if times else 0.0,
        "p99_ms": float(np.percentile(times, 99)) if times else 0.0,
        "right": float(np.mean(mine)) if mine else None,
        "rss_mb": rss_mb(),
        "threads": threading.active_count(),
    }


def _worse(minutes: list[dict[str, Any]], outcomes: list[tuple[int, bool]]) -> list[str]:
    third = max(1, len(minutes) // 3)
    first, last = minutes[:third], minutes[-third:]
    warm = minutes[max(1, len(minutes) // 10) - 1]
    found = []
    before, after = (float(np.median([row["p50_ms"] for row in rows])) for rows in (first, last))
    if after > 1.2 * before:
        found.append(f"a step takes {after:.3f} ms, at first {before:.3f}")
    tenth = max(1, len(minutes) // 10)
    early, late = (float(np.median([row["p99_ms"] for row in rows])) for rows in (minutes[:tenth], minutes[-tenth:]))
    if late > 1.2 * early:
        found.append(f"one step in a hundred takes {late:.3f} ms or more in the last tenth, {early:.3f} in the first")
    if minutes[-1]["rss_mb"] > warm["rss_mb"] + 5:
        found.append(f"memory grew from {warm['rss_mb']} to {minutes[-1]['rss_mb']} MB")
    if minutes[-1]["threads"] > warm["threads"]:
        found.append(f"{minutes[-1]['threads']} threads, at first {warm['threads']}")
    n = len(outcomes) // 3
    if n > 500:
        early, late = (float(np.mean([right for _, right in part])) for part in (outcomes[:n], outcomes[-n:]))
        if late < early - 0.01:
            found.append(f"{100 * late:.1f} % right, at first {100 * early:.1f} %")
    return found


if __name__ == "__main__":
    main()
