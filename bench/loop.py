"""The loop form beside the step and the unrolled form: size of the file, and time of a step in sequences of T.

    python bench/loop.py                                    models/nmnist-digits.pt, T of 10, 100 and 1000
    python bench/loop.py --model models/gesture.pt --T 10 100 --rows 4 --precision int8

Sequences are event-like frames, of so many streams at once. In each round the forms take the same sequence in turn, so that a
machine that slows down slows all of them; printed is the processor time of the one thread, of the fastest round.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import plif_train
import runtime
from bench.machine import machine
from plif_export import export
from runtime.core.api import Model
from runtime.core.events.stimulus import make_input

FORMS = ("step", "loop", "unrolled")
Row = dict[str, dict[str, float]]  # "bytes" and each engine: what each form has


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="models/nmnist-digits.pt")
    parser.add_argument("--T", type=int, nargs="+", default=(10, 100, 1000))
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--engines", nargs="+", default=("onnxruntime", "event"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    net = plif_train.load(options.model)
    rows = []
    print(json.dumps(machine()), file=sys.stderr)
    for T in options.T:
        with tempfile.TemporaryDirectory() as folder:
            paths = {form: Path(folder) / f"{form}.onnx" for form in FORMS}
            for form, path in paths.items():
                said = {"T": T} if form == "unrolled" else {}
                export(net, path, form=form, precision=options.precision, verify=False, **said)
            row: Row = {"bytes": {form: path.stat().st_size for form, path in paths.items()}}
            for engine in options.engines:
                models = {form: runtime.load(path, engine, threads=1) for form, path in paths.items()}
                row[engine] = times(models, T, options.rows, options.rounds)
            rows.append({"T": T, **row})
            if not options.json:
                print(line(T, row), flush=True)
    if options.json:
        print(json.dumps(rows))


def times(models: dict[str, Model], T: int, rows: int, rounds: int) -> dict[str, float]:
    """{form: ms of a step}, where all give the same answers."""
    x = make_input(models["step"].card, T, rows, np.random.default_rng(0))
    sessions = {form: model.session(rows) for form, model in models.items()}
    took: dict[str, list[float]] = {form: [] for form in models}
    for _ in range(1 + rounds):  # the first one allocates
        answers = {}
        for form, session in sessions.items():
            session.reset()
            began = time.thread_time()
            answers[form] = session.run(x)
            took[form].append(1e3 * (time.thread_time() - began) / T)
        assert all(np.array_equal(y, answers["step"]) for y in answers.values()), "the forms differ"
    return {form: round(min(each[1:]), 4) for form, each in took.items()}


def line(T: int, row: Row) -> str:
    cells = [f"{size / 1e6:.3f} MB" for size in row["bytes"].values()]
    cells += [f"{ms:.3f}" for name, each in row.items() if name != "bytes" for ms in each.values()]
    return f"| {T} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
