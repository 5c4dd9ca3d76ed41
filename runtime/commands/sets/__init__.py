"""`plif data`: list data sets, check a data set, or simulate one.

A part of datasets that simulates a set has MAKER in its maker.py. The Python calls are check.list_datasets and
check_dataset.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from runtime.core.base.declared import LimitOptions
from runtime.core.base.errors import PlifError
from runtime.core.base.options import Argument, OptionRecord, PartOptions, option
from runtime.core.base.progress import Progress
from runtime.core.cli.output import Output
from runtime.core.parts import Part, find_parts, index_by_name

Row = dict[str, Any]


class FolderOptions(OptionRecord):
    """The command-line options that name the folders of a data set."""

    root: str | None = option("The folder of the set to check.", default=None)
    out: Path | None = option("To make one: the folder to write.", default=None)


def _find_makers() -> dict[str, Part]:
    """Return the plug-in parts that simulate a data set, {name: part}."""
    return index_by_name({name: part for name, part in find_parts("datasets").items() if part.options})


def command(
    name: Annotated[
        str | None,
        Argument(f"A set to check, or {', '.join(_find_makers()) or 'none'} to make one; the list when not given."),
    ] = None,
    *,
    folders: FolderOptions,
    limits: LimitOptions,
    makers: Annotated[dict[str, OptionRecord], PartOptions("datasets")],
    output: Output,
) -> None:
    from runtime.commands.sets.check import check_dataset, list_datasets
    from runtime.core.data import find_dataset

    out, root, part = folders.out, folders.root, _find_makers().get(name or "")
    options = {} if part is None else makers[part.name].changed_flags()
    foreign = [flag for record in makers.values() for flag in record.changed_flags() if flag not in options]
    if part is None and (foreign or out is not None):
        flags = ", ".join(dict.fromkeys([*foreign, "--out"][: None if out else -1]))
        raise PlifError(f"plif data {name or ''}: {flags}: for plif data {', '.join(_find_makers())} alone")
    if part is not None:
        summary = _simulate(part, str(name), out, vars(makers[part.name]), foreign)
        output.show(summary, lambda: _summary_lines(part, summary))
    elif name is None:
        output.show(list_datasets(), lambda: [*_row_lines(list_datasets()), *_maker_lines()])
    elif root is None and (entry := find_dataset(name)) is not None and "[" not in entry.about.spec:  # needs a folder
        row = next(row for row in list_datasets() if row["name"] == name)
        output.show(row, lambda: _download_lines(row))
    else:
        if ":" in name and root is not None:
            raise PlifError(f"plif data {name} --root {root}: the folder is given twice, expected it once")
        with Progress("reading") as progress:
            report = check_dataset(name if root is None else f"{name}:{root}", **vars(limits), progress=progress.update)
        output.show(report, lambda: _check_lines(report))


def _simulate(part: Part, name: str, out: Path | None, options: dict[str, Any], foreign: list[str]) -> Row:
    """Simulate a data set with a plug-in part, and write it into the folder `out`.

    foreign: options that the user gave and that do not belong to this maker.
    """
    maker = part.load("maker:MAKER")
    if out is None or foreign or (maker.needs is not None and options[maker.needs[0]] is None):
        raise PlifError(f"plif data {name}: expected {maker.needed}--out DIR")
    began = time.perf_counter()
    with Progress("simulating") as progress:
        note = part.load(maker.make)(out, **options, progress=progress.update)
    seconds = round(time.perf_counter() - began, 3)
    keys = ("motions", "train", "test", "seed")
    return {"path": str(out), "seconds": seconds, **{key: note[key] for key in keys if key in note}}


def _summary_lines(part: Part, summary: Row) -> list[str]:
    maker = part.load("maker:MAKER")
    lines = [f"{summary['path']}: {maker.describe(summary)}, {summary['seconds']:.0f} s"]
    return [*lines, f"use it as --data {maker.read}:{summary['path']}"]


def _maker_lines() -> Iterator[str]:
    for name, part in _find_makers().items():
        maker = part.load("maker:MAKER")
        yield f"{name:<20} plif data {name} {maker.needed}--out DIR makes {maker.about}"


def _download_lines(row: Row) -> list[str]:
    """Return lines of text that say where to download a data set, and which command comes next."""
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


def _check_lines(report: Row) -> list[str]:
    lines = [f"{report['name']}: {report['kind']}, {len(report['classes'])} classes"]
    for split, counted in report["splits"].items():
        if "problem" in counted:
            lines.append(f"{split:<6} none: {counted['problem']}")
            continue
        counts = ", ".join(f"{name} {count}" for name, count in counted["per_class"].items())
        lines.append(f"{split:<6} {counted['samples']} samples, {counted['read']} read: {counts}")
        if "events" in counted:
            n, length = counted["events"], counted["duration_us"]
            lines.append(
                f"{'':<6} {n['min']} to {n['max']} events (median {n['median']}),"
                f" {length['min'] / 1e3:.1f} to {length['max'] / 1e3:.1f} ms, {counted['damaged']} damaged"
            )
    for file, matches in report["files"].items():
        lines.append(f"{file}: {'its checksum is the published one' if matches else 'another checksum than published'}")
    return lines
