"""The recipe key of quantisation-aware training."""

from __future__ import annotations

from plif_train.core.keys import TRAINING, key


class RoundedKeys:
    # fmt: off
    weights: str | None = key(
        TRAINING, None, "round those that meet spikes, as --precision of an export does", ("int8", "int4", "ternary"))
    # fmt: on
