"""The figure S4: one sample step by step, as input, spikes of chosen channels, and averages so far."""

from __future__ import annotations

from plif_train.commands.paper_figures.draw import Drawing, create_panels, select_steps, show_image
from plif_train.commands.paper_figures.subject import FigureModel
from runtime.observers.evaluation_report.png import draw_input


def draw(subject: FigureModel) -> Drawing:
    activity, channels = subject.activity, subject.shown_channels[:2]
    T = activity.steps
    down = 2 + 2 * len(channels)
    columns = select_steps(T)
    figure, axes = create_panels(down, len(columns), 1.4 + 0.62 * len(columns), 0.4 + 0.66 * down)
    rows = [
        {"t": t, "channel": c, "mean_input": float(activity.x[: t + 1, 0].mean()),
         "spikes": int(activity.spikes[t, 0, c].sum()), "mean_rate": float(activity.spikes[: t + 1, 0, c].mean())}
        for t in range(T) for c in channels
    ]  # fmt: skip
    for column, t in enumerate(columns):
        first = t == 0
        show_image(
            axes[0, column], draw_input(activity.x[t, 0]), f"t = {t}" if first else str(t), "input" if first else ""
        )
        show_image(axes[1, column], draw_input(activity.x[: t + 1, 0].mean(0)), left="mean input" if first else "")
        for place, c in enumerate(channels):
            spikes, rate = activity.spikes[t, 0, c], activity.spikes[: t + 1, 0, c].mean(0)
            show_image(axes[2 + 2 * place, column], spikes, left=f"channel {c}: spikes" if first else "")
            show_image(axes[3 + 2 * place, column], rate, left="rate so far" if first else "")
    figure.suptitle(activity.names[0], fontsize=9)
    caption = (
        f"Input and spikes of channels {channels} of {activity.layer}, step by step (Fig. S4){subject.caption_end}"
    )
    return Drawing(figure, rows, caption)
