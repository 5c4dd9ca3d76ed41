"""Fig. S2: firing rates F_Ts(c) of chosen channels of the first layer, one sample of each class."""

from __future__ import annotations

from plif_train.figures.draw import RATES, Drawing, bare, input_picture, plt, top_of
from plif_train.figures.subject import Subject


def draw(subject: Subject) -> Drawing:
    activity, channels = subject.activity, subject.chosen
    rates, n = activity.rates, len(activity.names)
    figure, axes = plt.subplots(
        1 + len(channels), n, figsize=(1.6 + 0.95 * n, 0.4 + 1.05 * (1 + len(channels))),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    top = top_of(rates[:, list(channels)])
    rows = []
    for i, name in enumerate(activity.names):
        axes[0, i].imshow(input_picture(activity.x[:, i].mean(0)))
        bare(axes[0, i], name, "" if i else "mean input")
        for place, c in enumerate(channels, 1):
            image = axes[place, i].imshow(rates[i, c], cmap=RATES, vmin=0, vmax=top)
            bare(axes[place, i], "", "" if i else f"channel {c}")
            rows.append({"sample": i, "class": name, "channel": c, "mean_rate": float(rates[i, c].mean()),
                         "max_rate": float(rates[i, c].max())})  # fmt: skip
    bar = figure.colorbar(image, ax=axes[1:, :], shrink=0.8, pad=0.01)
    bar.set_label(f"firing rate, {activity.steps} steps", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return Drawing(figure, rows, f"Firing rates of channels {channels} of {activity.layer} (Fig. S2){subject.whose}")
