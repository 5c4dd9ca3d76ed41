"""`plif paper`: a table or figure of the paper, its exact command, and where a training stands beside the authors'.

    conditions   what decides a training's accuracy: two runs stand side by side only where all of it is equal
    logs         accuracy and tau of every epoch of the authors' 49 runs
    rows         every table and figure, with the command that reproduces it
    standing     a training beside the authors' at the same epoch: inside the spread or not

In Python: rows.find_rows, standing.standing_of.

W. Fang et al., Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks, ICCV 2021.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from plif_train.core.recipe import KEYS
from runtime.core.base.errors import Interrupted, PlifError
from runtime.core.base.options import Argument, OptionRecord, option
from runtime.core.base.text import say
from runtime.core.cli.output import Output, print_json

if TYPE_CHECKING:
    from plif_train.commands.paper_rows.rows import Row
    from plif_train.commands.paper_rows.standing import Standing


class PaperOptions(OptionRecord):
    """Which rows, and how one is trained now."""

    list_: bool = option("Every table and figure, its data, and what has been run.", "--list", default=False)
    data: str | None = option("NAME:DIR: train it now (one that was begun goes on), or draw it.", default=None)
    epochs: int = option("For a beginning; the authors trained 1024.", default=1024, least=1)
    out: Path = option("A folder for the trainings.", default=Path("runs"))
    precision: str = option(
        "fp32 (the authors'), bf16 or fp16.", default="fp32", choices=KEYS["precision"].metadata["choices"]
    )
    overwrite: bool = option("With --data: begin again.", default=False)


def command(
    row: Annotated[str | None, Argument("Such as table-s2:fashion-mnist:A, table-4:lif-16, fig-s2.")] = None,
    *,
    how: PaperOptions,
    output: Output,
) -> None:
    from plif_train.commands.paper_rows.rows import find_rows, rows

    data, out, as_json = how.data, how.out, output.as_json
    if how.list_ and (row is not None or data is not None):
        raise PlifError("--list: stands alone, without a row and --data")
    if how.overwrite and data is None:
        raise PlifError("--overwrite: begins a training again; expected --data NAME:DIR beside it")
    if row is None:
        if data is not None:
            raise PlifError(f"--data {data}: expected a row to train before it, such as table-s2:fashion-mnist:A")
        _list([*rows().values()], out, as_json)
        return
    found = find_rows(row, data.partition(":")[0] if data else None)
    if data is not None:
        if len(found) > 1:
            raise PlifError(f"row '{row}': fits {', '.join(one.name for one in found)}; --data trains one")
        if found[0].log is None:
            _draw(found[0], data, how, as_json)
            return
        _train(found[0], data, how)
    records = [_record(one, how) for one in found]
    if as_json:
        print_json(records if len(records) > 1 else records[0])
        return
    for record in records:
        _tell(record)


def _train(row: Row, data: str, how: PaperOptions) -> None:
    import typer

    from plif_train.hooks.kept_epochs.resume import resume_path
    from runtime.core.base.files import make_folder
    from runtime.core.cli.main import invoke

    out, overwrite = how.out, how.overwrite
    new = not out.exists()
    make_folder(out)
    words = row.arguments(data, str(out), how.epochs, how.precision)
    kept = resume_path(out / row.file)
    if overwrite or kept.exists():
        words.append("--overwrite" if overwrite else "--resume")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            code = invoke(words)
        if code:
            raise typer.Exit(code)
    except Interrupted:
        goes_on = f"{kept} holds how far it came; the same command goes on{' without --overwrite' * overwrite}"
        raise Interrupted(goes_on if kept.exists() else "nothing was written") from None
    finally:
        if new:
            with contextlib.suppress(OSError):  # it holds what a training left
                out.rmdir()


def _draw(row: Row, data: str, how: PaperOptions, as_json: bool) -> None:
    """Draws a figure of the trained network of its data set: of the folder of trainings, else of model.pt."""
    import typer

    from plif_train.commands.paper_rows.rows import find_rows
    from runtime.core.cli.main import invoke

    words = row.arguments(data, str(how.out))
    if row.shows is None:
        raise PlifError(f"row '{row.name}': is of no data; type: {shlex.join(['plif', *words])}")
    (trained,) = find_rows(f"table-s2:{row.shows}:A")
    places = (how.out / trained.file, Path("model.pt"))
    model = next((path for path in places if path.exists()), None)
    if model is None:
        raise PlifError(
            f"row '{row.name}': is drawn of a trained network, found neither {places[0]} nor model.pt; train one: "
            + shlex.join(["plif", "paper", trained.name, "--data", data])
        )
    words[words.index("model.pt")] = str(model)
    if code := invoke([*words, *["--json"] * as_json]):
        raise typer.Exit(code)


def _record(row: Row, how: PaperOptions) -> dict[str, Any]:
    """What is known of a row: command, published accuracy, the authors at these epochs, our training where there is one."""
    out = how.out
    command = shlex.join(["plif", *row.arguments(how.data, str(out), how.epochs, how.precision)])
    record: dict[str, Any] = {
        "row": row.name, "what": row.what, "dataset": row.dataset, "command": command,
        "published": row.published, "log": row.log, "standing": None,
    }  # fmt: skip
    if row.log is not None:
        import numpy as np

        from plif_train.commands.paper_rows.logs import authors_runs

        if not out.exists():
            record["command"] = f"mkdir -p {shlex.quote(str(out))} && {command}"
        run = authors_runs()[row.log]
        record["judged"] = row.conditions.judged
        record["authors_best"] = float(np.nanmax(run.judged[run.epoch <= how.epochs]))
        standing, note = _standing(row, out)
        record["standing"] = standing.as_json() if standing else None
        record["lines"] = standing.lines() if standing else [note or "not trained here yet: --data NAME:DIR trains it"]
    return record


def _standing(row: Row, out: Path) -> tuple[Standing | None, str]:
    """Where the training of a row stands, and why nowhere: "" where it was not trained."""
    from plif_train.commands.paper_rows.conditions import checked_record
    from plif_train.commands.paper_rows.logs import authors_runs
    from plif_train.commands.paper_rows.standing import standing_of
    from plif_train.hooks.kept_epochs.log import epochs_path, read_of
    from runtime.core.model.card import read_card

    path = out / row.file
    if row.log is None or not path.exists():
        return None, ""
    try:
        card = read_card(path)  # first: a training that runs writes the log before it
        epochs = read_of(path, checked_record(card, path))
        found = standing_of(card, epochs, authors_runs()[row.log], path)
    except PlifError as error:
        return None, f"not compared: {error}"
    if not epochs:
        return None, f"not compared: {path} is trained, but its log {epochs_path(path).name} is not beside it"
    return found, "" if found else f"not compared: {epochs_path(path)} has no epoch that the authors' log has"


def _tell(record: dict[str, Any]) -> None:
    say(f"{record['row']}: {record['what']}")
    say(f"  {record['command']}")
    if record["log"] is None:
        return
    accuracy = "in no table" if record["published"] is None else f"published {100 * record['published']:.2f} %"
    say(
        f"  {accuracy}; the authors' best {record['judged']} accuracy in these epochs {100 * record['authors_best']:.2f} %"
    )
    for line in record["lines"]:
        say(f"  {line}")


def _list(rows: list[Row], out: Path, as_json: bool) -> None:
    found = [(row, *_standing(row, out)) for row in rows]
    if as_json:
        print_json([
            {
                "row": row.name, "what": row.what, "dataset": row.dataset, "published": row.published,
                "standing": standing.as_json() if standing else None, **({"note": note} if note else {}),
            }
            for row, standing, note in found
        ])  # fmt: skip
        return
    for row, standing, note in found:
        published = "" if row.published is None else f"{100 * row.published:.2f} %"
        state = f"{standing.ours}, {standing.verdict}" if standing else note
        say(f"{row.name:<50} {published:>8}  {row.what:<70} {state}".rstrip())
