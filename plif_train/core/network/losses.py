"""Losses of a network's output y [T, B, classes], in 0..1, against labels [B].

The losses of BY_STEP also take labels [T, B].

    rate-mse   mean over B, classes of (1/T sum_t y_t - one_hot)^2           the authors' code

A part supplies the other losses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from runtime.core.parts import load_from_parts

IGNORE_LABEL = -2  # the label of a step without a target: any answer is right
BY_STEP = ("step-mse", "step-ce")  # each step may have a label


def rate_mse(y: Tensor, labels: Tensor) -> Tensor:
    """Return the mean squared error between firing rates and labels [B]; rates are the mean of y [T, B, classes]."""
    rate = y.mean(0)
    return F.mse_loss(rate, F.one_hot(labels, rate.shape[1]).to(rate))


def count_correct(y: Tensor, labels: Tensor) -> tuple[int, int]:
    """Count (correct answers, labelled samples) for outputs y [T, B, classes] and labels [B] or [T, B].

    Only steps with a class count.
    """
    if labels.dim() == 1:
        return int((y.mean(0).argmax(1) == labels).sum()), len(labels)
    label = labels.max(0).values
    answer = (y * (labels >= 0).unsqueeze(2)).sum(0).argmax(1)
    return int(((answer == label) & (label >= 0)).sum()), int((label >= 0).sum())


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rate-mse": rate_mse,
    **(load_from_parts("hooks", "other_losses_of_a_training") or {}),
}
