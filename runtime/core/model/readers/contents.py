"""The contents of an artifact other than its card: the SHA-256 of each part, and non-finite numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PART = "a file of the artifact; export it again"  # the expected file, in the message about an unreadable one


@dataclass(frozen=True)
class Contents:
    """The parts of an artifact other than its card: their SHA-256, and the first number that is not finite.

    parts       the name of a part ("graph", "tensor conv1.weight", "model.bin") -> SHA-256 of its meaning, in
                hexadecimal
    not_finite  the first numbers that are not finite, as a sentence: "tensor conv1.weight holds nan at [0, 1,
                2, 2]"
    """

    parts: dict[str, str] = field(default_factory=dict)
    not_finite: str | None = None


def find_non_finite(name: str, values: np.ndarray) -> str | None:
    """Return a sentence about the first non-finite number of an array of any shape; None if all are finite."""
    finite = np.isfinite(values)
    if finite.all():
        return None
    index = np.argwhere(~finite)[0]
    return f"{name} holds {values[tuple(index)]}" + f" at {index.tolist()}" * bool(index.size)
