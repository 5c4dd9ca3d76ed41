"""`plif paper figures`: the figures of the paper and its supplement, from one's own models.

    draw        what all share: files, the picture of an input
    activity    the spikes of the first layer on chosen samples, and the choice of channels
    one file a figure, entered in FIGURES

Numbers of the paper and of its authors' logs come from plif_train/commands/paper_rows; they are drawn behind a run only where its
conditions are theirs.

To add one: write NAME.py with a function draw(subject) -> Drawing that raises MissingPart where the subject lacks what it
needs, and enter it here.

In Python: subject.open_subject, draw_figure, draw.save.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from plif_train.commands.paper_figures.options import FigureOptions, SubjectOptions
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.grammar import read_list
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
OF_SAMPLES = ("fig-s2", "fig-s3", "fig-s4", "fig-s5")  # they run the network on --data
TABLES = ("table-s2",)


def draw_figure(name: str, subject: FigureModel) -> Drawing:
    """One figure."""
    return import_module(f"plif_train.commands.paper_figures.{FIGURES[name]}").draw(subject)


def command(
    model: Annotated[Path, Argument("model.pt, a folder of training runs, or an exported model.onnx")],
    shown: SubjectOptions,
    how: FigureOptions,
    output: Output,
) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra("plif paper figures", "train") from None
    from plif_train.commands.paper_figures.draw import MissingPart, save, write_report
    from plif_train.commands.paper_figures.subject import open_subject
    from plif_train.commands.paper_figures.table_s2 import lines_of, table_s2

    only, out, as_json = how.only, how.out, output.as_json
    names = [*FIGURES, *TABLES] if only is None else list(read_list("--only", only))
    if unknown := [name for name in names if name not in (*FIGURES, *TABLES)]:
        raise PlifError(f"figure '{unknown[0]}' is not known, expected some of {', '.join((*FIGURES, *TABLES))}")
    subject = open_subject(model, **vars(shown))
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
    pages: list[tuple[Path, str]] = []
    for name, drawing in drawn.items():
        paths = save(drawing, out, name)
        result["figures"][name] = [str(path) for path in paths]
        pages.append((paths[0], drawing.caption))
        tell(f"{paths[0]}: {drawing.caption}")
    tell(*table)
    if pages and only is None:
        write_report(out / "report.html", f"plif paper figures {model.name}", pages, "\n".join(table))
        result["report"] = str(out / "report.html")
        tell(f"{out / 'report.html'}: all of it on one page")
    if as_json:
        print_json(result, compact=True)
