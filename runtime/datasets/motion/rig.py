"""A skeleton as files of motion capture have it, and where its nodes are when its channels have these values.

    R_j = R_p C_j M_j C_j^T      M_j: the rotations of its channels, one after the other, each about its own axis as turned so far
    P_j = P_p + R_p o_j          BVH: the offset o_j is seen from the parent
    P_j = P_p + R_j o_j          Acclaim: it is the bone itself, and P_j its end

Channels of position replace the offset's coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular

Doubles = npt.NDArray[np.float64]

MOST_BYTES, MOST_NODES, MOST_LINE = 1 << 27, 1000, 1 << 16
BLOCK = 1024  # frames at once


@dataclass
class Joint:
    """One joint. moves, turns: (axis 0 to 2, column of its value) of its channels, in their order; rotations in degrees."""

    name: str
    parent: int  # -1: the root
    offset: Doubles = field(default_factory=lambda: np.zeros(3))
    moves: list[tuple[int, int]] = field(default_factory=list)
    turns: list[tuple[int, int]] = field(default_factory=list)
    frame: Doubles | None = None  # C [3, 3]


@dataclass
class Rig:
    """Nodes, each after its parent; `width`: values of one frame."""

    nodes: list[Joint]
    width: int
    own: bool  # offsets are seen from the node itself

    def places(self, rows: Doubles) -> Doubles:
        """Values [T, width] -> where the nodes are, [T, nodes, 3]."""
        found = np.empty((len(rows), len(self.nodes), 3))
        turned: list[Doubles] = []
        for j, node in enumerate(self.nodes):
            local = np.tile(node.offset, (len(rows), 1))
            for axis, column in node.moves:
                local[:, axis] = rows[:, column]
            before = turned[node.parent] if node.parent >= 0 else np.eye(3)[None]
            if node.turns:
                inner = rotate([axis for axis, _ in node.turns], rows[:, [column for _, column in node.turns]])
                after = before @ (inner if node.frame is None else node.frame @ inner @ node.frame.T)
            else:
                after = before
            turned.append(after)
            seen = (after if self.own and node.parent >= 0 else before) @ local[:, :, None]
            found[:, j] = seen[:, :, 0] + (found[:, node.parent] if node.parent >= 0 else 0)
        return found


def rotate(axes: list[int], degrees: Doubles) -> Doubles:
    """The rotation [T, 3, 3] about these axes, one after the other, by degrees [T, axes]."""
    found = np.broadcast_to(np.eye(3), (len(degrees), 3, 3))
    for axis, angle in zip(axes, np.deg2rad(degrees).T, strict=True):
        one, a, b = np.zeros((len(degrees), 3, 3)), (axis + 1) % 3, (axis + 2) % 3
        one[:, axis, axis], one[:, a, a], one[:, b, b] = 1, np.cos(angle), np.cos(angle)
        one[:, b, a], one[:, a, b] = np.sin(angle), -np.sin(angle)
        found = found @ one
    return found


class Lines:
    """The lines of a text file, split into words, with errors that say where."""

    def __init__(self, path: Path, lines: Iterator[bytes]) -> None:
        self.path, self._lines, self.number = path, lines, 0

    def __iter__(self) -> Iterator[list[str]]:
        """The words of each line that has some."""
        for line in self._lines:
            self.number += 1
            if len(line) >= MOST_LINE:
                raise self.wrong(line[:40].decode("ascii", "replace"), f"lines of less than {MOST_LINE} characters")
            if words := line.decode("ascii", "replace").split():
                yield words

    def wrong(self, found: str, expected: str) -> PlifError:
        return PlifError(f"{self.path}, line {self.number}: {found[:60]!r}, expected {expected}")

    def numbers(self, words: list[str], count: int, what: str) -> list[float]:
        """So many finite numbers."""
        try:
            values = list(map(float, words)) if len(words) == count else []
        except ValueError:
            values = []
        if len(values) != count or not all(abs(value) < 1e9 for value in values):
            raise self.wrong(" ".join(words[:12]), f"{count} numbers, {what}")
        return values


@contextmanager
def lines_of(path: Path) -> Iterator[Lines]:
    """The lines of a file of motion capture. PlifError where it is none or larger than MOST_BYTES."""
    with open_regular(path, "a file of motion capture") as file:
        if (size := file.seek(0, 2)) > MOST_BYTES:
            raise PlifError(f"{path}: {size >> 20} MiB, expected at most {MOST_BYTES >> 20}: cut it into parts")
        file.seek(0)
        yield Lines(path, iter(lambda: file.readline(MOST_LINE), b""))
