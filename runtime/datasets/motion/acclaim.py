"""Acclaim motion capture: a skeleton in an ASF file and motions in AMC files next to it, as of CMU and HDM05.

A bone of the skeleton has a direction and a length, its degrees of freedom, and the axis C of its angles (rotations
of `axis`, X first). A frame of the motion is a line with its number, then a line for each bone that has values.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.datasets.motion.rig import (
    BLOCK,
    MOST_NODES,
    Doubles,
    Joint,
    LineReader,
    Rig,
    open_lines,
    rotation_matrices,
)

FPS = 120.0  # frames a second of both laboratories; the file does not tell


def find_skeleton(path: Path) -> Path:
    """Return the ASF skeleton file that belongs to an AMC motion capture file, from the same folder.

    It has the longest name that the name of the motion file begins with, or is the only one.
    """
    candidates = [candidate for candidate in path.parent.iterdir() if candidate.suffix.lower() == ".asf"]
    matching = [candidate for candidate in candidates if path.stem.startswith(candidate.stem)] or (
        candidates if len(candidates) == 1 else []
    )
    if not matching:
        raise PlifError(f"{path}: no skeleton {path.stem}.asf next to it, expected the ASF file of this motion")
    return max(matching, key=lambda candidate: len(candidate.stem))


def read_amc(lines: LineReader) -> tuple[Rig, float, Iterator[Doubles]]:
    """Read an AMC motion capture file and its skeleton: (rig, frames a second, blocks of values [T, width]).

    The columns of a bone are its degrees of freedom, in their order. See read_bvh.
    """
    with open_lines(find_skeleton(lines.path)) as skeleton:
        rig, columns = _read_skeleton(skeleton)
    return rig, FPS, _read_values(lines, rig.width, columns)


def _read_skeleton(lines: LineReader) -> tuple[Rig, dict[str, tuple[int, int]]]:
    bones: dict[str, dict[str, list[str]]] = {"root": {}}
    children: dict[str, list[str]] = {}
    section, bone = "", dict[str, list[str]]()
    for keyword, *fields in lines:
        if keyword.startswith(":"):
            section = keyword
        elif section == ":units" and keyword == "angle" and fields != ["deg"]:
            raise lines.make_error(f"angle {' '.join(fields)}", "angle deg")
        elif section == ":root" and keyword == "order":
            bones["root"]["dof"] = fields
        elif section == ":bonedata" and keyword == "begin":
            bone = {}
        elif section == ":bonedata" and keyword == "end" and bone.get("name"):
            bones[bone["name"][0]] = bone
        elif section == ":bonedata":
            bone[keyword] = fields
        elif section == ":hierarchy" and fields and keyword not in children:
            children[keyword] = fields
        if len(bones) > MOST_NODES:
            raise lines.make_error(f"{len(bones)} bones", f"at most {MOST_NODES}")
    nodes: list[Joint] = []
    columns: dict[str, tuple[int, int]] = {}
    width, pending = 0, [("root", -1)]
    while pending:
        name, parent = pending.pop()
        if name not in bones or name in columns:
            raise lines.make_error(name, "a hierarchy of bones that the file describes, each once")
        about = bones[name]
        node = Joint(name, parent)
        if parent >= 0:
            long = lines.parse_numbers(about.get("length", []), 1, f"the length of {name}")[0]
            node.offset = long * np.array(
                lines.parse_numbers(about.get("direction", []), 3, f"the direction of {name}")
            )
            axis = lines.parse_numbers(about.get("axis", [])[:3], 3, f"the axis of {name}")
            node.frame = rotation_matrices([2, 1, 0], np.array([axis[::-1]]))[0]
        dof = [word.lower() for word in about.get("dof", [])]
        for k, word in enumerate(dof):
            if len(word) != 2 or word[0] not in "rt" or word[1] not in "xyz" or word in dof[:k]:
                raise lines.make_error(word, "degrees of freedom as rx, ry, rz, tx")
            (node.turns if word[0] == "r" else node.moves).append(("xyz".index(word[1]), width + k))
        node.turns.sort(reverse=True)  # M = Rz Ry Rx
        columns[name] = (width, len(dof))
        width += len(dof)
        nodes.append(node)
        pending += [(child, len(nodes) - 1) for child in children.get(name, ())]
    if len(nodes) > 4 * width:
        raise lines.make_error(
            f"{len(nodes)} bones with {width} degrees of freedom", "degrees of freedom of most bones"
        )
    return Rig(nodes, width, offset_in_node=True), columns


def _read_values(lines: LineReader, width: int, columns: dict[str, tuple[int, int]]) -> Iterator[Doubles]:
    rows: list[Doubles] = []
    filled = width
    for keyword, *fields in lines:
        if keyword[0] in "#:":
            continue
        if keyword.isdigit() and not fields:
            if 2 * filled < width:
                raise lines.make_error(f"a frame with {filled} of {width} values", "values of most bones in each")
            if len(rows) == BLOCK:
                yield np.stack(rows)
                rows = []
            rows.append(np.zeros(width))
            filled = 0
        elif rows and keyword in columns:
            begin, count = columns[keyword]
            rows[-1][begin : begin + count] = lines.parse_numbers(fields, count, f"the values of {keyword}")
            filled += count
        else:
            raise lines.make_error(
                " ".join([keyword, *fields]), "the number of a frame, or a bone of the skeleton and its values"
            )
    if rows:
        yield np.stack(rows)
