"""What a stream costs beside the engine: a recording streamed at maximum speed, and Session.step alone on the same frames.

    python bench/stream_step.py digits.onnx                        # a minute of drawn digits, frames of 10 ms
    python bench/stream_step.py digits.onnx --recording file.raw --framing duration:10ms --json

Both run in turns in one process, the fastest of each counts: `beside_ms` is what a step of the stream takes more, from reading
and framing to the decision; nothing is printed. `framing_ms` is a part of it: the frames alone, without a network. `looking_ms`
is what a step takes more of a frame that a program hands in: it is looked whether all numbers are finite. With --follow,
`followed_ms` is a step of the stream with a view that follows (docs/follow.md), which steps two rows.

    python bench/stream_step.py gesture.onnx --sim 'sim:dvs128-gesture?seed=3&seconds=20' --follow \
           --framing duration:40ms,every=20ms,value=binary,resize=nearest,shape=square
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from runtime.core.events import open_source
from runtime.core.stream.source_framer import SourceFramer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact")
    parser.add_argument("--recording")
    parser.add_argument("--sim", help="a simulated source, in place of digits")
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--framing", default="duration:10ms")
    parser.add_argument("--decide", default="leak:120ms,margin=0.2,idle=auto")
    parser.add_argument("--engine", default="event")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = runtime.load(options.artifact, options.engine, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        recording, sensor = options.recording, None
        if recording is None:
            source = open_source(options.sim or f"sim:digits?seed=1&seconds={options.seconds:g}")
            recording, sensor = str(Path(folder) / "drawn.npz"), source.sensor
            events = np.concatenate(list(source.packets()))
            np.savez(recording, **{name: events[name] for name in "txyp"})
        row = measure(model, recording, sensor, options)
        print(json.dumps(row) if options.json else show(row))


def measure(
    model: runtime.Model, recording: str, sensor: tuple[int, int] | None, options: argparse.Namespace
) -> dict[str, float]:
    def framed() -> list[np.ndarray]:
        source = open_source(recording, sensor=sensor)
        return [frame.x for frame in SourceFramer(source, options.framing, model.input_shape)]

    def stepped(counted: bool = True) -> None:
        session = model.session()
        for x in frames:
            session.step(x[None], counted=counted)

    def looked_at() -> None:
        stepped(counted=False)

    def streamed(more: str = "") -> None:
        framing = options.framing + more
        for _ in model.stream(recording, framing=framing, decide=options.decide, reset="silence:1000", sensor=sensor):
            pass

    def followed() -> None:
        streamed(",follow=on")

    frames = framed()
    best: dict[Callable[[], object], float] = {}
    for _ in range(options.repeats):
        for work in (streamed, stepped, looked_at, framed, *[followed][: options.follow]):
            began_s = time.perf_counter()
            work()
            took_ms = 1e3 * (time.perf_counter() - began_s) / len(frames)
            best[work] = min(took_ms, best.get(work, took_ms))
    return {
        "frames": len(frames),
        "streamed_ms": round(best[streamed], 5),
        "stepped_ms": round(best[stepped], 5),
        "beside_ms": round(best[streamed] - best[stepped], 5),
        "framing_ms": round(best[framed], 5),
        "looking_ms": round(best[looked_at] - best[stepped], 5),
    } | ({"followed_ms": round(best[followed], 5)} if options.follow else {})


def show(row: dict[str, float]) -> str:
    return "\n".join(f"{name:14}{value:>12}" for name, value in row.items())


if __name__ == "__main__":
    main()
