"""Makes a simulated DVS128 Gesture, in the layout of the official set, for training without it.

    OUT/user00001_simulated.aedat, user00001_simulated_labels.csv, ...      AEDAT 3.1
    OUT/trials_to_train.txt, trials_to_test.txt, simulated.json

A user is a performer of the simulator; test users are held-out performers (runtime.simulate.performer). Each does 12
windows of 0.8 s, so that `dvs128-gesture:OUT` with duration:25ms,T=32 takes all of them. Each recording depends on (seed,
split, number) alone: neither the count, nor the workers, nor a stop in between change a file; files that are there are
kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.base.errors import PlifError
from runtime.base.files import whole_or_nothing
from runtime.base.version import __version__
from runtime.data.simulated_note import claim
from runtime.events.formats.aedat31 import make_header, write_packets
from runtime.simulate.figure import SIZE_PX
from runtime.simulate.performance import perform
from runtime.simulate.performer import RANGES, draw_performer
from runtime.simulate.schedule import WINDOW_US, draw_windows

SPLITS = ("train", "test")  # the number of a split is part of its seeds


def simulate_gesture(
    out_dir: str | os.PathLike[str],
    train: int = 200,
    test: int = 20,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Writes the recordings of `train` + `test` performers and returns the note that lies beside them.

    `progress(done, total)` is called as files appear. PlifError when `out_dir` holds something else, or a set made with
    another seed or other ranges.
    """
    for name, number, least in (("train", train, 1), ("test", test, 1), ("seed", seed, 0), ("workers", workers, 1)):
        if number < least:
            raise PlifError(f"simulated DVS128 Gesture: {name}={number}, expected {least} or more")
    out = Path(out_dir)
    note: dict[str, Any] = {
        "what": "simulated DVS128 Gesture: a drawn person before a simulated event camera, not real recordings",
        "made_by": f"plif {__version__}, runtime.data.simulate_gesture",
        "seed": seed,
        "parameters": {"ranges": {name: list(ends) for name, ends in RANGES.items()}, "window_us": WINDOW_US},
        "train": train,
        "test": test,
    }
    claim(out, note)
    jobs, names = [], {}
    for split, count, first in (("train", train, 1), ("test", test, 90_001)):
        users = range(first, first + count)
        names[split] = [f"user{user:05d}_simulated" for user in users]
        jobs += [(seed, split, number, str(out / name)) for number, name in enumerate(names[split])]
    missing = [job for job in jobs if not (Path(f"{job[3]}.aedat").exists() and Path(f"{job[3]}_labels.csv").exists())]
    done, report = len(jobs) - len(missing), progress or (lambda done, total: None)
    report(done, len(jobs))
    if workers == 1 or len(missing) < 2:
        for job in missing:
            _make(job)
            report(done := done + 1, len(jobs))
    else:
        # "spawn": a forked child would inherit the threads of the parent's BLAS in an unknown state
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_make, missing):
                report(done := done + 1, len(jobs))
    lists = [out / f"trials_to_{split}.txt" for split in SPLITS]
    with whole_or_nothing(*lists) as targets:
        for target, split in zip(targets, SPLITS, strict=True):
            target.write_text("".join(f"{name}.aedat\n" for name in names[split]), encoding="utf-8")
    return note


def record(seed: int, split: str, number: int) -> tuple[npt.NDArray[np.void], list[tuple[int, int, int]]]:
    """One performer's recording: events, and (class, start_us, end_us) of its windows."""
    held_out = split == "test"
    key = (seed, SPLITS.index(split), number)
    performer = draw_performer(key, held_out)
    events, rows = [], []
    for start_us, end_us, bout in draw_windows(key, held_out):
        events += list(perform(performer, [bout], start_us, end_us, (*key, start_us)))
        rows.append((bout.manner.gesture, start_us, end_us))
    return np.concatenate(events), rows


def _make(job: tuple[int, str, int, str]) -> None:
    seed, split, number, stem = job
    events, rows = record(seed, split, number)
    with whole_or_nothing(Path(f"{stem}.aedat"), Path(f"{stem}_labels.csv")) as (recording, labels):
        with open(recording, "wb") as file:
            file.write(make_header((SIZE_PX, SIZE_PX)))
            write_packets(file, events)
        lines = "".join(f"{gesture + 1},{start_us},{end_us}\n" for gesture, start_us, end_us in rows)
        labels.write_text(f"class,startTime_usec,endTime_usec\n{lines}", encoding="utf-8")
