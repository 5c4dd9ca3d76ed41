"""The command `plif paper`: a table or figure of the paper, its exact command, and a comparison with the authors.

    conditions    everything that decides a training's accuracy: two runs are compared only if all of it is equal
    logs          accuracy and tau of every epoch of the authors' 49 runs
    rows          every table and figure, with the command that reproduces it
    standing      a training next to the authors' at the same epoch: inside the spread or not

In Python: rows.find_rows, standing.compare_with_authors.

W. Fang et al., Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks, ICCV
2021.
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
    from plif_train.commands.paper_rows.rows import PublishedResult
    from plif_train.commands.paper_rows.standing import AuthorsComparison


class PaperOptions(OptionRecord):
    """Options of the command `plif paper`: which published results to list, and how to train one now."""

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
    options: PaperOptions,
    output: Output,
) -> None:
    from plif_train.commands.paper_rows.rows import find_rows, list_rows

    data, out, as_json = options.data, options.out, output.as_json
    if options.list_ and (row is not None or data is not None):
        raise PlifError("--list: stands alone, without a row and --data")
    if options.overwrite and data is None:
        raise PlifError("--overwrite: begins a training again; expected --data NAME:DIR beside it")
    if row is None:
        if data is not None:
            raise PlifError(f"--data {data}: expected a row to train before it, such as table-s2:fashion-mnist:A")
        _print_rows([*list_rows().values()], out, as_json)
        return
    matches = find_rows(row, data.partition(":")[0] if data else None)
    if data is not None:
        if len(matches) > 1:
            raise PlifError(f"row '{row}': fits {', '.join(match.name for match in matches)}; --data trains one")
        if matches[0].log is None:
            _draw_figure(matches[0], data, options, as_json)
            return
        _train_row(matches[0], data, options)
    records = [_describe_row(match, options) for match in matches]
    if as_json:
        print_json(records if len(records) > 1 else records[0])
        return
    for record in records:
        _print_record(record)


def _train_row(row: PublishedResult, data: str, options: PaperOptions) -> None:
    import typer

    from plif_train.hooks.kept_epochs.resume import resume_path
    from runtime.core.base.files import make_folder
    from runtime.core.cli.main import invoke

    out, overwrite = options.out, options.overwrite
    new = not out.exists()
    make_folder(out)
    words = row.arguments(data, str(out), options.epochs, options.precision)
    resume_file = resume_path(out / row.file)
    if overwrite or resume_file.exists():
        words.append("--overwrite" if overwrite else "--resume")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            code = invoke(words)
        if code:
            raise typer.Exit(code)
    except Interrupted:
        hint = f"{resume_file} holds how far it came; the same command goes on{' without --overwrite' * overwrite}"
        raise Interrupted(hint if resume_file.exists() else "nothing was written") from None
    finally:
        if new:
            with contextlib.suppress(OSError):  # not empty after a training
                out.rmdir()


def _draw_figure(row: PublishedResult, data: str, options: PaperOptions, as_json: bool) -> None:
    """Draw a figure of the PLIF paper with the trained network of the figure's data set.

    The network is that of the folder of trainings, else model.pt.
    """
    import typer

    from plif_train.commands.paper_rows.rows import find_rows
    from runtime.core.cli.main import invoke

    words = row.arguments(data, str(options.out))
    if row.shows is None:
        raise PlifError(f"row '{row.name}': is of no data; type: {shlex.join(['plif', *words])}")
    (trained,) = find_rows(f"table-s2:{row.shows}:A")
    places = (options.out / trained.file, Path("model.pt"))
    model = next((path for path in places if path.exists()), None)
    if model is None:
        raise PlifError(
            f"row '{row.name}': is drawn of a trained network, found neither {places[0]} nor model.pt; train one: "
            + shlex.join(["plif", "paper", trained.name, "--data", data])
        )
    words[words.index("model.pt")] = str(model)
    if code := invoke([*words, *["--json"] * as_json]):
        raise typer.Exit(code)


def _describe_row(row: PublishedResult, options: PaperOptions) -> dict[str, Any]:
    """Describe a result in the PLIF paper: our command, published accuracy, best accuracy in its authors' log.

    Includes a comparison with our training, if there is one.
    """
    out = options.out
    command = shlex.join(["plif", *row.arguments(options.data, str(out), options.epochs, options.precision)])
    record: dict[str, Any] = {
        "row": row.name, "what": row.title, "dataset": row.dataset, "command": command,
        "published": row.published, "log": row.log, "standing": None,
    }  # fmt: skip
    if row.log is not None:
        import numpy as np

        from plif_train.commands.paper_rows.logs import load_authors_runs

        if not out.exists():
            record["command"] = f"mkdir -p {shlex.quote(str(out))} && {command}"
        run = load_authors_runs()[row.log]
        record["judged"] = row.conditions.judged
        record["authors_best"] = float(np.nanmax(run.judged[run.epoch <= options.epochs]))
        comparison, note = _compare_row(row, out)
        record["standing"] = comparison.as_json() if comparison else None
        record["lines"] = (
            comparison.lines() if comparison else [note or "not trained here yet: --data NAME:DIR trains it"]
        )
    return record


def _compare_row(row: PublishedResult, out: Path) -> tuple[AuthorsComparison | None, str]:
    """Compare our training of a published result with the PLIF paper's authors' run; return (comparison, why None).

    The reason is "" if the row was not trained.
    """
    from plif_train.commands.paper_rows.conditions import check_record
    from plif_train.commands.paper_rows.logs import load_authors_runs
    from plif_train.commands.paper_rows.standing import compare_with_authors
    from plif_train.hooks.kept_epochs.log import epochs_path, read_model_log
    from runtime.core.model.card import read_card

    path = out / row.file
    if row.log is None or not path.exists():
        return None, ""
    try:
        card = read_card(path)  # first: a training in progress writes the log before it
        epochs = read_model_log(path, check_record(card, path))
        comparison = compare_with_authors(card, epochs, load_authors_runs()[row.log], path)
    except PlifError as error:
        return None, f"not compared: {error}"
    if not epochs:
        return None, f"not compared: {path} is trained, but its log {epochs_path(path).name} is not beside it"
    return comparison, "" if comparison else f"not compared: {epochs_path(path)} has no epoch that the authors' log has"


def _print_record(record: dict[str, Any]) -> None:
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


def _print_rows(rows: list[PublishedResult], out: Path, as_json: bool) -> None:
    entries = [(row, *_compare_row(row, out)) for row in rows]
    if as_json:
        print_json([
            {
                "row": row.name, "what": row.title, "dataset": row.dataset, "published": row.published,
                "standing": comparison.as_json() if comparison else None, **({"note": note} if note else {}),
            }
            for row, comparison, note in entries
        ])  # fmt: skip
        return
    for row, comparison, note in entries:
        published = "" if row.published is None else f"{100 * row.published:.2f} %"
        state = f"{comparison.our_result}, {comparison.verdict}" if comparison else note
        say(f"{row.name:<50} {published:>8}  {row.title:<70} {state}".rstrip())
