"""The declaration of a recipe key, as a field of Recipe or of a part in plif_train/hooks.

Recipe is in recipe.py; a part has a class with keys of its own.
"""

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
    """Declare a recipe key (a setting of a training) as a dataclass field with its default, help text and values.

    choices, least, above, most    the allowed values
    split                          the separator between several values in a text
    flag                           `plif train` has an option of this name, in place of --set
    free                           a continued training may have another value
    """
    return field(default=default, metadata={
        "group": group, "help": help, "choices": choices, "least": least, "above": above, "most": most, "split": split,
        "flag": flag, "free": free,
    })  # fmt: skip
