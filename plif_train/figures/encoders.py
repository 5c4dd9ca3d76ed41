"""Section 10 of the supplement: what three encoders make of a pixel p."""

from __future__ import annotations

import torch

from plif_train.encoders import latency, learnable, poisson
from plif_train.figures.draw import AMBER, BLUE, GREY, Drawing, plain, plt
from plif_train.figures.subject import Subject

T = 20


def draw(subject: Subject) -> Drawing:
    del subject  # the same for every model
    p = torch.linspace(0.0, 1.0, 201, dtype=torch.float64)
    spikes = {
        "Poisson": poisson(p, T, torch.Generator().manual_seed(0)),
        "latency": latency(p, T),
        "learnable, w = V_th = 1": learnable(p, T),
    }
    colours = dict(zip(spikes, (GREY, AMBER, BLUE), strict=True))
    figure, (counts, first) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    counts.plot(p, T * p, color=GREY, lw=1, ls=":", label="p T")
    rows = []
    for name, s in spikes.items():
        style = {"ls": "", "marker": ".", "ms": 4} if name == "Poisson" else {"lw": 1.6, "drawstyle": "steps-mid"}
        total = s.sum(0)
        at = torch.where(total > 0, s.argmax(0).double(), torch.nan)
        counts.plot(p, total, color=colours[name], label=name, **style)
        first.plot(p, at, color=colours[name], **style)
        rows += [
            {
                "encoder": name,
                "p": round(float(p[i]), 4),
                "spikes": int(total[i]),
                "first": "" if at[i] != at[i] else int(at[i]),
            }
            for i in range(len(p))
        ]
    counts.set_ylabel(f"spikes in {T} steps")
    counts.legend(fontsize=8, frameon=False)
    first.set_ylabel("step of the first spike (from 0)")
    for axes in (counts, first):
        axes.set_xlabel("intensity p")
        axes.yaxis.get_major_locator().set_params(integer=True)
        plain(axes)
    return Drawing(figure, rows, "Three encoders of a pixel (supplement, section 10)")
