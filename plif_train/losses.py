"""Losses of a network's output y [T, B, classes], which lies in 0..1, for labels [B].

    rate-mse   mean over B, classes of (1/T sum_t y_t - one_hot)^2           the authors' code
    step-mse   mean over T, B, classes of (y_t - one_hot)^2                  the paper's text, section 3.7
    ce         cross-entropy of the firing rates 1/T sum_t y_t
    tet        mean over T of (1 - l) CE(y_t) + l mean (y_t - phi)^2         Deng et al. 2022, l = 0.05, phi = v_th = 1

To add one, write it and enter it in LOSSES.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

TET_LAMBDA, TET_PHI = 0.05, 1.0


def rate_mse(y: Tensor, labels: Tensor) -> Tensor:
    """y [T, B, classes], labels [B], int64 -> a number."""
    rate = y.mean(0)
    return F.mse_loss(rate, F.one_hot(labels, rate.shape[1]).to(rate))


def step_mse(y: Tensor, labels: Tensor) -> Tensor:
    """y [T, B, classes], labels [B], int64 -> a number."""
    return F.mse_loss(y, F.one_hot(labels, y.shape[2]).to(y).expand_as(y))


def ce(y: Tensor, labels: Tensor) -> Tensor:
    """y [T, B, classes], labels [B], int64 -> a number."""
    return F.cross_entropy(y.mean(0), labels)


def tet(y: Tensor, labels: Tensor) -> Tensor:
    """y [T, B, classes], labels [B], int64 -> a number."""
    each = F.cross_entropy(y.flatten(0, 1), labels.repeat(len(y)))  # the mean over T of the means over B
    return (1 - TET_LAMBDA) * each + TET_LAMBDA * F.mse_loss(y, torch.full_like(y, TET_PHI))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rate-mse": rate_mse,
    "step-mse": step_mse,
    "ce": ce,
    "tet": tet,
}
