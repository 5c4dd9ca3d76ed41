"""Evaluation of whole data sets: `plif eval` beside the loops that people write in PyTorch and SpikingJelly. Samples a second.

    python bench/eval.py                                 # the shipped digits network, 2,000 recordings
    python bench/eval.py --samples 10000 --rounds 1
    python bench/eval.py --network gesture               # the paper's Gesture network, random weights, simulated recordings
    python bench/eval.py --json

Everything is timed, from recordings on disk to predictions: reading, framing, steps, votes, and the start of worker processes.
The engines are those of `plif eval`, which counts firing rates, too, with its own choice of batch, workers and threads. The loops
get both cores, several batches, a loader in a process of its own or none, step by step and all steps at once: the quickest
counts, but for the one with plif's own kernels. All take turns; medians over the rounds. Before the rounds each loop runs over a
part of the set in each of its forms.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import plif_train
import runtime
from bench.eval_loops import OURS, evaluate_with, loops
from bench.machine import machine
from bench.workload import network, with_malloc_settings
from plif_export import export
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.data import Dataset, open_dataset
from runtime.core.events import write_nmnist
from runtime.core.measure.evaluate.evaluation import Evaluation, evaluate
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import record_digit
from runtime.datasets.gesture_sim.simulate_gesture import simulate_gesture

MODEL = Path(__file__).resolve().parent.parent / "models" / "nmnist-digits.pt"
DRAWN = 200  # different recordings of digits, then links to them
SAMPLES = {"digits": 2000, "gesture": 12}
BATCHES = {"digits": (16, 128), "gesture": (1, 4)}
LOADERS = {
    "digits": (0, 1),
    "gesture": (0,),
}  # processes that read; of gestures reading is a hundredth of a loop's time
PART = 2  # batches of the trial that chooses a loop's form
ROUNDS = {"digits": 3, "gesture": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", choices=sorted(SAMPLES), default="digits")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", default="", help="Words of names, with commas between: rows that have one of them.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    samples = options.samples or SAMPLES[options.network]
    rows = measure(options.network, samples, options.rounds or ROUNDS[options.network], options.only.split(","))
    if options.json:
        document = {"bench": "eval", "network": options.network, "machine": machine(), "samples": samples, "rows": rows}
        print(json.dumps(document))
        return
    print(
        f"{'name':40} {'batch':>6} {'workers':>8} {'threads':>8} {'samples/s':>10} {'times':>6} {'accuracy':>9}  other answers"
    )
    for r in rows:
        print(
            f"{r['name']:40} {r['batch']:6} {r['workers']:8} {r['threads']:8} {r['samples_per_s']:10.1f} "
            f"{r['times_quickest_loop']:6.2f} {100 * r['accuracy']:8.2f}%  {r['answers_changed']}"
        )


def measure(name: str, samples: int, rounds: int, only: list[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        net = plif_train.load(MODEL).eval() if name == "digits" else network()
        data = recordings(name, samples, place / "data")
        dataset = open_dataset(data, "test", framing=net.meta.framing, shape=net.meta.shape)
        engines = {key: model for key, model in opened(net, place).items() if any(word in key for word in only)}
        bodies = {key: body for key, body in loops(net).items() if any(word in key for word in only)}
        if not bodies:
            sys.exit(f"bench: --only {','.join(only)}: names no loop to compare with")
        forms = {loop: _best_form(loop, body, dataset, BATCHES[name], LOADERS[name]) for loop, body in bodies.items()}
        results: dict[str, list[Evaluation]] = {}
        answers: dict[str, list[int]] = {}
        seconds: dict[str, list[float]] = {}
        for _ in range(rounds):
            for engine, model in engines.items():
                began = time.perf_counter()
                results.setdefault(engine, []).append(evaluate(model, data))
                seconds.setdefault(engine, []).append(time.perf_counter() - began)
            for loop, body in bodies.items():
                answers[loop], took = evaluate_with(body, dataset, *forms[loop])
                seconds.setdefault(loop, []).append(took)
    truth = [dataset.label(i) for i in range(len(dataset))]
    shown = {loop: (*form, torch.get_num_threads()) for loop, form in forms.items()}
    answers |= {engine: list(found[0].predictions) for engine, found in results.items()}
    shown |= {engine: (found[0].batch, found[0].workers, found[0].threads) for engine, found in results.items()}
    reference = answers[next(iter(bodies))]
    speed = {key: len(dataset) / statistics.median(taken) for key, taken in seconds.items()}
    quickest = max(speed[loop] for loop in bodies if loop != OURS)
    return [
        {
            "name": key,
            "batch": shown[key][0],
            "workers": shown[key][1],
            "threads": shown[key][2],
            "samples_per_s": round(speed[key], 1),
            "spread_s": [round(min(taken), 3), round(max(taken), 3)],
            "times_quickest_loop": round(speed[key] / quickest, 2),
            "accuracy": float(np.mean(np.equal(answers[key], truth))),
            "answers_changed": int(np.sum(np.not_equal(answers[key], reference))),
        }
        for key, taken in seconds.items()
    ]


def _best_form(
    loop: str, body: Any, dataset: Dataset, batches: tuple[int, ...], loaders: tuple[int, ...]
) -> tuple[int, int]:
    """(batch, workers of the loader) with which the loop is quickest over the first batches of the set."""
    speeds = {}
    for batch, workers in itertools.product(batches, loaders):
        part = min(PART * batch, len(dataset))
        speeds[batch, workers] = part / evaluate_with(body, dataset, batch, workers, part)[1]
    best = max(speeds, key=lambda form: speeds[form])
    tried = ", ".join(f"batch {b} loader {w}: {speed:.1f}/s" for (b, w), speed in speeds.items())
    print(f"{loop}: {tried}", file=sys.stderr)
    return best


def opened(net: Network, place: Path) -> dict[str, runtime.Model]:
    found = {}
    for precision in ("fp32", "int8"):
        try:
            path = export(net, place / f"{precision}.onnx", precision=precision).path
            for engine in ("event", "onnxruntime"):
                found[f"plif eval, {engine} {precision}"] = runtime.load(path, engine, rates=True)
        except PlifError as error:
            print(f"{precision} is left out: {error}", file=sys.stderr)
    return found


def recordings(name: str, samples: int, place: Path) -> str:
    """Write that many recordings; return the data set's NAME:DIR."""
    if name == "gesture":
        simulate_gesture(place, train=1, test=-(-samples // 12))
        return f"dvs128-gesture:{place}"
    drawn = recorded(min(samples, DRAWN), place / "drawn")
    repeated(sorted((drawn / "Test").rglob("*.bin"), key=lambda path: path.name), samples, place / "all")
    return f"nmnist:{place / 'all'}"


def recorded(samples: int, folder: Path) -> Path:
    """Write simulated recordings of drawn digits, in the files and folders of N-MNIST."""
    rng = np.random.default_rng(0)
    for i in range(samples):
        place = folder / "nmnist" / "Test" / str(i % 10)
        place.mkdir(parents=True, exist_ok=True)
        write_nmnist(place / f"{i:05d}.bin", record_digit(draw_digit(i % 10, rng), rng))
    return folder / "nmnist"


def repeated(originals: list[Path], size: int, place: Path) -> None:
    """So many recordings in the layout of N-MNIST: links to the originals, under new numbers."""
    for n in range(size):
        original = originals[n % len(originals)]
        to = place / "Test" / original.parent.name / f"{n:07d}.bin"
        to.parent.mkdir(parents=True, exist_ok=True)
        os.link(original, to)


if __name__ == "__main__":
    with_malloc_settings()
    torch.set_num_threads(os.cpu_count() or 1)
    main()
