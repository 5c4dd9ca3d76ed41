"""The recipe key for the share of slow neurons."""

from __future__ import annotations

from plif_train.core.keys import TRAINING, key


class SlowKeys:
    # fmt: off
    slow: float | None = key(
        TRAINING, None, "share of neurons before the readout that remember for 200 ms at least (tau=channel)", least=0, most=1)
    # fmt: on
