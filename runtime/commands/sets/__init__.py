"""`plif data`: lists data sets, checks one, makes a simulated one by the parts of data sets that can (MAKER in their maker.py).

In Python: check.list_datasets, check_dataset.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from runtime.core.base.declared import LimitOptions
from runtime.core.base.errors import PlifError
from runtime.core.base.options import Argument, OfParts, OptionRecord, option
from runtime.core.base.progress import Progress
from runtime.core.cli.output import Output
from runtime.core.parts import Part, by_name, find_parts

Row = dict[str, Any]


class Places(OptionRecord):
    """The folders of a set."""

    root: str | None = option("The folder of the set to check.", default=None)
    out: Path | None = option("To make one: the folder to write.", default=None)


def _makers() -> dict[str, Part]:
    """{name: the part that makes a simulated set of it}"""
    return by_name({name: part for name, part in find_parts("datasets").items() if part.options})


def command(
    name: Annotated[
        str | None,
        Argument(f"A set to check, or {', '.join(_makers()) or 'none'} to make one; the list when not given."),
    ] = None,
    *,
    places: Places,
    some: LimitOptions,
    makers: Annotated[dict[str, OptionRecord], OfParts("datasets")],
    output: Output,
) -> None:
    from runtime.commands.sets.check import check_dataset, list_datasets
    from runtime.core.data import find_set

    out, root, part = places.out, places.root, _makers().get(name or "")
    own = {} if part is None else makers[part.name].given()
    others = [flag for how in makers.values() for flag in how.given() if flag not in own]
    if part is None and (others or out is not None):
        flags = ", ".join(dict.fromkeys([*others, "--out"][: None if out else -1]))
        raise PlifError(f"plif data {name or ''}: {flags}: for plif data {', '.join(_makers())} alone")
    if part is not None:
        made = _make(part, str(name), out, vars(makers[part.name]), others)
        output.show(made, lambda: _made_lines(part, made))
    elif name is None:
        output.show(list_datasets(), lambda: [*_row_lines(list_datasets()), *_maker_lines()])
    elif root is None and (found := find_set(name)) is not None and "[" not in found.about.spec:  # needs a folder
        row = next(row for row in list_datasets() if row["name"] == name)
        output.show(row, lambda: _where_lines(row))
    else:
        if ":" in name and root is not None:
            raise PlifError(f"plif data {name} --root {root}: the folder is given twice, expected it once")
        with Progress("reading") as progress:
            report = check_dataset(name if root is None else f"{name}:{root}", **vars(some), progress=progress.update)
        output.show(report, lambda: _check_lines(report))


def _make(part: Part, name: str, out: Path | None, options: dict[str, Any], others: list[str]) -> Row:
    """Writes the set into the folder `out`; others: options that were given and are not the maker's."""
    maker = part.load("maker:MAKER")
    if out is None or others or (maker.needs is not None and options[maker.needs[0]] is None):
        raise PlifError(f"plif data {name}: expected {maker.needed}--out DIR")
    began = time.perf_counter()
    with Progress("simulating") as progress:
        note = part.load(maker.make)(out, **options, progress=progress.update)
    seconds = round(time.perf_counter() - began, 3)
    known = ("motions", "train", "test", "seed")
    return {"path": str(out), "seconds": seconds, **{key: note[key] for key in known if key in note}}


def _made_lines(part: Part, made: Row) -> list[str]:
    maker = part.load("maker:MAKER")
    lines = [f"{made['path']}: {maker.made(made)}, {made['seconds']:.0f} s"]
    return [*lines, f"use it as --data {maker.read}:{made['path']}"]


def _maker_lines() -> Iterator[str]:
    for name, part in _makers().items():
        maker = part.load("maker:MAKER")
        yield f"{name:<20} plif data {name} {maker.needed}--out DIR makes {maker.about}"


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
    return lines


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
