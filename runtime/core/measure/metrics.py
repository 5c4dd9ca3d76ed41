"""Metrics of a whole data set: accuracy intervals, metrics per class, and the identity of artifact and data.

With n[i][j] the samples of class i that were answered with class j (the confusion matrix), u[i] those without an
answer:

    recall_i    = n[i][i] / (u[i] + sum_j n[i][j])     the share of a class that is recognised
    precision_j = n[j][j] / sum_i n[i][j]              the share of its answers that are right
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
from runtime.core.base.files import hash_artifact
from runtime.core.base.latency import Z95
from runtime.core.base.version import __version__
from runtime.core.model.card import Card
from runtime.core.model.digest import read_digest
from runtime.core.parts import find_parts

PACKAGES = ("numpy", "onnxruntime", "ray")


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of the proportion right / n (E. B. Wilson, 1927); (0, 1) if n is 0.

    Unlike p +- 1.96 s it stays within 0..1, and it has a width even if all are right.
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


class ArtifactIdentity(TypedDict, total=False):
    """The path, size and hashes of the artifact that was evaluated; empty if unknown."""

    path: str
    bytes: int
    sha256: str
    digest: str | None


def compute_class_metrics(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], unanswered: Sequence[int] | None = None
) -> list[ClassRow]:
    """Compute precision, recall and F1 of each class, in order; None where the divisor is 0.

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
    """Return the mean F1 of the classes that have samples; None if there is none."""
    scores = [row["f1"] for row in per_class if row["samples"] and row["f1"] is not None]
    return sum(scores) / len(scores) if scores else None


def identify_artifact(path: Path, card: Card) -> ArtifactIdentity:
    """Return an artifact's path, size, SHA-256 of the file, and digest: the SHA-256 over its parts (see digest.py)."""
    size, sha256 = hash_artifact(path)
    return {"path": str(path), "bytes": size, "sha256": sha256, "digest": read_digest(card)}


def hash_sample_list(entries: Iterable[tuple[str, int | None]], folder: str = "") -> str:
    """Return the SHA-256 of a list of samples: a line `path, tab, class` for each of them.

    The path is relative to the folder `place`. Equal sums mean the same samples in the same order; the recordings are
    not read.
    """
    digest = hashlib.sha256()
    for path, label in entries:
        line = f"{path.removeprefix(folder).lstrip('/')}\t{'' if label is None else label}\n"
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def collect_versions() -> dict[str, str]:
    """Return the versions of plif, Python and the engine packages, and the name of the processor."""
    names = {"plif": __version__, "python": platform.python_version()}
    for package in (*PACKAGES, *(package for part in find_parts("engines").values() for package in part.packages)):
        try:
            names[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**names, "processor": native.processor_name()}
