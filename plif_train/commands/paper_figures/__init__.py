"""The command `plif paper figures`: the figures of the paper and its supplement, from trained models.

    draw        shared by all: files, the picture of an input
    activity    the spikes of the first layer on chosen samples, and the choice of channels
    one file a figure, entered in FIGURES

Numbers of the paper and of its authors' logs come from plif_train/commands/paper_rows; they are drawn behind a run
only if its conditions are theirs.

To add one: write NAME.py with a function draw(subject) -> Drawing that raises MissingData if the subject lacks data
that it needs, and enter it here.

In Python: subject.open_subject, draw_figure, draw.save_drawing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from plif_train.commands.paper_figures.options import FigureOptions, SubjectOptions
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.grammar import parse_list
from runtime.core.base.options import Argument
from runtime.core.base.text import say
from runtime.core.cli.output import Output, print_json

if TYPE_CHECKING:
    from plif_train.commands.paper_figures.draw import Drawing
    from plif_train.commands.paper_figures.subject import FigureModel

FIGURES: dict[str, str] = {  # name -> module
    "course": "course",
    "ablation": "ablation",
    "tau": "tau",
    "fig-s1": "weights",
    "fig-s2": "channel_rates",
    "fig-s3": "all_channels",
    "fig-s4": "step_by_step",
    "fig-s5": "filtered",
    "encoders": "encoders",
}
SAMPLE_FIGURES = ("fig-s2", "fig-s3", "fig-s4", "fig-s5")  # figures that run the network on --data
TABLES = ("table-s2",)


def draw_figure(name: str, subject: FigureModel) -> Drawing:
    """Draw one figure of the PLIF paper, given its name in FIGURES (such as fig-s2)."""
    return import_module(f"plif_train.commands.paper_figures.{FIGURES[name]}").draw(subject)


def command(
    model: Annotated[Path, Argument("model.pt, a folder of training runs, or an exported model.onnx")],
    subject_options: SubjectOptions,
    options: FigureOptions,
    output: Output,
) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra("plif paper figures", "train") from None
    from plif_train.commands.paper_figures.draw import MissingData, save_drawing, write_report
    from plif_train.commands.paper_figures.subject import open_subject
    from plif_train.commands.paper_figures.table_s2 import format_table_s2, make_table_s2

    only, out, as_json = options.only, options.out, output.as_json
    names = [*FIGURES, *TABLES] if only is None else list(parse_list("--only", only))
    if unknown := [name for name in names if name not in (*FIGURES, *TABLES)]:
        raise PlifError(f"figure '{unknown[0]}' is not known, expected some of {', '.join((*FIGURES, *TABLES))}")
    subject = open_subject(model, **vars(subject_options))
    for note in subject.notes:
        say(note, err=True)
    if set(names) & set(SAMPLE_FIGURES):
        subject.check()  # before anything is drawn
    tell = (lambda *lines: None) if as_json else say  # JSON stands alone on stdout
    report: dict[str, Any] = {"figures": {}, "skipped": {}}
    drawn: dict[str, Drawing] = {}
    table: list[str] = []
    for name in names:  # all of them before the first file is written
        try:
            if name in TABLES:
                report["table_s2"] = make_table_s2(subject.trained_runs)
                table = format_table_s2(report["table_s2"])
            else:
                drawn[name] = draw_figure(name, subject)
        except MissingData as error:
            if only is not None:
                raise
            report["skipped"][name] = str(error)
            say(f"{name}: left out: {error}", err=True)
    pages: list[tuple[Path, str]] = []
    for name, drawing in drawn.items():
        paths = save_drawing(drawing, out, name)
        report["figures"][name] = [str(path) for path in paths]
        pages.append((paths[0], drawing.caption))
        tell(f"{paths[0]}: {drawing.caption}")
    tell(*table)
    if pages and only is None:
        write_report(out / "report.html", f"plif paper figures {model.name}", pages, "\n".join(table))
        report["report"] = str(out / "report.html")
        tell(f"{out / 'report.html'}: all of it on one page")
    if as_json:
        print_json(report, compact=True)
