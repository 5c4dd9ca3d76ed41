"""Makes event recordings of motion capture: a user's motions in front of the simulated camera, labelled by folder.

    DIR/<class>/*, or DIR/{train,test}/<class>/*        .bvh; .amc, its .asf next to it; .npz, a collection
    OUT/<class>/<motion>_<view>.aedat, ...              the same folders: --data folder:OUT reads them; AEDAT 3.1

Each motion is seen `views` times: another person, place, camera and side. A recording depends on the seed, its
folders, name and view only; existing files are kept.

`record_people` is for training: non-gesture motion of one or several actors.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write, make_folder
from runtime.core.base.options import with_fields
from runtime.core.base.version import __version__
from runtime.core.data.dataset import SPLITS
from runtime.core.data.recordings import list_files
from runtime.datasets.motion.joints import JOINTS, SUFFIXES, Motion, list_actors, read_motions
from runtime.datasets.motion.options import MotionOptions
from runtime.datasets.motion.people import DISTANCE_M, MotionClip, MotionPainter, MotionSequence, Viewpoint
from runtime.datasets.performers.figure import SENSOR
from runtime.datasets.performers.options import LOOKS
from runtime.datasets.performers.performance import FRAME_US, record_scene
from runtime.datasets.performers.performer import Performer, draw_performer
from runtime.datasets.simulated_camera.simulated_set import Progress, claim_folder, run_jobs
from runtime.formats.aedat31 import make_header, write_packets

TITLE = "simulated recordings of motion capture"
MOST_S = 3600.0  # seconds of one recording; all its events are in memory
Job = tuple[str, str, bool, MotionOptions]  # file, folder to write into, held out, settings


@with_fields(MotionOptions)
def simulate_motion(
    out_dir: str | os.PathLike[str], *, progress: Progress | None = None, **options: Any
) -> dict[str, object]:
    """Simulate camera recordings of all motion capture files in a folder, and write them; return their JSON note.

    `progress(done, total)` is called as files are done. Raises PlifError, one line, when `out_dir` holds other files
    or a set made in another way, when a folder has no motions, and for a damaged file.
    """
    settings, out = MotionOptions(**options), Path(out_dir)
    if settings.bvh is None:
        raise PlifError(f"{TITLE}: no folder of motions, expected --bvh DIR")
    jobs = [
        (str(path), str(out / folder), split != "train", settings)
        for split, folder, path in _find_motions(settings.bvh)
    ]
    parameters = {name: value for name, value in vars(settings).items() if name not in ("bvh", "seed", "workers")}
    note: dict[str, object] = {
        "what": f"{TITLE}: a drawn person before a simulated event camera, not real recordings",
        "made_by": f"plif {__version__}, runtime.datasets.motion.simulate_motion",
        "seed": settings.seed,
        "parameters": parameters,
        "motions": len(jobs),
    }
    claim_folder(out, note)
    run_jobs(_write_recordings, jobs, settings.workers, 0, len(jobs), progress)
    return note


def _find_motions(root: Path) -> list[tuple[str, Path, Path]]:
    """Find the motion capture files below a folder: (split, folder below the root, file) each."""
    if not root.is_dir():
        raise PlifError(f"{root}: no such folder, expected one of motion capture, one folder a class in it")
    halves = [half for half in SPLITS if (root / half).is_dir()]
    motions = []
    for split, top in [(half, root / half) for half in halves] or [("", root)]:
        for folder in sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith(".")):
            paths = [path for path in list_files(folder) if path.suffix.lower() in SUFFIXES]
            stems = [path.stem for path in paths]
            if not paths or len(set(stems)) < len(stems):
                twice = sorted({stem for stem in stems if stems.count(stem) > 1})
                raise PlifError(
                    f"{folder}: {f'several motions are called {twice[0]}' if twice else 'no motions'};"
                    f" expected files of motion capture, each name once: {', '.join(SUFFIXES)}"
                )
            motions += [(split, folder.relative_to(root), path) for path in paths]
    if not motions:
        raise PlifError(f"{root}: no folders, expected one for each class with its files of motion capture")
    return motions


def _write_recordings(job: Job) -> int:
    file, out, held_out, settings = job
    folder = Path(out)
    make_folder(folder)
    motions = read_motions(file)
    names = [re.sub(r"[^A-Za-z0-9.-]", "_", motion.name)[:100] for motion in motions]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PlifError(
            f"{file}: several of its motions are called {twice}, expected each name once, in letters and digits"
        )
    for motion, name in zip(motions, names, strict=True):
        stem = Path(file).stem + (f"_{name}" if len(motions) > 1 else "")
        for view in range(settings.views):
            path = folder / f"{stem}_{view}.aedat"
            if path.exists():
                continue
            key = (settings.seed, 92, zlib.crc32(f"{folder.name}/{stem}".encode()), view)
            with atomic_write(path) as (target,), open(target, "wb") as recording:
                recording.write(make_header(SENSOR))
                write_packets(recording, _record_view(key, motion, held_out, settings))
    return 1


def _record_view(key: tuple[int, ...], motion: Motion, held_out: bool, settings: MotionOptions) -> npt.NDArray[np.void]:
    look = settings.look or LOOKS[key[-1] % len(LOOKS)]
    performer = draw_performer(key, held_out, None if look == LOOKS[0] else look)
    yaw = np.random.default_rng([*key, 71]).uniform(-settings.yaw, settings.yaw)
    course = MotionSequence([MotionClip(motion)], repeat=True)
    seconds = course.duration_s(settings.loops) if settings.seconds is None else settings.seconds
    if not seconds <= MOST_S:
        raise PlifError(f"{motion.name}: takes {seconds:g} s, expected at most {MOST_S:g}: --seconds, or fewer --loops")
    return record_painted(
        performer, MotionPainter(performer, course, Viewpoint(float(yaw), settings.distance)), seconds, key
    )


def record_painted(
    performer: Performer, painter: MotionPainter, seconds: float, seed: tuple[int, ...]
) -> npt.NDArray[np.void]:
    """Simulate the events [N] (EVENT_DTYPE, sorted) that a camera records of a painter's moving person.

    `seed` is that of the camera's noise. To get windows of T frames: runtime.core.events.frames_of(events, framing,
    (2, 128, 128), (128, 128), "identity").
    """
    end_us = max(1, int(seconds * 1e6) // FRAME_US) * FRAME_US
    return np.concatenate(list(record_scene(performer, painter.paint, 0, end_us, seed)))


def split_actors(motions: Sequence[Motion], held_out: bool) -> list[Motion]:
    """Return the motions of the held-out actors (each fourth one by name), or those of all others."""
    held_out_actors = set(list_actors(motions)[1::4])
    return [motion for motion in motions if (motion.actor in held_out_actors) == held_out]


PEOPLE_S, STRETCH_S = 15.0, 4.0
GAP_US = 200_000  # between two scenes of a recording
MOST_HZ, PATIENCE, MOST_SCENES = 350_000, 3, 1000  # events a second of 128 x 128 pixels


def record_people(
    key: tuple[int, ...],
    motions: Sequence[Motion],
    held_out: bool = False,
    seconds: float | None = None,
    look: str | None = None,
    size: tuple[int, int] = SENSOR,
) -> tuple[npt.NDArray[np.void], list[tuple[int, int]]]:
    """Simulate a recording of a person without gestures: events [N], and (start_us, end_us) of each scene.

    A scene is one to four clips of random motions, some mirrored, at 0.75 to 1.25 times their pace, seen from any
    side, some lying; in half of them the person stays in front of the camera, in a quarter one limb or the trunk
    fills the picture. Scenes that show no person for half of the time, or with more events than a camera can send,
    are drawn again. After PATIENCE of the latter, another performer is drawn (lamps may flicker all over the
    picture). Motions of one actor: [motion for motion in motions if motion.actor == "HDM_bd"].
    """
    rng = np.random.default_rng([*key, 31, int(held_out)])
    drawn = look or ("usual", "texture", "plain", "faint", "usual", "texture", "plain", "lamps")[key[-1] % 8]
    conditions = None if drawn == LOOKS[0] else drawn
    performer, too_many = draw_performer(key, held_out, conditions, size), 0
    most_hz = MOST_HZ * (size[1] / SENSOR[1]) ** 2
    kinds = [[motion for motion in motions if motion.actor == actor] for actor in list_actors(motions)]
    events, rows, at_us = [], [], 0
    for scene in range(MOST_SCENES):
        is_near = rng.random() < 0.5
        stretches = [_draw_clip(rng, kinds) for _ in range(int(rng.integers(2, 5)) if is_near else 1)]
        course = MotionSequence(stretches)
        painter = MotionPainter(performer, course, _draw_view(rng, performer, is_near))
        times = np.linspace(0, course.seconds * 1e6, 20).astype(np.int64)
        if painter.visible_joints(times).any(1).mean() < 0.5:
            continue
        recording = record_painted(performer, painter, course.seconds, (*key, scene))
        if len(recording) > most_hz * course.seconds:
            too_many += 1
            if too_many % PATIENCE == 0:
                performer = draw_performer((*key, too_many), held_out, conditions, size)
            continue
        end_us = at_us + int(course.seconds * 1e6) // FRAME_US * FRAME_US
        recording["t"] += at_us
        events.append(recording)
        rows.append((at_us, end_us))
        at_us = end_us + GAP_US
        if at_us - GAP_US * len(rows) >= (seconds or PEOPLE_S) * 1e6:
            break
    return np.concatenate(events), rows


def _draw_clip(rng: np.random.Generator, kinds: Sequence[Sequence[Motion]]) -> MotionClip:
    of_actor = kinds[int(rng.integers(len(kinds)))]
    motion = of_actor[int(rng.integers(len(of_actor)))]
    begin = float(rng.uniform(0, max(0.0, motion.seconds - STRETCH_S)))
    motion = motion.mirror() if rng.random() < 0.5 else motion
    return MotionClip(motion, begin, STRETCH_S, float(rng.uniform(0.75, 1.25)), float(rng.uniform(0, 0.5)))


def _draw_view(rng: np.random.Generator, performer: Performer, stays: bool) -> Viewpoint:
    from_all_sides = not stays and rng.random() < 0.65
    yaw = float(rng.uniform(-180, 180) if from_all_sides else rng.normal(0, 35))
    roll = float(rng.choice((0, 0, 0, 0, 0, 0, 0, 0, -90, 90)))
    if rng.random() < 0.25:  # a limb, or the trunk, close by
        position = (float(rng.uniform(40, 88)), float(rng.uniform(40, 88)))
        return Viewpoint(yaw, float(rng.uniform(0.75, 2.0)), position, JOINTS[int(rng.integers(len(JOINTS)))], roll)
    alike = stays and rng.random() < 0.5
    scale = performer.scale * float(rng.uniform(0.85, 1.1)) if alike else float(rng.uniform(0.4, 1.15))
    return Viewpoint(yaw, DISTANCE_M / scale, roll_deg=roll)
