"""`plif data`: lists data sets, checks one, makes a simulated one: N-MNIST, DVS128 Gesture.

In Python: runtime.data.check.list_datasets, check_dataset; runtime.data.simulate_nmnist.simulate_nmnist,
runtime.data.simulate_gesture.simulate_gesture.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.base.errors import PlifError
from runtime.base.progress import Progress
from runtime.cli.output import Json, show

SIMULATED = "nmnist-sim"
GESTURES = "gesture-sim"
COUNTS = {SIMULATED: (20_000, 2_000), GESTURES: (200, 20)}  # recordings or performers for training and for testing


def data(
    name: Annotated[
        str | None,
        typer.Argument(help=f"A set to check, or {SIMULATED}, {GESTURES} to make one; the list when not given."),
    ] = None,
    root: Annotated[str | None, typer.Option(help="The folder of the set to check.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Check only the first so many samples of a split.")] = None,
    source: Annotated[str | None, typer.Option("--from", help=f"{SIMULATED}: the images, mnist:DIR.")] = None,
    out: Annotated[Path | None, typer.Option(help="To make one: the folder to write.")] = None,
    train: Annotated[
        int | None, typer.Option(min=0, help="Recordings (20000) or performers (200) for training.")
    ] = None,
    test: Annotated[
        int | None, typer.Option(min=0, help="Recordings (2000) or held-out performers (20) for testing.")
    ] = None,
    skip_train: Annotated[int, typer.Option(min=0, help=f"{SIMULATED}: leave out the first images.")] = 0,
    skip_test: Annotated[int, typer.Option(min=0, help=f"{SIMULATED}: leave out the first images.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="To make one: of everything random.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="To make one: processes.")] = 2,
    part: Annotated[
        str, typer.Option(help=f"{GESTURES}: windows, varied, faint, sessions, everyday or things.")
    ] = "windows",
    as_json: Json = False,
) -> None:
    """Lists the data sets, says where one comes from, checks it, or makes a simulated one (continues where it stopped)."""
    from runtime.data import DATASETS
    from runtime.data.check import list_datasets

    if name in COUNTS:
        if out is None or (source is None) != (name == GESTURES):
            raise PlifError(f"plif data {name}: expected {'' if name == GESTURES else '--from mnist:DIR '}--out DIR")
        usual = COUNTS[name]
        counts = (usual[0] if train is None else train, usual[1] if test is None else test)
        made = _simulate(source, out, counts, seed, workers, (skip_train, skip_test), part)
        what, use = ("simulated recordings", "nmnist") if source else ("performers, simulated", "dvs128-gesture")
        lines = [
            f"{out}: {counts[0]} + {counts[1]} {what}, {made['seconds']:.0f} s",
            f"use it as --data {use}:{out}",
        ]
        show(made, lambda _: lines, as_json)
    elif source is not None or out is not None:
        raise PlifError(f"plif data {name or ''}: --from and --out belong to plif data {' and '.join(COUNTS)}")
    elif name is None:
        show(list_datasets(), _row_lines, as_json)
    elif root is None and name in DATASETS and "[" not in DATASETS[name].about.spec:  # cannot be read without a folder
        show(next(row for row in list_datasets() if row["name"] == name), _where_lines, as_json)
    else:
        show(_check(name, root, limit), _check_lines, as_json)


def _simulate(
    source: str | None, out: Path, counts: tuple[int, int], seed: int, workers: int, skips: tuple[int, int], part: str
) -> dict[str, Any]:
    """Writes a simulated N-MNIST of the images that `source` names, or without a source a simulated DVS128 Gesture."""
    kind, _, folder = (source or "").partition(":")
    if source is not None and (kind != "mnist" or not folder):
        raise PlifError(f"--from {source}: expected mnist:DIR")
    began = time.perf_counter()
    with Progress("simulating") as progress:
        if source is None:
            from runtime.data.simulate_gesture import simulate_gesture

            note = simulate_gesture(out, *counts, seed, workers, progress.update, part)
        else:
            from runtime.data.simulate_nmnist import simulate_nmnist

            note = simulate_nmnist(
                folder, out, *counts, seed, workers, progress.update, skip_train=skips[0], skip_test=skips[1]
            )
    seconds = round(time.perf_counter() - began, 3)
    return {"path": str(out), "seconds": seconds, **{key: note[key] for key in ("train", "test", "seed")}}


def _check(name: str, root: str | None, limit: int | None) -> dict[str, Any]:
    from runtime.data.check import check_dataset

    if name.partition(":")[2] and root is not None:
        raise PlifError(f"plif data {name} --root {root}: the folder is given twice, expected it once")
    with Progress("reading") as progress:
        return check_dataset(name if root is None else f"{name}:{root}", limit, progress.update)


def _where_lines(row: dict[str, Any]) -> list[str]:
    """Where a set comes from, and what to type once it is there."""
    lines = [f"{row['name']}: {row['what']}", f"from     {row['source']}{', ' if row['size'] else ''}{row['size']}"]
    lines.append(f"licence  {row['licence']}")
    lines += [f"{file:<28} {checksum}" for file, checksum in row["checksums"].items()]
    lines += [f"option   ?{name}={'|'.join(values)}" for name, values in row["options"].items()]
    return [*lines, f"then     plif data {row['name']} --root DIR"]


def _row_lines(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        lines += [f"{row['spec']:<20} {row['kind']:<7} {row['what']}", f"{'':<20} from    {row['source']}"]
        lines += [f"{'':<20} licence {row['licence']}"]
    lines.append(f"{SIMULATED:<20} plif data {SIMULATED} --from mnist:DIR --out DIR makes a simulated N-MNIST")
    return [*lines, f"{GESTURES:<20} plif data {GESTURES} --out DIR makes a simulated DVS128 Gesture"]


def _check_lines(found: dict[str, Any]) -> list[str]:
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
