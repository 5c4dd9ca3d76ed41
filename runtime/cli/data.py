"""`plif data`: lists data sets, checks one, makes a simulated one: N-MNIST, DVS128 Gesture.

In Python: runtime.data.check.list_datasets, check_dataset; runtime.data.simulate_nmnist.simulate_nmnist,
runtime.data.simulate_gesture.simulate_gesture, runtime.data.simulate_motion.simulate_motion.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from runtime.base.declared import GestureOptions, LimitOptions, MotionOptions, NmnistOptions
from runtime.base.errors import PlifError
from runtime.base.options import Argument, OptionRecord, option
from runtime.base.progress import Progress
from runtime.cli.output import Output

SIMULATED = "nmnist-sim"
GESTURES = "gesture-sim"
MOTION = "motion"
NEEDED = {SIMULATED: "--from mnist:DIR ", GESTURES: "", MOTION: "--bvh DIR "}  # to make one, beside --out DIR


Row = dict[str, Any]


class Places(OptionRecord):
    """The folders of a set."""

    root: str | None = option("The folder of the set to check.", default=None)
    source: str | None = option(f"{SIMULATED}: the images, mnist:DIR.", "--from", default=None)
    out: Path | None = option("To make one: the folder to write.", default=None)


def data(
    name: Annotated[
        str | None,
        Argument(f"A set to check, or {SIMULATED}, {GESTURES}, {MOTION} to make one; the list when not given."),
    ] = None,
    *,
    places: Places,
    some: LimitOptions,
    digits: NmnistOptions,
    gestures: GestureOptions,
    motions: MotionOptions,
    output: Output,
) -> None:
    """Lists the data sets, says where one comes from, checks it, or makes a simulated one (continues where it stopped)."""
    from runtime.data import DATASETS
    from runtime.data.check import check_dataset, list_datasets

    source, out, root = places.source, places.out, places.root
    if name in NEEDED:
        needed = NEEDED[name]
        said = {"--from mnist:DIR ": source, "--bvh DIR ": motions.bvh}
        if out is None or any((value is not None) != (flag == needed) for flag, value in said.items()):
            raise PlifError(f"plif data {name}: expected {needed}--out DIR")
        made = _simulate(name, source, out, digits, gestures, motions)
        output.show(made, lambda: _made_lines(made))
    elif source is not None or out is not None or motions.bvh is not None:
        raise PlifError(f"plif data {name or ''}: --from, --bvh and --out belong to plif data {', '.join(NEEDED)}")
    elif name is None:
        output.show(list_datasets(), lambda: _row_lines(list_datasets()))
    elif root is None and name in DATASETS and "[" not in DATASETS[name].about.spec:  # cannot be read without a folder
        row = next(row for row in list_datasets() if row["name"] == name)
        output.show(row, lambda: _where_lines(row))
    else:
        if ":" in name and root is not None:
            raise PlifError(f"plif data {name} --root {root}: the folder is given twice, expected it once")
        with Progress("reading") as progress:
            found = check_dataset(name if root is None else f"{name}:{root}", **vars(some), progress=progress.update)
        output.show(found, lambda: _check_lines(found))


def _simulate(
    name: str, source: str | None, out: Path, digits: NmnistOptions, gestures: GestureOptions, motions: MotionOptions
) -> Row:
    """Writes a simulated N-MNIST of the images that `source` names, a simulated DVS128 Gesture, or recordings of motions."""
    kind, _, folder = (source or "").partition(":")
    if source is not None and (kind != "mnist" or not folder):
        raise PlifError(f"--from {source}: expected mnist:DIR")
    began = time.perf_counter()
    with Progress("simulating") as progress:
        if name == MOTION:
            from runtime.data.simulate_motion import simulate_motion

            note = simulate_motion(out, **vars(motions), progress=progress.update)
        elif name == GESTURES:
            from runtime.data.simulate_gesture import simulate_gesture

            note = simulate_gesture(out, **vars(gestures), progress=progress.update)
        else:
            from runtime.data.simulate_nmnist import simulate_nmnist

            note = simulate_nmnist(folder, out, **vars(digits), progress=progress.update)
    seconds = round(time.perf_counter() - began, 3)
    known = ("motions", "train", "test", "seed")
    return {"path": str(out), "seconds": seconds, **{key: note[key] for key in known if key in note}}


def _made_lines(made: Row) -> list[str]:
    if "motions" in made:
        return [f"{made['path']}: of {made['motions']} files of motion capture, {made['seconds']:.0f} s",
                f"use it as --data folder:{made['path']}"]  # fmt: skip
    recordings = isinstance(made["train"], dict)
    counts = [made[split]["count"] if recordings else made[split] for split in ("train", "test")]
    what, use = ("simulated recordings", "nmnist") if recordings else ("performers, simulated", "dvs128-gesture")
    lines = [f"{made['path']}: {counts[0]} + {counts[1]} {what}, {made['seconds']:.0f} s"]
    return [*lines, f"use it as --data {use}:{made['path']}"]


def _where_lines(row: Row) -> list[str]:
    """Where a set comes from, and what to type once it is there."""
    lines = [f"{row['name']}: {row['what']}", f"from     {row['source']}{', ' if row['size'] else ''}{row['size']}"]
    lines.append(f"licence  {row['licence']}")
    lines += [f"{file:<28} {checksum}" for file, checksum in row["checksums"].items()]
    lines += [f"option   ?{name}={'|'.join(values)}" for name, values in row["options"].items()]
    return [*lines, f"then     plif data {row['name']} --root DIR"]


def _row_lines(rows: list[Row]) -> list[str]:
    lines = []
    for row in rows:
        lines += [f"{row['spec']:<20} {row['kind']:<7} {row['what']}", f"{'':<20} from    {row['source']}"]
        lines += [f"{'':<20} licence {row['licence']}"]
    lines.append(f"{SIMULATED:<20} plif data {SIMULATED} --from mnist:DIR --out DIR makes a simulated N-MNIST")
    lines.append(f"{GESTURES:<20} plif data {GESTURES} --out DIR makes a simulated DVS128 Gesture")
    return [*lines, f"{MOTION:<20} plif data {MOTION} --bvh DIR --out DIR makes recordings of your motion capture"]


def _check_lines(found: Row) -> list[str]:
    lines = [f"{found['name']}: {found['kind']}, {len(found['classes'])} classes"]
    for split, about in found["splits"].items():
        if "problem" in about:
            lines.append(f"{split:<6} none: {about['problem']}")
            continue
        counts = ", ".join(f"{name} {count}" for name, count in about["per_class"].items())
        lines.append(f"{split:<6} {about['samples']} samples, {about['read']} read: {counts}")
        if "events" in about:
            n, length = about["events"], about["duration_us"]
            lines.append(
                f"{'':<6} {n['min']} to {n['max']} events (median {n['median']}),"
                f" {length['min'] / 1e3:.1f} to {length['max'] / 1e3:.1f} ms, {about['damaged']} damaged"
            )
    for file, right in found["files"].items():
        lines.append(f"{file}: {'its checksum is the published one' if right else 'another checksum than published'}")
    return lines
