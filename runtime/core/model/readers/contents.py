"""What an artifact holds beside its card: the SHA-256 of each part, and numbers that are not finite. Each file is read once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PART = "a file of the artifact; export it again"  # what is expected where one cannot be read


@dataclass(frozen=True)
class Contents:
    """parts: the name of a part ("graph", "tensor conv1.weight", "model.bin") -> SHA-256 of what it says, in hexadecimal.

    not_finite  the first numbers that are not finite, as a sentence: "tensor conv1.weight holds nan at [0, 1, 2, 2]"
    """

    parts: dict[str, str] = field(default_factory=dict)
    not_finite: str | None = None


def not_finite(name: str, values: np.ndarray) -> str | None:
    """That `values`, of any shape, hold a number that is not finite, as a sentence; None where all are."""
    finite = np.isfinite(values)
    if finite.all():
        return None
    at = np.argwhere(~finite)[0]
    return f"{name} holds {values[tuple(at)]}" + f" at {at.tolist()}" * bool(at.size)
