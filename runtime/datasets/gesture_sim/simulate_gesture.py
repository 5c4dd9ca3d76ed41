"""Makes a simulated DVS128 Gesture, in the layout of the official set, for training without the real one.

    OUT/user00001_simulated.aedat, user00001_simulated_labels.csv, ...      AEDAT 3.1
    OUT/trials_to_train.txt, trials_to_test.txt, simulated.json

A user is a performer of the simulator; test users are held-out performers (performer.py). The parts, by content of a
recording:

    windows   12 windows of 0.8 s, so that `dvs128-gesture:OUT` with duration:25ms,T=32 uses the whole of each
    varied    the same under harder conditions (weak contrast, far away, flickering lamps), some slow or hesitant
    faint     the same under weak contrast and far away, without the slow and the hesitant ones: for tests
    sessions  12 s of short gestures out of standing still; a row begins when its gesture can be recognised
    everyday  8 s of non-gesture motion, one row of other_gestures
    things    six scenes of 2 s with moving objects, rows of other_gestures
    moves     three scenes of 4 s of a person who stands up, sits down, reaches, raises an arm and holds it, bows,
              points, turns, seen from all sides, some lying; rows of other_gestures (runtime.datasets.motion.drawn)
    people    15 s of a person who moves as in the motion capture file `motions`, without gestures, rows of
              other_gestures (runtime.datasets.motion.simulate_motion.record_people); every fourth actor is held out
    hands     12 windows of 0.8 s of a bare hand before the lens (performers/hands.py): two waves, four circles, and six
              that make no gesture
    raised    three scenes of 4 s of a person who raises an arm and makes no gesture (lookalikes.py)
    swings    six scenes of 2 s of things that swing, turn or tremble (performers/swinging.py)

    laws      2: gestures with the wider ranges of recorded people: slower, higher, with a moving elbow (gestures.WIDE_PACES)
    view      whole, far, cut or near: the body of a MotionPainter, near and in part (draw_view); mixed: window by window
    look      of person and camera (draw_performer); "plain": high unequal thresholds, most active pixels noise

In Python, without files: record_performer(seed, split, number, part, Staging(laws=2, view="near", look="plain")) returns events
and rows; frames_of(events[(events["t"] >= start) & (events["t"] < end)], framing, (2, 128, 128), (128, 128), "identity") frames
one window.

A recording depends on (seed, split, number) only: its file is the same for any count, any number of workers, and after a
stop; existing files are kept.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write, read_regular
from runtime.core.base.options import with_fields
from runtime.core.base.version import __version__
from runtime.datasets.gesture_sim.lookalikes import record_hands, record_raised, record_swings
from runtime.datasets.gesture_sim.options import GestureOptions
from runtime.datasets.gesture_sim.staging import AS_IN_THE_SET, Recording, Staging, join_scenes
from runtime.datasets.motion.drawn import MoveMotion, draw_painter
from runtime.datasets.motion.joints import Motion, list_actors, read_motions
from runtime.datasets.motion.simulate_motion import record_painted, record_people, split_actors
from runtime.datasets.performers.figure import SENSOR
from runtime.datasets.performers.performance import record_scene
from runtime.datasets.performers.performer import RANGES, VARIED
from runtime.datasets.performers.schedule import OTHER, WINDOW_US, draw_everyday, draw_short_bouts, draw_windows
from runtime.datasets.performers.things import ObjectPainter, draw_objects
from runtime.datasets.performers.wander import ParameterDraws
from runtime.datasets.simulated_camera.simulated_set import Progress, claim_folder, run_jobs
from runtime.formats.aedat31 import make_header, write_packets

TITLE = "simulated DVS128 Gesture"
SPLITS = ("train", "test")  # the number of a split is part of its seeds
SESSION_US, EVERYDAY_US, THING_US, THINGS = 12_000_000, 8_000_000, 2_000_000, 6
MOVE_US, MOVE_SCENES = 4_000_000, 3


@with_fields(GestureOptions)
def simulate_gesture(
    out_dir: str | os.PathLike[str], *, progress: Progress | None = None, **options: Any
) -> dict[str, object]:
    """Simulate recordings of gestures by `train` + `test` performers (persons), and write them into a folder.

    The defaults are 200 + 20 performers. `part` is one of PARTS. `progress(done, total)` is called as files appear.
    Returns the note that is written next to them. Raises PlifError when `out_dir` holds other files, or a set made
    with another seed or other ranges.
    """
    settings = GestureOptions(**options)
    (train, test), seed, part = settings.counts(200, 20), settings.seed, settings.part
    if not (train and test):
        raise PlifError(f"{TITLE}: train={train}, test={test}, expected 1 or more of each")
    if part not in PARTS:
        raise PlifError(f"{TITLE}: part '{part}', expected {', '.join(PARTS)}")
    if (part == "people") != (settings.motions is not None):
        raise PlifError(
            f"{TITLE}: part '{part}' and motions {settings.motions}, expected --motions FILE with --part people alone"
        )
    staging = Staging(
        settings.laws, settings.view, settings.look, None if settings.motions is None else str(settings.motions)
    )
    if staging.motions is not None:
        _load_motions(staging.motions)  # before anything is written
    out = Path(out_dir)
    parameters: dict[str, object] = {
        "ranges": {name: list(ends) for name, ends in RANGES.items()},
        "window_us": WINDOW_US,
    }
    if part != "windows":
        parameters |= {"part": part, "varied": {name: list(ends) for name, ends in VARIED.items()}}
    parameters |= {name: value for name, value in vars(staging).items() if value != vars(AS_IN_THE_SET)[name]}
    if settings.motions is not None:
        parameters["motions"] = hashlib.sha256(read_regular(settings.motions)).hexdigest()
    note: dict[str, object] = {
        "what": f"{TITLE}: a drawn person before a simulated event camera, not real recordings",
        "made_by": f"plif {__version__}, runtime.datasets.gesture_sim.simulate_gesture",
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
        jobs += [(seed, split, number, str(out / name), part, staging) for number, name in enumerate(names[split])]
    missing = [job for job in jobs if not (Path(f"{job[3]}.aedat").exists() and Path(f"{job[3]}_labels.csv").exists())]
    run_jobs(_write_recording, missing, settings.workers, len(jobs) - len(missing), len(jobs), progress)
    lists = [out / f"trials_to_{split}.txt" for split in SPLITS]
    with atomic_write(*lists) as targets:
        for target, split in zip(targets, SPLITS, strict=True):
            target.write_text("".join(f"{name}.aedat\n" for name in names[split]), encoding="utf-8")
    return note


def record_performer(
    seed: int, split: str, number: int, part: str = "windows", staging: Staging = AS_IN_THE_SET
) -> Recording:  # fmt: skip
    """Simulate one performer's recording: events [N] (EVENT_DTYPE), and (class, start_us, end_us) of its gestures."""
    key = (seed, SPLITS.index(split), number)
    return PARTS[part](key, split == "test", staging)


@lru_cache(1)
def _load_motions(path: str) -> list[Motion]:
    motions = read_motions(path)
    if len(list_actors(motions)) < 2:
        raise PlifError(f"{path}: motions of one actor alone, expected of two or more, since one is held out")
    return motions


def _record_windows(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    return _record_windows_by(key, held_out, staging, None, False)


def _record_varied(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    return _record_windows_by(key, held_out, staging, ("faint", "texture", "faint", "lamps")[key[-1] % 4], True)


def _record_faint(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    return _record_windows_by(key, held_out, staging, "faint", False)


def _record_windows_by(
    key: tuple[int, ...], held_out: bool, staging: Staging, conditions: str | None, vary: bool
) -> Recording:
    performer = staging.performer(key, held_out, conditions)
    events, rows = [], []
    for place, (start_us, end_us, bout) in enumerate(draw_windows(key, held_out, vary, staging.laws == 2)):
        events.append(staging.perform(performer, [bout], start_us, end_us, (*key, start_us), place + key[-1]))
        rows.append((bout.manner.gesture, start_us, end_us))
    return np.concatenate(events), rows


def _record_sessions(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    performer = staging.performer(key, held_out, (None, "texture", "faint", "texture")[key[-1] % 4])
    bouts = list(draw_short_bouts(key, held_out, SESSION_US, staging.laws == 2))
    rows = [(bout.manner.gesture, bout.t_ready_us, bout.t_off_us - bout.raise_us) for bout in bouts]
    return staging.perform(performer, bouts, 0, SESSION_US, key, key[-1]), rows


def _record_everyday(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    performer = staging.performer(key, held_out, (None, "texture", "texture", "faint")[key[-1] % 4])
    bouts = list(draw_everyday(key, held_out, EVERYDAY_US))
    return staging.perform(performer, bouts, 0, EVERYDAY_US, key, key[-1]), [(OTHER, 0, EVERYDAY_US)]


def _record_things(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    def scene(scene_key: tuple[int, ...], start_us: int) -> npt.NDArray[np.void]:
        place = staging.performer(scene_key, held_out, "texture")
        painter = ObjectPainter(place, draw_objects(scene_key, held_out))
        return np.concatenate(list(record_scene(place, painter.paint, start_us, start_us + THING_US, (*key, start_us))))

    return join_scenes(key, THINGS, THING_US, scene)


def _record_moves(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    def scene(scene_key: tuple[int, ...], start_us: int) -> npt.NDArray[np.void]:
        performer = staging.performer(scene_key, held_out, (None, "texture", "plain", "faint")[scene_key[-2] % 4])
        acting, kind = MoveMotion(scene_key, held_out, MOVE_US / 1e6), staging.view_at(scene_key[-2] + scene_key[-1])
        lies = ParameterDraws((*scene_key, 65), held_out).pick((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -90.0, 90.0))
        events = record_painted(
            performer, draw_painter(performer, acting, kind, scene_key, lies), acting.seconds, scene_key
        )
        events["t"] += start_us
        return events

    return join_scenes(key, MOVE_SCENES, MOVE_US, scene)


def _record_people(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    if staging.motions is None:
        raise PlifError(f"{TITLE}: part 'people', expected a file of motions")
    events, scenes = record_people(
        key, split_actors(_load_motions(staging.motions), held_out), held_out, look=staging.look, size=staging.size
    )
    return events, [(OTHER, start_us, end_us) for start_us, end_us in scenes]


PARTS: dict[str, Callable[[tuple[int, ...], bool, Staging], Recording]] = {
    "windows": _record_windows, "varied": _record_varied, "faint": _record_faint, "sessions": _record_sessions,
    "everyday": _record_everyday, "things": _record_things, "moves": _record_moves, "people": _record_people,
    "hands": record_hands, "raised": record_raised, "swings": record_swings,
}  # fmt: skip


def _write_recording(job: tuple[int, str, int, str, str, Staging]) -> int:
    seed, split, number, stem, part, staging = job
    events, rows = record_performer(seed, split, number, part, staging)
    with atomic_write(Path(f"{stem}.aedat"), Path(f"{stem}_labels.csv")) as (recording, labels):
        with open(recording, "wb") as file:
            file.write(make_header(SENSOR))
            write_packets(file, events)
        lines = "".join(f"{gesture + 1},{start_us},{end_us}\n" for gesture, start_us, end_us in rows)
        labels.write_text(f"class,startTime_usec,endTime_usec\n{lines}", encoding="utf-8")
    return 1
