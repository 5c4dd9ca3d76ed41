"""The figure `ablation`: test accuracy of trainings that differ in neuron, tau_0 or pooling (Tables 4, 5, Fig. 6).

Our trainings are on the left, the authors' at the same epochs on the right, on one scale. A row of panels shows the
runs that are equal in everything else.
"""

from __future__ import annotations

import textwrap
from typing import Any

from plif_train.commands.paper_figures.course import COLOURS, authors_accuracy, group_runs, list_notes, read_log_column
from plif_train.commands.paper_figures.draw import (
    Drawing,
    MissingData,
    create_panels,
    finish_line_plot,
    label_line_ends,
)
from plif_train.commands.paper_figures.subject import FigureModel, TrainingRun
from plif_train.commands.paper_rows.conditions import COMPARED, make_titles

VARIED = ("neuron", "init_tau", "pool")
UNVARIED = [name for name in COMPARED if name not in VARIED]


def draw(subject: FigureModel) -> Drawing:
    runs = subject.logged_runs
    alike = [group for group in group_runs(runs, UNVARIED) if len(set(map(describe_variant, group))) > 1]
    if not alike:
        raise MissingData("an ablation needs at least two trainings that differ in neuron, tau_0 or pooling alone")
    figure, places = create_panels(len(alike), 2, 10, 3.8 * len(alike), sharey="row")
    rows, notes = [], []
    titles = make_titles([group[0].conditions for group in alike], UNVARIED)
    for title, group, (ours, theirs) in zip(titles, alike, places, strict=True):
        rows += _draw_group(group, ours, theirs, f"{title}: here" if len(alike) > 1 else "here")
        notes += list_notes(group)
    shown = [run for group in alike for run in group]
    if left_out := [run.name for run in runs if run not in shown]:
        notes.append(f"left out, as they differ in more: {', '.join(left_out)}")
    sets = ", ".join(dict.fromkeys(run.conditions.dataset for run in shown))
    return Drawing(
        figure, rows, f"Accuracy by neuron, tau_0 and pooling, {sets}" + (f" ({'; '.join(notes)})" if notes else "")
    )


def _draw_group(alike: list[TrainingRun], ours: Any, theirs: Any, title: str) -> list[dict[str, Any]]:
    variants = [describe_variant(run) for run in alike]
    rows: list[dict[str, Any]] = []
    ends: dict[int, list[tuple[float, float, str, str]]] = {0: [], 1: []}
    for i, run in enumerate(alike):
        colour, name = COLOURS[i % len(COLOURS)], variants[i]
        if variants.count(name) > 1:
            name += f" ({run.name})"
        authors = authors_accuracy(run)[run.conditions.judged == "validation"]
        lines = dict(zip(*read_log_column(run, run.conditions.judged_column), strict=True)), authors
        for place, (axes, line) in enumerate(zip((ours, theirs), lines, strict=True)):
            if line:
                axes.plot(list(line), list(line.values()), color=colour, marker="o", ms=3.5, lw=1.6)
                end = max(line)
                ends[place].append((end, line[end], f"{name}  {100 * line[end]:.2f}", colour))
        rows += [
            {
                "run": run.name,
                "dataset": run.conditions.dataset,
                "variant": name,
                "epoch": epoch,
                "accuracy": accuracy,
                "authors": authors.get(epoch, ""),
            }
            for epoch, accuracy in lines[0].items()
        ]
    finish_line_plot(ours, "epoch", "accuracy")
    finish_line_plot(theirs, "epoch", "")
    ours.set_title(textwrap.fill(title, 70), fontsize=9)
    theirs.set_title("the authors", fontsize=9)
    for place, axes in enumerate((ours, theirs)):
        label_line_ends(axes, ends[place])
    return rows


def describe_variant(run: TrainingRun) -> str:
    """Describe the network variant of a training run: "PLIF, tau_0 = 16", with the pooling if it is not max."""
    recipe = run.conditions.recipe
    words = [str(recipe.neuron), *([] if recipe.init_tau is None else [f"tau_0 = {recipe.init_tau:g}"])]
    return ", ".join(words + (["average pooling"] if recipe.pool == "AP" else []))
