"""BVH (Biovision) motion capture: a skeleton as a tree of offsets and channels, then one line of values a frame.

The text is read line by line. Each brace stands on its own line.

    HIERARCHY                                   MOTION
    ROOT Hips {                                 Frames: 300
      OFFSET 0 0 0                              Frame Time: 0.008333
      CHANNELS 6 Xposition .. Zrotation ..      0.1 92.3 4.0 ...
      JOINT Spine { ... End Site { OFFSET 0 9 0 } } }
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.datasets.motion.rig import BLOCK, MOST_NODES, Doubles, Joint, LineReader, Rig


def read_bvh(lines: LineReader) -> tuple[Rig, float, Iterator[Doubles]]:
    """Read a BVH motion capture file: (skeleton, frames a second, blocks of channel values [up to BLOCK, width]).

    Raises PlifError, one line.
    """
    words = iter(lines)
    rig = _read_hierarchy(lines, words)
    numbers = []
    for name in (["Frames:"], ["Frame", "Time:"]):
        line = next(words, [])
        if line[:-1] != name:
            raise lines.make_error(" ".join(line), f"{' '.join(name)} NUMBER")
        numbers += lines.parse_numbers(line[-1:], 1, "of the frames")
    count, dt_s = numbers
    if count != int(count) or count < 2 or not 1e-3 <= dt_s <= 1:
        raise lines.make_error(f"{count:g} frames of {dt_s:g} s", "2 frames or more, of 0.001 to 1 s")
    return rig, 1 / dt_s, _read_values(lines, words, rig.width, int(count))


def _read_hierarchy(lines: LineReader, words: Iterator[list[str]]) -> Rig:
    nodes: list[Joint] = []
    open_nodes: list[int] = []
    width, pending = 0, -1  # pending: a named node without its brace
    for keyword, *fields in words:
        if (
            keyword in ("ROOT", "JOINT", "End")
            and (fields or keyword == "End")
            and pending < 0
            and bool(nodes) != (keyword == "ROOT")
        ):
            if len(nodes) >= MOST_NODES or (nodes and not open_nodes):
                raise lines.make_error(f"{keyword} {' '.join(fields)}", f"one tree of at most {MOST_NODES} joints")
            parent = open_nodes[-1] if open_nodes else -1
            pending = len(nodes)
            nodes.append(Joint(f"{nodes[parent].name} end" if keyword == "End" else " ".join(fields), parent))
        elif keyword == "{" and pending >= 0:
            open_nodes.append(pending)
            pending = -1
        elif keyword == "}" and open_nodes and pending < 0:
            open_nodes.pop()
        elif keyword == "OFFSET" and open_nodes:
            nodes[open_nodes[-1]].offset = np.array(lines.parse_numbers(fields, 3, "the offset of a joint"))
        elif keyword == "CHANNELS" and open_nodes and fields[:1] == [str(len(fields) - 1)]:
            node = nodes[open_nodes[-1]]
            for channel in fields[1:]:
                kind, axis = channel[1:].lower(), "XYZ".find(channel[:1].upper())
                if axis < 0 or kind not in ("position", "rotation") or len(node.moves) + len(node.turns) >= 6:
                    raise lines.make_error(channel, "up to six channels, as Xposition or Zrotation")
                (node.moves if kind == "position" else node.turns).append((axis, width))
                width += 1
        elif keyword == "MOTION" and nodes and not open_nodes and pending < 0:
            if len(nodes) > 4 * width:
                raise lines.make_error(f"{len(nodes)} joints with {width} channels", "channels of most joints")
            return Rig(nodes, width, offset_in_node=False)
        elif keyword != "HIERARCHY" or nodes:
            raise lines.make_error(
                " ".join([keyword, *fields]),
                "the HIERARCHY of a BVH file: ROOT, JOINT, End Site, OFFSET, CHANNELS, { or }",
            )
    raise lines.make_error("the end of the file", "MOTION and the values of its frames")


def _read_values(lines: LineReader, words: Iterator[list[str]], width: int, count: int) -> Iterator[Doubles]:
    read_count = 0
    while read_count < count:
        rows = []
        for line in words:
            rows.append(np.array(lines.parse_numbers(line, width, "the values of one frame")))
            if len(rows) == min(BLOCK, count - read_count):
                break
        if not rows:
            raise lines.make_error(f"the end of the file after {read_count} frames", f"{count} frames")
        yield np.stack(rows)
        read_count += len(rows)
    if (extra := next(words, None)) is not None:
        raise lines.make_error(" ".join(extra), f"the end of the file after {count} frames")
