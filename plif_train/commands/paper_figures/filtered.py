"""Fig. S5: samples against what one channel of the first layer lets through, step by step."""

from __future__ import annotations

from plif_train.commands.paper_figures.draw import Drawing, panels, show, some_steps
from plif_train.commands.paper_figures.subject import FigureModel
from runtime.observers.evaluation_report.png import input_picture

SAMPLES = 3


def draw(subject: FigureModel) -> Drawing:
    activity, c = subject.activity, subject.chosen[0]
    T, n = activity.steps, min(SAMPLES, len(activity.names))
    columns = some_steps(T)
    figure, axes = panels(2 * n, len(columns), 1.4 + 0.62 * len(columns), 0.4 + 0.66 * 2 * n)
    rows = [
        {"sample": i, "class": activity.names[i], "t": t, "channel": c, "input": float(activity.x[t, i].sum()),
         "spikes": int(activity.spikes[t, i, c].sum())}
        for i in range(n) for t in range(T)
    ]  # fmt: skip
    for i in range(n):
        for column, t in enumerate(columns):
            first = t == 0
            title = "" if i else str(t)
            show(axes[2 * i, column], input_picture(activity.x[t, i]), title, activity.names[i] if first else "")
            show(axes[2 * i + 1, column], activity.spikes[t, i, c], left=f"channel {c}" if first else "")
    return Drawing(figure, rows, f"Samples and the spikes of channel {c} of {activity.layer} (Fig. S5){subject.whose}")
