"""The figure S2: firing rates F_Ts(c) of chosen channels of the first layer, one sample of each class."""

from __future__ import annotations

from plif_train.commands.paper_figures.draw import Drawing, colour_limit, create_panels, show_image
from plif_train.commands.paper_figures.subject import FigureModel
from runtime.observers.evaluation_report.png import draw_input


def draw(subject: FigureModel) -> Drawing:
    activity, channels = subject.activity, subject.shown_channels
    rates, n = activity.rates, len(activity.names)
    down = 1 + len(channels)
    figure, axes = create_panels(down, n, 1.6 + 0.95 * n, 0.4 + 1.05 * down)
    top = colour_limit(rates[:, list(channels)])
    rows = []
    for i, name in enumerate(activity.names):
        show_image(axes[0, i], draw_input(activity.x[:, i].mean(0)), name, "" if i else "mean input")
        for place, c in enumerate(channels, 1):
            image = show_image(axes[place, i], rates[i, c], left="" if i else f"channel {c}", top=top)
            rows.append({"sample": i, "class": name, "channel": c, "mean_rate": float(rates[i, c].mean()),
                         "max_rate": float(rates[i, c].max())})  # fmt: skip
    bar = figure.colorbar(image, ax=axes[1:, :], shrink=0.8, pad=0.01)
    bar.set_label(f"firing rate, {activity.steps} steps", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return Drawing(
        figure, rows, f"Firing rates of channels {channels} of {activity.layer} (Fig. S2){subject.caption_end}"
    )
