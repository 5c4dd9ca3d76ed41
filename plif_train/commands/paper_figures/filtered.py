"""The figure S5: samples against the spikes of one channel of the first layer, step by step."""

from __future__ import annotations

from plif_train.commands.paper_figures.draw import Drawing, create_panels, select_steps, show_image
from plif_train.commands.paper_figures.subject import FigureModel
from runtime.observers.evaluation_report.png import draw_input

SAMPLES = 3


def draw(subject: FigureModel) -> Drawing:
    activity, c = subject.activity, subject.shown_channels[0]
    T, n = activity.steps, min(SAMPLES, len(activity.names))
    columns = select_steps(T)
    figure, axes = create_panels(2 * n, len(columns), 1.4 + 0.62 * len(columns), 0.4 + 0.66 * 2 * n)
    rows = [
        {"sample": i, "class": activity.names[i], "t": t, "channel": c, "input": float(activity.x[t, i].sum()),
         "spikes": int(activity.spikes[t, i, c].sum())}
        for i in range(n) for t in range(T)
    ]  # fmt: skip
    for i in range(n):
        for column, t in enumerate(columns):
            first = t == 0
            title = "" if i else str(t)
            show_image(axes[2 * i, column], draw_input(activity.x[t, i]), title, activity.names[i] if first else "")
            show_image(axes[2 * i + 1, column], activity.spikes[t, i, c], left=f"channel {c}" if first else "")
    return Drawing(
        figure, rows, f"Samples and the spikes of channel {c} of {activity.layer} (Fig. S5){subject.caption_end}"
    )
