"""Acclaim: the skeleton in an ASF file, the motion in AMC files beside it, as of the CMU Graphics Lab and of HDM05.

A bone of the skeleton has a direction and a length, the axis C in which its angles are meant (rotations of `axis`, X first), and
its degrees of freedom. A frame of the motion is a line with its number, then a line for each bone that has values.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.datasets.motion.rig import BLOCK, MOST_NODES, Doubles, Joint, Lines, Rig, lines_of, rotate

FPS = 120.0  # of both laboratories; the file does not say


def find_skeleton(path: Path) -> Path:
    """The ASF file of an AMC file: beside it, with the longest name that this one's begins with, or the only one."""
    beside = [one for one in path.parent.iterdir() if one.suffix.lower() == ".asf"]
    own = [one for one in beside if path.stem.startswith(one.stem)] or (beside if len(beside) == 1 else [])
    if not own:
        raise PlifError(f"{path}: no skeleton {path.stem}.asf beside it, expected the ASF file of this motion")
    return max(own, key=lambda one: len(one.stem))


def read_amc(lines: Lines) -> tuple[Rig, float, Iterator[Doubles]]:
    """As read_bvh. The columns of a bone are those of its degrees of freedom, in their order."""
    with lines_of(find_skeleton(lines.path)) as skeleton:
        rig, columns = _read_skeleton(skeleton)
    return rig, FPS, _read_values(lines, rig.width, columns)


def _read_skeleton(lines: Lines) -> tuple[Rig, dict[str, tuple[int, int]]]:
    bones: dict[str, dict[str, list[str]]] = {"root": {}}
    children: dict[str, list[str]] = {}
    section, bone = "", dict[str, list[str]]()
    for first, *rest in lines:
        if first.startswith(":"):
            section = first
        elif section == ":units" and first == "angle" and rest != ["deg"]:
            raise lines.wrong(f"angle {' '.join(rest)}", "angle deg")
        elif section == ":root" and first == "order":
            bones["root"]["dof"] = rest
        elif section == ":bonedata" and first == "begin":
            bone = {}
        elif section == ":bonedata" and first == "end" and bone.get("name"):
            bones[bone["name"][0]] = bone
        elif section == ":bonedata":
            bone[first] = rest
        elif section == ":hierarchy" and rest and first not in children:
            children[first] = rest
        if len(bones) > MOST_NODES:
            raise lines.wrong(f"{len(bones)} bones", f"at most {MOST_NODES}")
    nodes: list[Joint] = []
    columns: dict[str, tuple[int, int]] = {}
    width, waiting = 0, [("root", -1)]
    while waiting:
        name, parent = waiting.pop()
        if name not in bones or name in columns:
            raise lines.wrong(name, "a hierarchy of bones that the file describes, each once")
        about = bones[name]
        node = Joint(name, parent)
        if parent >= 0:
            long = lines.numbers(about.get("length", []), 1, f"the length of {name}")[0]
            node.offset = long * np.array(lines.numbers(about.get("direction", []), 3, f"the direction of {name}"))
            axis = lines.numbers(about.get("axis", [])[:3], 3, f"the axis of {name}")
            node.frame = rotate([2, 1, 0], np.array([axis[::-1]]))[0]
        dof = [word.lower() for word in about.get("dof", [])]
        for k, word in enumerate(dof):
            if len(word) != 2 or word[0] not in "rt" or word[1] not in "xyz" or word in dof[:k]:
                raise lines.wrong(word, "degrees of freedom as rx, ry, rz, tx")
            (node.turns if word[0] == "r" else node.moves).append(("xyz".index(word[1]), width + k))
        node.turns.sort(reverse=True)  # M = Rz Ry Rx
        columns[name] = (width, len(dof))
        width += len(dof)
        nodes.append(node)
        waiting += [(child, len(nodes) - 1) for child in children.get(name, ())]
    if len(nodes) > 4 * width:
        raise lines.wrong(f"{len(nodes)} bones with {width} degrees of freedom", "degrees of freedom of most bones")
    return Rig(nodes, width, own=True), columns


def _read_values(lines: Lines, width: int, columns: dict[str, tuple[int, int]]) -> Iterator[Doubles]:
    rows: list[Doubles] = []
    filled = width
    for first, *rest in lines:
        if first[0] in "#:":
            continue
        if first.isdigit() and not rest:
            if 2 * filled < width:
                raise lines.wrong(f"a frame with {filled} of {width} values", "values of most bones in each")
            if len(rows) == BLOCK:
                yield np.stack(rows)
                rows = []
            rows.append(np.zeros(width))
            filled = 0
        elif rows and first in columns:
            begin, count = columns[first]
            rows[-1][begin : begin + count] = lines.numbers(rest, count, f"the values of {first}")
            filled += count
        else:
            raise lines.wrong(
                " ".join([first, *rest]), "the number of a frame, or a bone of the skeleton and its values"
            )
    if rows:
        yield np.stack(rows)
