"""`plif reproduce`: a table or figure of the paper, its exact command, and where a training stands beside the authors'.

In Python: plif_train.paper.rows.find_rows, plif_train.paper.standing.standing_of.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.base.errors import PlifError
from runtime.base.text import say
from runtime.cli.output import print_json

if TYPE_CHECKING:
    from plif_train.paper.rows import Row


def reproduce(
    row: Annotated[str | None, typer.Argument(help="such as table-s2:fashion-mnist:A, table-4:lif-16, fig-s2")] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="every table and figure, its data, and what has been run")
    ] = False,
    data: Annotated[str | None, typer.Option(help="NAME:DIR: train it now; a training that was begun goes on")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="for a beginning; the authors trained 1024")] = 1024,
    out: Annotated[Path, typer.Option(help="folder of the trainings")] = Path("runs"),
    precision: Annotated[str, typer.Option(help="fp32 (the authors'), bf16 or fp16")] = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document on stdout")] = False,
) -> None:
    """Reproduce a table or figure of the paper: its command, and where a training stands."""
    from plif_train.paper.rows import find_rows, rows

    if list_ or row is None:
        if row is not None or data is not None:
            raise PlifError("--list: stands alone, without a row and --data")
        _list([*rows().values()], out, as_json)
        return
    found = find_rows(row, data.partition(":")[0] if data else None)
    if data is not None:
        if len(found) > 1:
            raise PlifError(f"row '{row}': fits {', '.join(one.name for one in found)}; --data trains one")
        if found[0].log is None:
            raise PlifError(f"row '{row}': is drawn, not trained; type: {found[0].command}")
        _train(found[0], data, out, epochs, precision)
    records = [_record(one, data, out, epochs, precision) for one in found]
    if as_json:
        print_json(records if len(records) > 1 else records[0])
        return
    for record in records:
        _tell(record)


def _train(row: Row, data: str, out: Path, epochs: int, precision: str) -> None:
    from plif_train.resume import resume_path
    from runtime.base.files import make_folder
    from runtime.cli.main import run

    new = not out.exists()
    make_folder(out)
    words = row.arguments(data, str(out), epochs, precision)
    if resume_path(out / row.file).exists():
        words.append("--resume")
    with contextlib.redirect_stdout(sys.stderr):
        code = run(words)
    if code:
        if new:
            with contextlib.suppress(OSError):  # it holds what a training left
                out.rmdir()
        raise typer.Exit(code)


def _record(row: Row, data: str | None, out: Path, epochs: int, precision: str) -> dict[str, Any]:
    """What is known of a row: command, published accuracy, the authors at these epochs, our training where there is one."""
    words = row.arguments(data, str(out), epochs, precision)
    record: dict[str, Any] = {
        "row": row.name, "what": row.what, "dataset": row.dataset, "command": shlex.join(["plif", *words]),
        "published": row.published, "log": row.log, "standing": None,
    }  # fmt: skip
    if row.log is not None:
        from plif_train.paper.logs import authors_runs

        run = authors_runs()[row.log]
        seen = run.judged[run.epoch <= epochs]
        record["judged"] = "validation" if row.conditions.protocol == "B" else "test"
        record["authors_best"] = float(seen.max()) if len(seen) else None
        standing = _standing(row, out)
        record["standing"] = standing.as_json() if standing else None
        record["lines"] = standing.lines() if standing else []
    return record


def _standing(row: Row, out: Path) -> Any:
    from plif_train.log import epochs_path, read
    from plif_train.paper.logs import authors_runs
    from plif_train.paper.standing import standing_of
    from runtime.model.card import read_card

    path = out / row.file
    if not path.exists():
        return None
    return standing_of(read_card(path), read(epochs_path(path)), authors_runs()[str(row.log)])


def _tell(record: dict[str, Any]) -> None:
    say(f"{record['row']}: {record['what']}")
    say(f"  {record['command']}")
    if record["log"] is None:
        return
    accuracy = "in no table" if record["published"] is None else f"published {100 * record['published']:.2f} %"
    say(
        f"  {accuracy}; the authors' best {record['judged']} accuracy in these epochs {100 * record['authors_best']:.2f} %"
    )
    for line in record["lines"] or ["not trained here yet: --data NAME:DIR trains it"]:
        say(f"  {line}")


def _list(rows: list[Row], out: Path, as_json: bool) -> None:
    found: list[dict[str, Any]] = []
    for row in rows:
        standing = _standing(row, out) if row.log else None
        found.append({
            "row": row.name, "what": row.what, "dataset": row.dataset, "published": row.published,
            "standing": standing.as_json() if standing else None,
        })  # fmt: skip
    if as_json:
        print_json(found)
        return
    for one in found:
        published = "" if one["published"] is None else f"{100 * one['published']:.2f} %"
        here = one["standing"]
        state = f"epoch {here['epoch']}: {100 * here['accuracy']:.2f} %" if here else ""
        say(f"{one['row']:<34} {published:>8}  {one['what']:<60}{state}".rstrip())
