"""Numbers of the paper and of the authors' logs, to compare with. Fractions; tau in time-steps."""

from __future__ import annotations

# Table S2 of the supplement: test accuracy without a validation set (protocol A) and with 15 % held back (B).
TABLE_S2 = {
    "mnist": (0.9972, 0.9963),
    "fashion-mnist": (0.9438, 0.9385),
    "cifar10": (0.9350, 0.9258),
    "nmnist": (0.9961, 0.9957),
    "cifar10-dvs": (0.7480, 0.6900),
    "dvs128-gesture": (0.9757, 0.9653),
}

# Test accuracy at these epochs in the authors' logs (protocol A, PLIF, tau_0 = 2).
EPOCHS = (1, 5, 10, 20, 64)
CURVES = {
    "mnist": (0.982, 0.987, 0.991, 0.992, 0.995),
    "fashion-mnist": (0.890, 0.917, 0.927, 0.934, 0.938),
    "cifar10": (0.508, 0.738, 0.815, 0.871, 0.914),
    "nmnist": (0.983, 0.991, 0.993, 0.994, 0.995),
    "cifar10-dvs": (0.405, 0.610, 0.647, 0.691, 0.698),
    "dvs128-gesture": (0.580, 0.701, 0.754, 0.865, 0.938),
}
