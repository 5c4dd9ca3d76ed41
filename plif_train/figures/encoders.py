"""Section 10 of the supplement: what three encoders make of a pixel p."""

from __future__ import annotations

import torch

from plif_train.figures.draw import AMBER, BLUE, GREY, Drawing, finish_lines, panels
from plif_train.figures.subject import FigureModel
from plif_train.network.encoders import latency, learnable, poisson

T = 20


def draw(subject: FigureModel) -> Drawing:
    del subject  # the same for every model
    p = torch.linspace(0.0, 1.0, 201, dtype=torch.float64)
    spikes = {
        "Poisson": poisson(p, T, torch.Generator().manual_seed(0)),
        "latency": latency(p, T),
        "learnable, w = V_th = 1": learnable(p, T),
    }
    colours = dict(zip(spikes, (GREY, AMBER, BLUE), strict=True))
    figure, ((counts, first),) = panels(1, 2, 9, 3.6)
    counts.plot(p, T * p, color=GREY, lw=1, ls=":", label="p T")
    rows = []
    for name, s in spikes.items():
        style = {"ls": "", "marker": ".", "ms": 4} if name == "Poisson" else {"lw": 1.6, "drawstyle": "steps-mid"}
        total = s.sum(0)
        at = torch.where(total > 0, s.argmax(0).double(), torch.nan)
        counts.plot(p, total, color=colours[name], label=name, **style)
        first.plot(p, at, color=colours[name], **style)
        columns = (p.tolist(), total.tolist(), at.tolist())
        rows += [
            {"encoder": name, "p": round(value, 4), "spikes": int(fired), "first": "" if t != t else int(t)}
            for value, fired, t in zip(*columns, strict=True)
        ]
    counts.legend(fontsize=8, frameon=False)
    finish_lines(counts, "intensity p", f"spikes in {T} steps", whole="y")
    finish_lines(first, "intensity p", "step of the first spike (from 0)", whole="y")
    return Drawing(figure, rows, "Three encoders of a pixel (supplement, section 10)")
