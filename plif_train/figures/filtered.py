"""Fig. S5: samples against what one channel of the first layer lets through, step by step."""

from __future__ import annotations

from plif_train.figures.draw import RATES, Drawing, bare, input_picture, plt
from plif_train.figures.subject import Subject

SAMPLES = 3


def draw(subject: Subject) -> Drawing:
    activity, c = subject.activity, subject.chosen[0]
    T, n = activity.steps, min(SAMPLES, len(activity.names))
    figure, axes = plt.subplots(
        2 * n, T, figsize=(1.4 + 0.62 * T, 0.4 + 0.66 * 2 * n), layout="constrained", squeeze=False
    )
    rows = []
    for i in range(n):
        for t in range(T):
            spikes = activity.spikes[t, i, c]
            axes[2 * i, t].imshow(input_picture(activity.x[t, i]))
            bare(axes[2 * i, t], str(t) if i == 0 else "", activity.names[i] if t == 0 else "")
            axes[2 * i + 1, t].imshow(spikes, cmap=RATES, vmin=0, vmax=1)
            bare(axes[2 * i + 1, t], "", f"channel {c}" if t == 0 else "")
            rows.append({"sample": i, "class": activity.names[i], "t": t, "channel": c,
                         "input": float(activity.x[t, i].sum()), "spikes": int(spikes.sum())})  # fmt: skip
    return Drawing(figure, rows, f"Samples and the spikes of channel {c} of {activity.layer} (Fig. S5){subject.whose}")
