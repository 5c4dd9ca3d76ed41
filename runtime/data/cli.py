"""`plif data`: lists data sets, checks one, makes a simulated N-MNIST.

In Python: runtime.data.check.list_datasets, check_dataset; runtime.data.simulate_nmnist.simulate_nmnist.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.errors import PlifError
from runtime.progress import Progress

SIMULATED = "nmnist-sim"


def register(app: typer.Typer) -> None:
    """Adds `data` to the `plif` command. NumPy is imported when it runs."""
    app.command("data")(data)


def data(
    name: Annotated[
        str | None, typer.Argument(help=f"A set to check, or {SIMULATED} to make one; the list when not given.")
    ] = None,
    root: Annotated[str | None, typer.Option(help="The folder of the set to check.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Check only the first so many samples of a split.")] = None,
    source: Annotated[str | None, typer.Option("--from", help=f"{SIMULATED}: the images, mnist:DIR.")] = None,
    out: Annotated[Path | None, typer.Option(help=f"{SIMULATED}: the folder to write.")] = None,
    train: Annotated[int, typer.Option(min=0, help=f"{SIMULATED}: recordings for Train.")] = 20_000,
    test: Annotated[int, typer.Option(min=0, help=f"{SIMULATED}: recordings for Test.")] = 2_000,
    skip_train: Annotated[int, typer.Option(min=0, help=f"{SIMULATED}: leave out the first images.")] = 0,
    skip_test: Annotated[int, typer.Option(min=0, help=f"{SIMULATED}: leave out the first images.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help=f"{SIMULATED}: of everything random.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help=f"{SIMULATED}: processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Lists the data sets, says where one comes from, checks it, or makes a simulated N-MNIST (continues where it stopped)."""
    from runtime.cli import print_json

    if name == SIMULATED:
        if source is None or out is None:
            raise PlifError(f"plif data {SIMULATED}: expected --from mnist:DIR --out DIR")
        made = _simulate(source, out, train, test, seed, workers, skip_train, skip_test)
        if as_json:
            print_json(made)
        else:
            typer.echo(f"{made['path']}: {train} + {test} simulated recordings, {made['seconds']:.0f} s")
            typer.echo(f"use it as --data nmnist:{made['path']}")
        return
    if source is not None or out is not None:
        raise PlifError(f"plif data {name or ''}: --from and --out belong to plif data {SIMULATED}")
    if name is None:
        from runtime.data.check import list_datasets

        rows = list_datasets()
        if as_json:
            print_json(rows)
        else:
            typer.echo("\n".join(_row_lines(rows)))
        return
    if root is None and ":" not in name and _needs_folder(name):
        from runtime.data.check import list_datasets

        row = next(row for row in list_datasets() if row["name"] == name)
        if as_json:
            print_json(row)
        else:
            typer.echo("\n".join(_where_lines(row)))
        return
    found = _check(name, root, limit)
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(_check_lines(found)))


def _simulate(
    source: str, out: Path, train: int, test: int, seed: int, workers: int, skip_train: int, skip_test: int
) -> dict[str, Any]:
    from runtime.data.simulate_nmnist import simulate_nmnist

    kind, _, folder = source.partition(":")
    if kind != "mnist" or not folder:
        raise PlifError(f"--from {source}: expected mnist:DIR")
    began = time.perf_counter()
    with Progress("simulating") as progress:
        note = simulate_nmnist(
            folder, out, train, test, seed, workers, progress.update, skip_train=skip_train, skip_test=skip_test
        )
    seconds = round(time.perf_counter() - began, 3)
    return {"path": str(out), "seconds": seconds, **{key: note[key] for key in ("train", "test", "seed")}}


def _check(name: str, root: str | None, limit: int | None) -> dict[str, Any]:
    from runtime.data.check import check_dataset

    if name.partition(":")[2] and root is not None:
        raise PlifError(f"plif data {name} --root {root}: the folder is given twice, expected it once")
    with Progress("reading") as progress:
        return check_dataset(name if root is None else f"{name}:{root}", limit, progress.update)


def _needs_folder(name: str) -> bool:
    from runtime.data import DATASETS

    return name in DATASETS and "[" not in DATASETS[name].about.spec


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
    return [*lines, f"{SIMULATED:<20} plif data {SIMULATED} --from mnist:DIR --out DIR makes a simulated N-MNIST"]


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
