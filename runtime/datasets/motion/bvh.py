"""BVH (Biovision): a skeleton as a tree of offsets and channels, then one line of values a frame. Text, read line by line.

    HIERARCHY                                   MOTION
    ROOT Hips {                                 Frames: 300
      OFFSET 0 0 0                              Frame Time: 0.008333
      CHANNELS 6 Xposition .. Zrotation ..      0.1 92.3 4.0 ...
      JOINT Spine { ... End Site { OFFSET 0 9 0 } } }

Each brace stands on a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.datasets.motion.rig import BLOCK, MOST_NODES, Doubles, Joint, Lines, Rig


def read_bvh(lines: Lines) -> tuple[Rig, float, Iterator[Doubles]]:
    """The skeleton, the frames a second, and values [up to BLOCK, width] until the file ends. PlifError, one line."""
    words = iter(lines)
    rig = _read_hierarchy(lines, words)
    said = []
    for name in (["Frames:"], ["Frame", "Time:"]):
        line = next(words, [])
        if line[:-1] != name:
            raise lines.wrong(" ".join(line), f"{' '.join(name)} NUMBER")
        said += lines.numbers(line[-1:], 1, "of the frames")
    count, dt_s = said
    if count != int(count) or count < 2 or not 1e-3 <= dt_s <= 1:
        raise lines.wrong(f"{count:g} frames of {dt_s:g} s", "2 frames or more, of 0.001 to 1 s")
    return rig, 1 / dt_s, _read_values(lines, words, rig.width, int(count))


def _read_hierarchy(lines: Lines, words: Iterator[list[str]]) -> Rig:
    nodes: list[Joint] = []
    open_nodes: list[int] = []
    width, waiting = 0, -1  # waiting: a node that was named and has no brace yet
    for first, *rest in words:
        if (
            first in ("ROOT", "JOINT", "End")
            and (rest or first == "End")
            and waiting < 0
            and bool(nodes) != (first == "ROOT")
        ):
            if len(nodes) >= MOST_NODES or (nodes and not open_nodes):
                raise lines.wrong(f"{first} {' '.join(rest)}", f"one tree of at most {MOST_NODES} joints")
            parent = open_nodes[-1] if open_nodes else -1
            waiting = len(nodes)
            nodes.append(Joint(f"{nodes[parent].name} end" if first == "End" else " ".join(rest), parent))
        elif first == "{" and waiting >= 0:
            open_nodes.append(waiting)
            waiting = -1
        elif first == "}" and open_nodes and waiting < 0:
            open_nodes.pop()
        elif first == "OFFSET" and open_nodes:
            nodes[open_nodes[-1]].offset = np.array(lines.numbers(rest, 3, "the offset of a joint"))
        elif first == "CHANNELS" and open_nodes and rest[:1] == [str(len(rest) - 1)]:
            node = nodes[open_nodes[-1]]
            for channel in rest[1:]:
                kind, axis = channel[1:].lower(), "XYZ".find(channel[:1].upper())
                if axis < 0 or kind not in ("position", "rotation") or len(node.moves) + len(node.turns) >= 6:
                    raise lines.wrong(channel, "up to six channels, as Xposition or Zrotation")
                (node.moves if kind == "position" else node.turns).append((axis, width))
                width += 1
        elif first == "MOTION" and nodes and not open_nodes and waiting < 0:
            if len(nodes) > 4 * width:
                raise lines.wrong(f"{len(nodes)} joints with {width} channels", "channels of most joints")
            return Rig(nodes, width, own=False)
        elif first != "HIERARCHY" or nodes:
            raise lines.wrong(
                " ".join([first, *rest]), "the HIERARCHY of a BVH file: ROOT, JOINT, End Site, OFFSET, CHANNELS, { or }"
            )
    raise lines.wrong("the end of the file", "MOTION and the values of its frames")


def _read_values(lines: Lines, words: Iterator[list[str]], width: int, count: int) -> Iterator[Doubles]:
    done = 0
    while done < count:
        rows = []
        for line in words:
            rows.append(np.array(lines.numbers(line, width, "the values of one frame")))
            if len(rows) == min(BLOCK, count - done):
                break
        if not rows:
            raise lines.wrong(f"the end of the file after {done} frames", f"{count} frames")
        yield np.stack(rows)
        done += len(rows)
    if (more := next(words, None)) is not None:
        raise lines.wrong(" ".join(more), f"the end of the file after {count} frames")
