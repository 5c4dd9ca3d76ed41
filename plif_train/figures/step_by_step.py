"""Fig. S4: one sample step by step: the input, the spikes of chosen channels, and both averaged so far."""

from __future__ import annotations

from plif_train.figures.draw import RATES, Drawing, bare, input_picture, plt
from plif_train.figures.subject import Subject


def draw(subject: Subject) -> Drawing:
    activity, channels = subject.activity, subject.chosen[:2]
    T = activity.steps
    across, down = T, 2 + 2 * len(channels)
    figure, axes = plt.subplots(
        down, across, figsize=(1.4 + 0.62 * across, 0.4 + 0.66 * down), layout="constrained", squeeze=False
    )
    rows = []
    for t in range(T):
        first = t == 0
        axes[0, t].imshow(input_picture(activity.x[t, 0]))
        bare(axes[0, t], f"t = {t}" if first else str(t), "input" if first else "")
        axes[1, t].imshow(input_picture(activity.x[: t + 1, 0].mean(0)))
        bare(axes[1, t], "", "mean input" if first else "")
        for place, c in enumerate(channels):
            spikes, rate = activity.spikes[t, 0, c], activity.spikes[: t + 1, 0, c].mean(0)
            axes[2 + 2 * place, t].imshow(spikes, cmap=RATES, vmin=0, vmax=1)
            bare(axes[2 + 2 * place, t], "", f"channel {c}: spikes" if first else "")
            axes[3 + 2 * place, t].imshow(rate, cmap=RATES, vmin=0, vmax=1)
            bare(axes[3 + 2 * place, t], "", "rate so far" if first else "")
            rows.append({"t": t, "channel": c, "mean_input": float(activity.x[: t + 1, 0].mean()),
                         "spikes": int(spikes.sum()), "mean_rate": float(rate.mean())})  # fmt: skip
    figure.suptitle(activity.names[0], fontsize=9)
    return Drawing(
        figure,
        rows,
        f"Input and spikes of channels {channels} of {activity.layer}, step by step (Fig. S4){subject.whose}",
    )
