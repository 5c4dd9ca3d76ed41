"""Measures the cost of a confined process (--confined): a step of a network inside and outside of it, in turns.

    python bench/confined.py                                    the digits and the gesture network
    python bench/confined.py --model my.pt --engine openvino --json

Both compute the same file with the same engine and threads; the difference is a message each way and two copies of x and y.
`ratio` is the median over rounds of inside / outside; `quartiles` are of it, too. A round's time is the median of its steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import runtime  # noqa: E402
from plif_export import export  # noqa: E402
from runtime.core.engines.session import Session  # noqa: E402
from runtime.core.events.stimulus import make_input  # noqa: E402

MODELS = (ROOT / "models" / "nmnist-digits.pt", ROOT / "models" / "gesture.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", help="several times for several; the shipped two")
    parser.add_argument("--engine", default="onnxruntime", choices=("onnxruntime", "openvino"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--steps", type=int, default=100, help="of a round")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = [measure(model, asked) for model in asked.model or MODELS]
    if asked.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'network':<24}{'outside ms':>11}{'inside ms':>11}{'ratio':>7}{'open ms':>9}{'inside':>8}")
    for row in rows:
        print(
            f"{row['model']:<24}{row['outside_ms']:>11.4f}{row['inside_ms']:>11.4f}{row['ratio']:>7.3f}"
            f"{row['open_outside_ms']:>9.0f}{row['open_inside_ms']:>8.0f}"
        )


def measure(model: Path, asked: argparse.Namespace) -> dict[str, object]:
    """Measure the steps of one network, and how long it takes to open it a second time."""
    with tempfile.TemporaryDirectory() as folder:
        name, to = ("m_openvino", "openvino") if asked.engine == "openvino" else ("m.onnx", "onnx")
        exported = export(model, Path(folder) / name, to=to, verify=False)
        sessions, opening = {}, {}
        for place, options in {"outside": {"sha256": exported.sha256}, "inside": {"confined": "on"}}.items():
            for _ in range(2):  # the first one imports
                began = time.perf_counter()
                opened = runtime.load(exported.path, asked.engine, threads=asked.threads, **options)
                sessions[place] = opened.session()
                opening[place] = 1e3 * (time.perf_counter() - began)
        x = make_input(opened.card, min(asked.steps, 64), 1, np.random.default_rng(0))
        rounds: dict[str, list[float]] = {place: [] for place in sessions}
        for number in range(asked.rounds + 1):
            for place in ("outside", "inside") if number % 2 else ("inside", "outside"):
                milliseconds = time_steps(sessions[place], x, asked.steps)
                if number:  # the first round warms up
                    rounds[place].append(milliseconds)
    ratios = [inside / outside for inside, outside in zip(rounds["inside"], rounds["outside"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    return {
        "model": model.name,
        "engine": asked.engine,
        "threads": asked.threads,
        "rounds": asked.rounds,
        "steps": asked.steps,
        **{f"{place}_ms": round(statistics.median(times), 4) for place, times in rounds.items()},
        "ratio": round(statistics.median(ratios), 4),
        "quartiles": [round(low, 4), round(high, 4)],
        **{f"open_{place}_ms": round(milliseconds, 1) for place, milliseconds in opening.items()},
    }


def time_steps(session: Session, x: np.ndarray, steps: int) -> float:
    """Return the median of the milliseconds of a step, x [frames, 1, C, H, W]."""
    session.reset()
    times = []
    for step in range(steps):
        began = time.perf_counter()
        session.step(x[step % len(x)], counted=True)
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


if __name__ == "__main__":
    main()
