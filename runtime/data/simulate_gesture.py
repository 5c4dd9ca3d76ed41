"""Makes a simulated DVS128 Gesture, in the layout of the official set, for training without the real one.

    OUT/user00001_simulated.aedat, user00001_simulated_labels.csv, ...      AEDAT 3.1
    OUT/trials_to_train.txt, trials_to_test.txt, simulated.json

A user is a performer of the simulator; test users are held-out performers (runtime.simulate.performer). What a recording holds:

    windows   12 windows of 0.8 s, so that `dvs128-gesture:OUT` with duration:25ms,T=32 uses the whole of each
    varied    the same under harder conditions (weak contrast, far away, flickering lamps), some slow or hesitant
    faint     the same under weak contrast and far away, without the slow and the hesitant ones: for tests
    sessions  12 s of short gestures out of standing still; a row begins when its gesture can be recognised
    everyday  8 s of somebody who means no gesture, one row of other_gestures
    things    six scenes of 2 s in which things move, rows of other_gestures
    people    15 s of somebody who moves as the motion capture of the file `motions` says and means no gesture, rows of
              other_gestures (runtime.data.simulate_motion.record_people); every fourth actor is held out

A recording depends on (seed,
split, number) alone: its file is the same for any count, any number of workers, and after a stop; files that are there are
kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.base.declared import GestureOptions
from runtime.base.errors import PlifError
from runtime.base.files import whole_or_nothing
from runtime.base.options import with_fields
from runtime.base.version import __version__
from runtime.data.simulate_motion import record_people, split_actors
from runtime.data.simulated_set import Progress, claim_folder, run_jobs
from runtime.events.formats.aedat.aedat31 import make_header, write_packets
from runtime.simulate.figure import SIZE_PX
from runtime.simulate.motion.joints import Motion, actors_of, read_motions
from runtime.simulate.performance import perform, record_scene
from runtime.simulate.performer import RANGES, VARIED, draw_performer
from runtime.simulate.schedule import OTHER, WINDOW_US, draw_everyday, draw_short_bouts, draw_windows
from runtime.simulate.things import ThingPainter, draw_things

WHAT = "simulated DVS128 Gesture"
SPLITS = ("train", "test")  # the number of a split is part of its seeds
SESSION_US, EVERYDAY_US, THING_US, THINGS = 12_000_000, 8_000_000, 2_000_000, 6
GAP_US = 200_000  # between two scenes of a recording

Rows = list[tuple[int, int, int]]  # (class, start_us, end_us)
Recording = tuple[npt.NDArray[np.void], Rows]


@with_fields(GestureOptions)
def simulate_gesture(
    out_dir: str | os.PathLike[str], *, progress: Progress | None = None, **options: Any
) -> dict[str, object]:
    """Writes the recordings of `train` (200) + `test` (20) performers. `part` is one of PARTS.

    `progress(done, total)` is called as files appear. Returns the note that is written beside them. PlifError when `out_dir`
    holds something else, or a set made with another seed or other ranges.
    """
    how = GestureOptions(**options)
    (train, test), seed, part = how.counts(200, 20), how.seed, how.part
    if not (train and test):
        raise PlifError(f"{WHAT}: train={train}, test={test}, expected 1 or more of each")
    if part not in (*PARTS, "people"):
        raise PlifError(f"{WHAT}: part '{part}', expected {', '.join(PARTS)}, people")
    if (part == "people") != (how.motions is not None):
        raise PlifError(
            f"{WHAT}: part '{part}' and motions {how.motions}, expected --motions FILE with --part people alone"
        )
    motions = None if how.motions is None else str(how.motions)
    if motions is not None:
        _motions(motions)  # before anything is written
    out = Path(out_dir)
    parameters: dict[str, object] = {
        "ranges": {name: list(ends) for name, ends in RANGES.items()},
        "window_us": WINDOW_US,
    }
    if part != "windows":
        parameters |= {"part": part, "varied": {name: list(ends) for name, ends in VARIED.items()}}
    note: dict[str, object] = {
        "what": f"{WHAT}: a drawn person before a simulated event camera, not real recordings",
        "made_by": f"plif {__version__}, runtime.data.simulate_gesture",
        "seed": seed,
        "parameters": parameters,
        "train": train,
        "test": test,
    }
    claim_folder(out, note)
    jobs, names = [], {}
    for split, count, first in (("train", train, 1), ("test", test, 90_001)):
        users = range(first, first + count)
        names[split] = [f"user{user:05d}_simulated" for user in users]
        jobs += [(seed, split, number, str(out / name), part, motions) for number, name in enumerate(names[split])]
    missing = [job for job in jobs if not (Path(f"{job[3]}.aedat").exists() and Path(f"{job[3]}_labels.csv").exists())]
    run_jobs(_make, missing, how.workers, len(jobs) - len(missing), len(jobs), progress)
    lists = [out / f"trials_to_{split}.txt" for split in SPLITS]
    with whole_or_nothing(*lists) as targets:
        for target, split in zip(targets, SPLITS, strict=True):
            target.write_text("".join(f"{name}.aedat\n" for name in names[split]), encoding="utf-8")
    return note


def record(seed: int, split: str, number: int, part: str = "windows", motions: str | None = None) -> Recording:
    """One performer's recording: events [N] (EVENT_DTYPE), and (class, start_us, end_us) of its windows. `motions` is the
    file of part "people"."""
    key, held_out = (seed, SPLITS.index(split), number), split == "test"
    if motions is None:
        return PARTS[part](key, held_out)
    events, scenes = record_people(key, split_actors(_motions(motions), held_out), held_out)
    return events, [(OTHER, start_us, end_us) for start_us, end_us in scenes]


@lru_cache(1)
def _motions(path: str) -> list[Motion]:
    found = read_motions(path)
    if len(actors_of(found)) < 2:
        raise PlifError(f"{path}: motions of one actor alone, expected of two or more, since one is held out")
    return found


def _windows(key: tuple[int, ...], held_out: bool) -> Recording:
    return _windows_by(key, held_out, None, False)


def _varied(key: tuple[int, ...], held_out: bool) -> Recording:
    return _windows_by(key, held_out, ("faint", "texture", "faint", "lamps")[key[-1] % 4], True)


def _faint(key: tuple[int, ...], held_out: bool) -> Recording:
    return _windows_by(key, held_out, "faint", False)


def _windows_by(key: tuple[int, ...], held_out: bool, conditions: str | None, vary: bool) -> Recording:
    performer = draw_performer(key, held_out, conditions)
    events, rows = [], []
    for start_us, end_us, bout in draw_windows(key, held_out, vary):
        events += list(perform(performer, [bout], start_us, end_us, (*key, start_us)))
        rows.append((bout.manner.gesture, start_us, end_us))
    return np.concatenate(events), rows


def _sessions(key: tuple[int, ...], held_out: bool) -> Recording:
    performer = draw_performer(key, held_out, (None, "texture", "faint", "texture")[key[-1] % 4])
    bouts = list(draw_short_bouts(key, held_out, SESSION_US))
    events = np.concatenate(list(perform(performer, bouts, 0, SESSION_US, key)))
    return events, [(bout.manner.gesture, bout.t_ready_us, bout.t_off_us - bout.raise_us) for bout in bouts]


def _everyday(key: tuple[int, ...], held_out: bool) -> Recording:
    performer = draw_performer(key, held_out, (None, "texture", "texture", "faint")[key[-1] % 4])
    bouts = list(draw_everyday(key, held_out, EVERYDAY_US))
    return np.concatenate(list(perform(performer, bouts, 0, EVERYDAY_US, key))), [(OTHER, 0, EVERYDAY_US)]


def _things(key: tuple[int, ...], held_out: bool) -> Recording:
    events, rows = [], []
    for scene in range(THINGS):
        start_us = scene * (THING_US + GAP_US)
        place = draw_performer((*key, scene), held_out, "texture")
        painter = ThingPainter(place, draw_things((*key, scene), held_out))
        events += list(record_scene(place, painter.paint, start_us, start_us + THING_US, (*key, start_us)))
        rows.append((OTHER, start_us, start_us + THING_US))
    return np.concatenate(events), rows


PARTS: dict[str, Callable[[tuple[int, ...], bool], Recording]] = {
    "windows": _windows, "varied": _varied, "faint": _faint, "sessions": _sessions, "everyday": _everyday,
    "things": _things,
}  # fmt: skip


def _make(job: tuple[int, str, int, str, str, str | None]) -> int:
    seed, split, number, stem, part, motions = job
    events, rows = record(seed, split, number, part, *([] if motions is None else [motions]))
    with whole_or_nothing(Path(f"{stem}.aedat"), Path(f"{stem}_labels.csv")) as (recording, labels):
        with open(recording, "wb") as file:
            file.write(make_header((SIZE_PX, SIZE_PX)))
            write_packets(file, events)
        lines = "".join(f"{gesture + 1},{start_us},{end_us}\n" for gesture, start_us, end_us in rows)
        labels.write_text(f"class,startTime_usec,endTime_usec\n{lines}", encoding="utf-8")
    return 1
