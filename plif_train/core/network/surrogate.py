"""Surrogate gradients: the value of ds/dh in backward, as a function of u = h - v_threshold.

    atan        a/2 / (1 + (pi/2 a u)^2)            a = 2   Fang et al. 2021, the paper's
    sigmoid     a y (1 - y), y = 1 / (1 + e^-au)    a = 4   Zenke & Ganguli 2018, Neftci et al. 2019; SpikingJelly
    piecewise   max(0, a - a^2 |u|)                 a = 1   Esser et al. 2016, Bellec et al. 2018: triangle, 0 past 1/a

Forward is the step function for every choice here, so a trained network does not depend on it any more. The functions
work in place, because a layer's potential is the largest tensor of a training step. To add one, write it and enter it
in SURROGATES.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

WIDTHS = {"atan": 2.0, "sigmoid": 4.0, "piecewise": 1.0}  # a; not alpha, which is 1/tau


def _atan(u: Tensor, a: float) -> Tensor:
    g = u.mul_(math.pi / 2 * a).square_().add_(1).reciprocal_()
    return g if a == 2 else g.mul_(a / 2)


def _sigmoid(u: Tensor, a: float) -> Tensor:
    y = u.mul_(a).sigmoid_()
    return y.mul_(1 - y).mul_(a)


def _piecewise(u: Tensor, a: float) -> Tensor:
    return u.abs_().mul_(-a * a).add_(a).clamp_min_(0)


SURROGATES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "atan": _atan,
    "sigmoid": _sigmoid,
    "piecewise": _piecewise,
}


def surrogate_slope_(name: str, u: Tensor) -> Tensor:
    """Replace u = h - v_threshold [...] in place by the surrogate gradient ds/dh, and return it."""
    return SURROGATES[name](u, WIDTHS[name])
