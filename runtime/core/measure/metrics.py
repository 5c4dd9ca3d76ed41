"""Numbers about a whole data set: how sure an accuracy is, what each class does, and of what exactly they were taken.

With n[i][j] the samples of class i that were answered with class j (the confusion matrix), u[i] those that were not answered:

    recall_i    = n[i][i] / (u[i] + sum_j n[i][j])     how many of a class are found
    precision_j = n[j][j] / sum_i n[i][j]              how many of its answers are right
    F1          = 2 precision recall / (precision + recall)
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from runtime import native
from runtime.core.base.files import measure
from runtime.core.base.latency import Z95
from runtime.core.base.version import __version__
from runtime.core.model.card import Card
from runtime.core.model.digest import digest_of
from runtime.core.parts import find_parts

PACKAGES = ("numpy", "onnxruntime", "ray")


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, right of n (E. B. Wilson, 1927); (0, 1) where n is 0.

    Unlike p +- 1.96 s it stays within 0..1, and says something also where all are right.
    """
    if n == 0:
        return 0.0, 1.0
    p, z2 = right / n, Z95 * Z95
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if right == 0 else max(0.0, middle - half)
    high = 1.0 if right == n else min(1.0, middle + half)
    return low, high


ClassRow = TypedDict(
    "ClassRow",
    {"class": str, "samples": int, "precision": float | None, "recall": float | None, "f1": float | None},
)


class Identity(TypedDict, total=False):
    """Which artifact it was; empty where nobody asked."""

    path: str
    bytes: int
    sha256: str
    digest: str | None


def class_metrics(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], unanswered: Sequence[int] | None = None
) -> list[ClassRow]:
    """A row for each class, in order; None where nothing is divided by nothing.

    confusion  [true][predicted],  unanswered  [true], whole numbers
    """
    n = np.asarray(confusion, np.int64)
    rows: list[ClassRow] = []
    for i, name in enumerate(classes):
        right, samples, answers = int(n[i, i]), int(n[i].sum()), int(n[:, i].sum())
        samples += 0 if unanswered is None else unanswered[i]
        rows.append(
            {
                "class": name,
                "samples": samples,
                "precision": right / answers if answers else None,
                "recall": right / samples if samples else None,
                "f1": 2 * right / (samples + answers) if samples + answers else None,
            }
        )
    return rows


def macro_f1(per_class: Sequence[ClassRow]) -> float | None:
    """The mean F1 of the classes that have samples; None where there is none."""
    scores = [row["f1"] for row in per_class if row["samples"] and row["f1"] is not None]
    return sum(scores) / len(scores) if scores else None


def artifact_identity(path: Path, card: Card) -> Identity:
    """Of what was evaluated."""
    size, sha256 = measure(path)
    return {"path": str(path), "bytes": size, "sha256": sha256, "digest": digest_of(card)}


def list_sha256(entries: Iterable[tuple[str, int | None]], place: str = "") -> str:
    """The SHA-256 of a list of data: a line `path, tab, class` for each sample, the path as it is below the folder `place`.

    It tells whether two numbers are of the same samples in the same order. It does not look into the recordings.
    """
    digest = hashlib.sha256()
    for path, label in entries:
        line = f"{path.removeprefix(place).lstrip('/')}\t{'' if label is None else label}\n"
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """What computed the numbers, and on what processor."""
    found = {"plif": __version__, "python": platform.python_version()}
    for package in (*PACKAGES, *(package for part in find_parts("engines").values() for package in part.packages)):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "processor": native.processor()}
