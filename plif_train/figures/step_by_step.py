"""Fig. S4: one sample step by step: the input, the spikes of chosen channels, and both averaged so far."""

from __future__ import annotations

from plif_train.figures.draw import Drawing, panels, show
from plif_train.figures.subject import FigureModel
from runtime.show.png import input_picture


def draw(subject: FigureModel) -> Drawing:
    activity, channels = subject.activity, subject.chosen[:2]
    T = activity.steps
    down = 2 + 2 * len(channels)
    figure, axes = panels(down, T, 1.4 + 0.62 * T, 0.4 + 0.66 * down)
    rows = []
    for t in range(T):
        first = t == 0
        show(axes[0, t], input_picture(activity.x[t, 0]), f"t = {t}" if first else str(t), "input" if first else "")
        show(axes[1, t], input_picture(activity.x[: t + 1, 0].mean(0)), left="mean input" if first else "")
        for place, c in enumerate(channels):
            spikes, rate = activity.spikes[t, 0, c], activity.spikes[: t + 1, 0, c].mean(0)
            show(axes[2 + 2 * place, t], spikes, left=f"channel {c}: spikes" if first else "")
            show(axes[3 + 2 * place, t], rate, left="rate so far" if first else "")
            rows.append({"t": t, "channel": c, "mean_input": float(activity.x[: t + 1, 0].mean()),
                         "spikes": int(spikes.sum()), "mean_rate": float(rate.mean())})  # fmt: skip
    figure.suptitle(activity.names[0], fontsize=9)
    caption = f"Input and spikes of channels {channels} of {activity.layer}, step by step (Fig. S4){subject.whose}"
    return Drawing(figure, rows, caption)
