"""Further losses of a network's output y [T, B, classes], in 0..1, against labels [B].

The losses of BY_STEP also take labels [T, B].

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

from plif_train.core.network.losses import IGNORE_LABEL

TET_LAMBDA, TET_PHI = 0.05, 1.0
SHARPNESS, NO_VOTE = 10.0, 0.3  # of step-ce; a class with 0.3 of its votes is as likely as none


def step_mse(y: Tensor, labels: Tensor) -> Tensor:
    """Return the squared error of the outputs y [T, B, classes] in each step against the labels, averaged.

    With labels [T, B] each step has a label. The target of IDLE is no vote; IGNORE_LABEL steps add 0. The sum is
    divided by T B classes, so that parts of a batch add up to the batch.
    """
    if labels.dim() == 1:
        return F.mse_loss(y, F.one_hot(labels, y.shape[2]).to(y).expand_as(y))
    target = F.one_hot(labels.clamp(min=0), y.shape[2]).to(y) * (labels >= 0).unsqueeze(2)
    mask = (labels != IGNORE_LABEL).to(y).unsqueeze(2)
    return ((y - target) ** 2 * mask).mean()


def step_cross_entropy(y: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the outputs y [T, B, classes] in each step and the labels, averaged.

    Labels are those of step_mse; IDLE is the class of no vote.
    """
    if labels.dim() == 1:
        labels = labels.expand(len(y), -1)
    # labels % (classes + 1): IDLE, -1, is the last class
    z = SHARPNESS * torch.cat([y, torch.full_like(y[..., :1], NO_VOTE)], 2)
    losses = F.cross_entropy(z.flatten(0, 1), labels.flatten() % z.shape[2], reduction="none").view(labels.shape)
    return (losses * (labels != IGNORE_LABEL)).mean()


def rate_cross_entropy(y: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of firing rates (y [T, B, classes] averaged over T) and labels [B], int64."""
    return F.cross_entropy(y.mean(0), labels)


def tet_loss(y: Tensor, labels: Tensor) -> Tensor:
    """Return the TET loss (temporal efficient training, Deng et al. 2022) of y [T, B, classes] for labels [B]."""
    entropy = F.cross_entropy(y.flatten(0, 1), labels.repeat(len(y)))  # the mean over T of the means over B
    return (1 - TET_LAMBDA) * entropy + TET_LAMBDA * F.mse_loss(y, torch.full_like(y, TET_PHI))


LOSSES = {"step-mse": step_mse, "step-ce": step_cross_entropy, "ce": rate_cross_entropy, "tet": tet_loss}
