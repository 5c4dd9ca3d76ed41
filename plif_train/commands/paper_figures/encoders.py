"""The figure `encoders`: three spike encoders of a pixel p in 0..1, to compare with a trained network.

They are section 10 of the supplement.

    poisson      fires with probability p in each step: E[sum_t S_t] = p T
    latency      fires once, at t_p = floor((T_max - 1)(1 - p)): the brighter, the earlier
    learnable    a 1x1 weight w > 0 and an IF neuron without leak (reset 0): the first conv and PLIF of the networks at
                 their simplest. V grows by w p a step, so it fires every k = ceil(V_th / (w p)) steps: floor(T / k)
                 spikes, the first in step number k (counted from 1). Close to poisson if V_th = w = 1. It is computed
                 from k: a sum of ten times 0.1 is below 1 in float64, and would fire a step late.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plif_train.commands.paper_figures.draw import AMBER, BLUE, GREY, Drawing, create_panels, finish_line_plot
from plif_train.commands.paper_figures.subject import FigureModel
from runtime.core.base.errors import PlifError

T = 20


def draw(subject: FigureModel) -> Drawing:
    del subject  # the same for every model
    p = torch.linspace(0.0, 1.0, 201, dtype=torch.float64)
    spikes = {
        "Poisson": encode_poisson(p, T, torch.Generator().manual_seed(0)),
        "latency": encode_latency(p, T),
        "learnable, w = V_th = 1": encode_learnable(p, T),
    }
    colours = dict(zip(spikes, (GREY, AMBER, BLUE), strict=True))
    figure, ((counts, first),) = create_panels(1, 2, 9, 3.6)
    counts.plot(p, T * p, color=GREY, lw=1, ls=":", label="p T")
    rows = []
    for name, s in spikes.items():
        style = {"ls": "", "marker": ".", "ms": 4} if name == "Poisson" else {"lw": 1.6, "drawstyle": "steps-mid"}
        total = s.sum(0)
        first_steps = torch.where(total > 0, s.argmax(0).double(), torch.nan)
        counts.plot(p, total, color=colours[name], label=name, **style)
        first.plot(p, first_steps, color=colours[name], **style)
        columns = (p.tolist(), total.tolist(), first_steps.tolist())
        rows += [
            {"encoder": name, "p": round(value, 4), "spikes": int(fired), "first": "" if t != t else int(t)}
            for value, fired, t in zip(*columns, strict=True)
        ]
    counts.legend(fontsize=8, frameon=False)
    finish_line_plot(counts, "intensity p", f"spikes in {T} steps", integer_axes="y")
    finish_line_plot(first, "intensity p", "step of the first spike (from 0)", integer_axes="y")
    return Drawing(figure, rows, "Three encoders of a pixel (supplement, section 10)")


def encode_poisson(p: Tensor, T: int, generator: torch.Generator | None = None) -> Tensor:
    """Encode intensities p [...] as random spikes [T, ...], 0 or 1 with probability p in each step.

    Spikes have p's type. Raises PlifError unless p lies in 0..1 and T is at least 1.
    """
    _check(p, T)
    return (torch.rand((T, *p.shape), generator=generator, dtype=p.dtype) < p).to(p.dtype)


def encode_latency(p: Tensor, T_max: int) -> Tensor:
    """Encode intensities p [...] as spikes [T_max, ...], one for each intensity: the brighter, the earlier."""
    _check(p, T_max)
    fire_steps = ((T_max - 1) * (1 - p)).floor().long()
    return torch.zeros((T_max, *p.shape), dtype=p.dtype).scatter_(0, fire_steps.unsqueeze(0), 1.0)


@torch.no_grad()
def encode_learnable(p: Tensor, T: int, w: float = 1.0, v_threshold: float = 1.0) -> Tensor:
    """Encode intensities p [...] as spikes [T, ...] by an IF neuron that adds w * p to its potential in each step."""
    _check(p, T)
    if not w > 0 or not v_threshold > 0:
        raise PlifError(f"encoder: w {w} and v_threshold {v_threshold}, expected numbers above 0")
    k = (v_threshold / (w * p)).ceil()  # infinite where p = 0: it never fires
    n = torch.arange(1, T + 1, dtype=p.dtype).reshape(-1, *[1] * p.dim())
    return (n.remainder(k) == 0).to(p.dtype)


def _check(p: Tensor, T: int) -> None:
    if T < 1:
        raise PlifError(f"encoder: T is {T}, expected at least one time-step")
    if p.numel() and not bool(((p >= 0) & (p <= 1)).all()):
        raise PlifError(f"encoder: intensities from {float(p.min()):g} to {float(p.max()):g}, expected 0 to 1")
