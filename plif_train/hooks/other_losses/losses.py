"""Losses of a network's output y [T, B, classes], which lies in 0..1, for labels [B]; those of BY_STEP also for labels [T, B].

    step-mse   mean over T, B, classes of (y_t - one_hot)^2                  the paper's text, section 3.7
    step-ce    mean over T, B of CE(10 [y_t, 0.3])                           the last class is no vote at all
    ce         cross-entropy of the firing rates 1/T sum_t y_t
    tet        mean over T of (1 - l) CE(y_t) + l mean (y_t - phi)^2         Deng et al. 2022, l = 0.05, phi = v_th = 1

To add one, write it and enter it in LOSSES.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from plif_train.core.network.losses import UNASKED

TET_LAMBDA, TET_PHI = 0.05, 1.0
SHARPNESS, NO_VOTE = 10.0, 0.3  # of step-ce; a class with 0.3 of its votes is as likely as none


def step_mse(y: Tensor, labels: Tensor) -> Tensor:
    """y [T, B, classes], labels [B], or [T, B] where each step has its own (IDLE's target is no vote,
    UNASKED steps add nothing), int64 -> a number. Divided by T B classes, so that parts of a batch add up to the whole."""
    if labels.dim() == 1:
        return F.mse_loss(y, F.one_hot(labels, y.shape[2]).to(y).expand_as(y))
    target = F.one_hot(labels.clamp(min=0), y.shape[2]).to(y) * (labels >= 0).unsqueeze(2)
    asked = (labels != UNASKED).to(y).unsqueeze(2)
    return ((y - target) ** 2 * asked).mean()


def step_ce(y: Tensor, labels: Tensor) -> Tensor:
    """y [T, B, classes], labels as of step_mse, where IDLE is the class of no vote -> a number."""
    if labels.dim() == 1:
        labels = labels.expand(len(y), -1)
    # labels % (classes + 1): IDLE, -1, is the last class
    z = SHARPNESS * torch.cat([y, torch.full_like(y[..., :1], NO_VOTE)], 2)
    each = F.cross_entropy(z.flatten(0, 1), labels.flatten() % z.shape[2], reduction="none").view(labels.shape)
    return (each * (labels != UNASKED)).mean()


def ce(y: Tensor, labels: Tensor) -> Tensor:
    """y [T, B, classes], labels [B], int64 -> a number."""
    return F.cross_entropy(y.mean(0), labels)


def tet(y: Tensor, labels: Tensor) -> Tensor:
    """y [T, B, classes], labels [B], int64 -> a number."""
    each = F.cross_entropy(y.flatten(0, 1), labels.repeat(len(y)))  # the mean over T of the means over B
    return (1 - TET_LAMBDA) * each + TET_LAMBDA * F.mse_loss(y, torch.full_like(y, TET_PHI))


LOSSES = {"step-mse": step_mse, "step-ce": step_ce, "ce": ce, "tet": tet}
