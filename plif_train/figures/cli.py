"""`plif figures`: reads options, draws, prints what was written.

In Python: plif_train.figures.subject.open_subject, plif_train.figures.draw_figure, plif_train.figures.draw.save.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.base.errors import MissingExtra, PlifError
from runtime.base.text import say
from runtime.cli.output import print_json

if TYPE_CHECKING:
    from plif_train.figures.draw import Drawing


def figures(
    model: Annotated[Path, typer.Argument(help="model.pt, a folder of training runs, or an exported model.onnx")],
    data: Annotated[str | None, typer.Option(help="samples: NAME:DIR, or one recording")] = None,
    out: Annotated[Path, typer.Option(help="folder for NAME.png, NAME.svg, NAME.csv and report.html")] = Path(
        "figures"
    ),
    only: Annotated[str | None, typer.Option(help="some of them, e.g. tau,fig-s2; table-s2 is printed")] = None,
    channels: Annotated[str | None, typer.Option(help="of the first layer, e.g. 45,75,76; default: chosen")] = None,
    samples: Annotated[int, typer.Option(min=1, max=40, help="how many samples, of each class in turn")] = 10,
    steps: Annotated[int | None, typer.Option(min=1, help="T_s: time-steps that count; default: all")] = None,
    only_class: Annotated[str | None, typer.Option("--class", help="samples of these classes only: c1,c2")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document on stdout")] = False,
) -> None:
    """Draw the paper's figures of a model, and print its Table S2 for a folder of runs."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra("plif figures", "train") from None
    from plif_train.figures import FIGURES, OF_SAMPLES, TABLES, draw_figure
    from plif_train.figures.draw import MissingPart, save
    from plif_train.figures.report import write_report
    from plif_train.figures.subject import open_subject
    from plif_train.figures.table_s2 import lines_of, table_s2

    names = [*FIGURES, *TABLES] if only is None else [name.strip() for name in only.split(",")]
    if unknown := [name for name in names if name not in (*FIGURES, *TABLES)]:
        raise PlifError(f"figure '{unknown[0]}' is not known, expected some of {', '.join((*FIGURES, *TABLES))}")
    subject = open_subject(
        model, data=data, samples=samples, channels=_numbers(channels), steps=steps, only_class=only_class
    )
    for note in subject.notes:
        say(note, err=True)
    if set(names) & set(OF_SAMPLES):
        subject.check()  # before anything is drawn
    tell = (lambda *lines: None) if as_json else say  # JSON stands alone on stdout
    result: dict[str, Any] = {"figures": {}, "skipped": {}}
    drawn: dict[str, Drawing] = {}
    table: list[str] = []
    for name in names:  # all of them before the first file is written
        try:
            if name in TABLES:
                result["table_s2"] = table_s2(subject.trained)
                table = lines_of(result["table_s2"])
            else:
                drawn[name] = draw_figure(name, subject)
        except MissingPart as error:
            if only is not None:
                raise
            result["skipped"][name] = str(error)
            say(f"{name}: left out: {error}", err=True)
    shown: list[tuple[Path, str]] = []
    for name, drawing in drawn.items():
        paths = save(drawing, out, name)
        result["figures"][name] = [str(path) for path in paths]
        shown.append((paths[0], drawing.caption))
        tell(f"{paths[0]}: {drawing.caption}")
    tell(*table)
    if shown and only is None:
        write_report(out / "report.html", f"plif figures {model.name}", shown, "\n".join(table))
        result["report"] = str(out / "report.html")
        tell(f"{out / 'report.html'}: all of it on one page")
    if as_json:
        print_json(result, compact=True)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise PlifError(f"--channels {text}: expected numbers, as in 45,75,76")
    return tuple(int(part) for part in text.split(","))
