"""The figures of the paper and its supplement, from one's own models: `plif paper figures`.

    draw        what all share: files, the picture of an input
    activity    the spikes of the first layer on chosen samples, and the choice of channels
    one file a figure, entered in FIGURES

Numbers of the paper and of its authors' logs come from plif_train/paper; they are drawn behind a run only where its
conditions are theirs.

To add one: write NAME.py with a function draw(subject) -> Drawing that raises MissingPart where the subject lacks what it
needs, and enter it here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plif_train.figures.draw import Drawing
    from plif_train.figures.subject import FigureModel

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
    return import_module(f"plif_train.figures.{FIGURES[name]}").draw(subject)
