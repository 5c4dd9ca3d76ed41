"""Fig. S5: samples against what one channel of the first layer lets through, step by step."""

from __future__ import annotations

from plif_train.figures.draw import Drawing, panels, show
from plif_train.figures.subject import FigureModel
from runtime.show.png import input_picture

SAMPLES = 3


def draw(subject: FigureModel) -> Drawing:
    activity, c = subject.activity, subject.chosen[0]
    T, n = activity.steps, min(SAMPLES, len(activity.names))
    figure, axes = panels(2 * n, T, 1.4 + 0.62 * T, 0.4 + 0.66 * 2 * n)
    rows = []
    for i in range(n):
        for t in range(T):
            spikes, first = activity.spikes[t, i, c], t == 0
            title = "" if i else str(t)
            show(axes[2 * i, t], input_picture(activity.x[t, i]), title, activity.names[i] if first else "")
            show(axes[2 * i + 1, t], spikes, left=f"channel {c}" if first else "")
            rows.append({"sample": i, "class": activity.names[i], "t": t, "channel": c,
                         "input": float(activity.x[t, i].sum()), "spikes": int(spikes.sum())})  # fmt: skip
    return Drawing(figure, rows, f"Samples and the spikes of channel {c} of {activity.layer} (Fig. S5){subject.whose}")
