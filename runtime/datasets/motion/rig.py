"""A skeleton as in a motion capture file, and the positions of its nodes for values of its channels.

    R_j = R_p C_j M_j C_j^T      M_j: the rotations of its channels, one after the other, each about its current axis
    P_j = P_p + R_p o_j          BVH: the offset o_j is in the frame of the parent
    P_j = P_p + R_j o_j          Acclaim: the offset is the bone itself, and P_j its end

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
    """A joint of a motion capture skeleton: its parent, its offset, and its channels of movement and rotation.

    moves, turns  (axis 0 to 2, column of its value) of its channels, in their order; rotations in degrees
    """

    name: str
    parent: int  # -1: the root
    offset: Doubles = field(default_factory=lambda: np.zeros(3))
    moves: list[tuple[int, int]] = field(default_factory=list)
    turns: list[tuple[int, int]] = field(default_factory=list)
    frame: Doubles | None = None  # C [3, 3]


@dataclass
class Rig:
    """The skeleton of a motion capture file: its joints, each after its parent; `width` is the values per frame."""

    nodes: list[Joint]
    width: int
    offset_in_node: bool  # offsets are in the frame of the node itself

    def locate_nodes(self, rows: Doubles) -> Doubles:
        """Compute the positions [T, nodes, 3] of a skeleton's joints from a file's channel values [T, width]."""
        positions = np.empty((len(rows), len(self.nodes), 3))
        rotations: list[Doubles] = []
        for j, node in enumerate(self.nodes):
            local = np.tile(node.offset, (len(rows), 1))
            for axis, column in node.moves:
                local[:, axis] = rows[:, column]
            before = rotations[node.parent] if node.parent >= 0 else np.eye(3)[None]
            if node.turns:
                inner = rotation_matrices(
                    [axis for axis, _ in node.turns], rows[:, [column for _, column in node.turns]]
                )
                after = before @ (inner if node.frame is None else node.frame @ inner @ node.frame.T)
            else:
                after = before
            rotations.append(after)
            shift = (after if self.offset_in_node and node.parent >= 0 else before) @ local[:, :, None]
            positions[:, j] = shift[:, :, 0] + (positions[:, node.parent] if node.parent >= 0 else 0)
        return positions


def rotation_matrices(axes: list[int], degrees: Doubles) -> Doubles:
    """Return the matrices [T, 3, 3] of rotations about several axes, one after the other, by degrees [T, axes]."""
    product = np.broadcast_to(np.eye(3), (len(degrees), 3, 3))
    for axis, angle in zip(axes, np.deg2rad(degrees).T, strict=True):
        step, a, b = np.zeros((len(degrees), 3, 3)), (axis + 1) % 3, (axis + 2) % 3
        step[:, axis, axis], step[:, a, a], step[:, b, b] = 1, np.cos(angle), np.cos(angle)
        step[:, b, a], step[:, a, b] = np.sin(angle), -np.sin(angle)
        product = product @ step
    return product


class LineReader:
    """A reader of the lines of a motion capture file, split into words, with errors that name the line."""

    def __init__(self, path: Path, lines: Iterator[bytes]) -> None:
        self.path, self._lines, self.number = path, lines, 0

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the words of each line of a motion capture file that is not empty."""
        for line in self._lines:
            self.number += 1
            if len(line) >= MOST_LINE:
                raise self.make_error(
                    line[:40].decode("ascii", "replace"), f"lines of less than {MOST_LINE} characters"
                )
            if words := line.decode("ascii", "replace").split():
                yield words

    def make_error(self, text: str, expected: str) -> PlifError:
        return PlifError(f"{self.path}, line {self.number}: {text[:60]!r}, expected {expected}")

    def parse_numbers(self, words: list[str], count: int, noun: str) -> list[float]:
        """Parse `count` finite numbers from the words of a line. Raises PlifError."""
        try:
            values = list(map(float, words)) if len(words) == count else []
        except ValueError:
            values = []
        if len(values) != count or not all(abs(value) < 1e9 for value in values):
            raise self.make_error(" ".join(words[:12]), f"{count} numbers, {noun}")
        return values


@contextmanager
def open_lines(path: Path) -> Iterator[LineReader]:
    """Open a motion capture file for reading its lines. Raises PlifError for other files, or a too large one."""
    with open_regular(path, "a file of motion capture") as file:
        if (size := file.seek(0, 2)) > MOST_BYTES:
            raise PlifError(f"{path}: {size >> 20} MiB, expected at most {MOST_BYTES >> 20}: cut it into parts")
        file.seek(0)
        yield LineReader(path, iter(lambda: file.readline(MOST_LINE), b""))
