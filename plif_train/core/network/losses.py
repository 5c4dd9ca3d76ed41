"""Losses of a network's output y [T, B, classes], which lies in 0..1, for labels [B]; those of BY_STEP also for labels [T, B].

    rate-mse   mean over B, classes of (1/T sum_t y_t - one_hot)^2           the authors' code

The others are a part's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from runtime.core.parts import given_by_parts

UNASKED = -2
BY_STEP = ("step-mse", "step-ce")  # steps may have labels of their own


def rate_mse(y: Tensor, labels: Tensor) -> Tensor:
    """y [T, B, classes], labels [B], int64 -> a number."""
    rate = y.mean(0)
    return F.mse_loss(rate, F.one_hot(labels, rate.shape[1]).to(rate))


def count_right(y: Tensor, labels: Tensor) -> tuple[int, int]:
    """(right answers, samples that have a class) of y [T, B, classes] for labels [B] or [T, B], over the steps with a class."""
    if labels.dim() == 1:
        return int((y.mean(0).argmax(1) == labels).sum()), len(labels)
    label = labels.max(0).values
    answer = (y * (labels >= 0).unsqueeze(2)).sum(0).argmax(1)
    return int(((answer == label) & (label >= 0)).sum()), int((label >= 0).sum())


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rate-mse": rate_mse,
    **(given_by_parts("hooks", "other_losses_of_a_training") or {}),
}
