"""How a key of a recipe is declared: as a field of Recipe (recipe.py), or of a part in plif_train/hooks, which has its own."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any

NETWORK, TRAINING, DATA = "the network", "the training", "the data"  # the groups of keys, in the order of the fields


def key(
    group: str,
    default: Any,
    help: str,
    choices: tuple[str, ...] = (),
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    split: str = ",",
    flag: bool = False,
    free: bool = False,
) -> Any:
    """choices, least, above, most: what a value may be; split: what stands between several in a text; flag: `plif train` has an
    option of this name, in place of --set; free: a continued training may have another value."""
    return field(default=default, metadata={
        "group": group, "help": help, "choices": choices, "least": least, "above": above, "most": most, "split": split,
        "flag": flag, "free": free,
    })  # fmt: skip
