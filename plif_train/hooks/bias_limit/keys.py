"""The recipe key that limits biases."""

from __future__ import annotations

from plif_train.core.keys import TRAINING, key


class BiasLimitKeys:
    # fmt: off
    bias_limit: float | None = key(TRAINING, None, "keep folded biases at or below it (0.95): no spikes in silence", above=0)
    # fmt: on
