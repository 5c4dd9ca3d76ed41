"""The recipe key that names the frozen layers."""

from __future__ import annotations

from plif_train.core.keys import TRAINING, key


class FixedKeys:
    # fmt: off
    fixed: str | None = key(TRAINING, None, "layers that stay as they are, by name: conv1,conv2")
    # fmt: on
