"""Makes a simulated DVS128 Gesture, in the layout of the official set, for training without the real one.

    OUT/user00001_simulated.aedat, user00001_simulated_labels.csv, ...      AEDAT 3.1
    OUT/trials_to_train.txt, trials_to_test.txt, simulated.json

A user is a performer of the simulator; test users are held-out performers (runtime.simulate.performer). Each recording has 12
windows of 0.8 s, so that `dvs128-gesture:OUT` with duration:25ms,T=32 uses the whole of each. A recording depends on (seed,
split, number) alone: its file is the same for any count, any number of workers, and after a stop; files that are there are
kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.base.files import whole_or_nothing
from runtime.base.version import __version__
from runtime.data.simulated_set import Progress, claim_folder, refuse_below, run_jobs
from runtime.events.formats.aedat31 import make_header, write_packets
from runtime.simulate.figure import SIZE_PX
from runtime.simulate.performance import perform
from runtime.simulate.performer import RANGES, draw_performer
from runtime.simulate.schedule import WINDOW_US, draw_windows

WHAT = "simulated DVS128 Gesture"
SPLITS = ("train", "test")  # the number of a split is part of its seeds


def simulate_gesture(
    out_dir: str | os.PathLike[str],
    train: int = 200,
    test: int = 20,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes the recordings of `train` + `test` performers; returns the note that is written beside them.

    `progress(done, total)` is called as files appear. PlifError when `out_dir` holds something else, or a set made with
    another seed or other ranges.
    """
    refuse_below(WHAT, 1, train=train, test=test, workers=workers)
    refuse_below(WHAT, 0, seed=seed)
    out = Path(out_dir)
    note: dict[str, Any] = {
        "what": f"{WHAT}: a drawn person before a simulated event camera, not real recordings",
        "made_by": f"plif {__version__}, runtime.data.simulate_gesture",
        "seed": seed,
        "parameters": {"ranges": {name: list(ends) for name, ends in RANGES.items()}, "window_us": WINDOW_US},
        "train": train,
        "test": test,
    }
    claim_folder(out, note)
    jobs, names = [], {}
    for split, count, first in (("train", train, 1), ("test", test, 90_001)):
        users = range(first, first + count)
        names[split] = [f"user{user:05d}_simulated" for user in users]
        jobs += [(seed, split, number, str(out / name)) for number, name in enumerate(names[split])]
    missing = [job for job in jobs if not (Path(f"{job[3]}.aedat").exists() and Path(f"{job[3]}_labels.csv").exists())]
    run_jobs(_make, missing, workers, len(jobs) - len(missing), len(jobs), progress)
    lists = [out / f"trials_to_{split}.txt" for split in SPLITS]
    with whole_or_nothing(*lists) as targets:
        for target, split in zip(targets, SPLITS, strict=True):
            target.write_text("".join(f"{name}.aedat\n" for name in names[split]), encoding="utf-8")
    return note


def record(seed: int, split: str, number: int) -> tuple[npt.NDArray[np.void], list[tuple[int, int, int]]]:
    """One performer's recording: events [N] (EVENT_DTYPE), and (class, start_us, end_us) of its windows."""
    held_out = split == "test"
    key = (seed, SPLITS.index(split), number)
    performer = draw_performer(key, held_out)
    events, rows = [], []
    for start_us, end_us, bout in draw_windows(key, held_out):
        events += list(perform(performer, [bout], start_us, end_us, (*key, start_us)))
        rows.append((bout.manner.gesture, start_us, end_us))
    return np.concatenate(events), rows


def _make(job: tuple[int, str, int, str]) -> int:
    seed, split, number, stem = job
    events, rows = record(seed, split, number)
    with whole_or_nothing(Path(f"{stem}.aedat"), Path(f"{stem}_labels.csv")) as (recording, labels):
        with open(recording, "wb") as file:
            file.write(make_header((SIZE_PX, SIZE_PX)))
            write_packets(file, events)
        lines = "".join(f"{gesture + 1},{start_us},{end_us}\n" for gesture, start_us, end_us in rows)
        labels.write_text(f"class,startTime_usec,endTime_usec\n{lines}", encoding="utf-8")
    return 1
