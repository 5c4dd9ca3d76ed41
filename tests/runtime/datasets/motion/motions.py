"""Small files of motion capture: one body, written as BVH with the names of several programs, and as Acclaim's two files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.datasets.motion.joints import read_motions

Pose = dict[str, tuple[float, float, float]]  # joint -> degrees about Z, X, Y

# Centimetres; somebody with arms spread who looks towards +Z. name: (parent, offset from it)
BODY: dict[str, tuple[str, tuple[float, float, float]]] = {
    "Hips": ("", (0, 0, 0)),
    "Spine": ("Hips", (0, 20, 0)),
    "Neck": ("Spine", (0, 30, 0)),
    "Head": ("Neck", (0, 10, 0)),
    **{
        f"{side}{part}": (parent.format(side), (sign * x, y, z))
        for side, sign in (("Left", 1), ("Right", -1))
        for part, parent, (x, y, z) in (
            ("Arm", "Spine", (18, 25, 0)),
            ("ForeArm", "{}Arm", (28, 0, 0)),
            ("Hand", "{}ForeArm", (26, 0, 0)),
            ("HandIndex1", "{}Hand", (9, 0, 0)),
            ("UpLeg", "Hips", (9, -5, 0)),
            ("Leg", "{}UpLeg", (0, -41, 0)),
            ("Foot", "{}Leg", (0, -41, 0)),
            ("ToeBase", "{}Foot", (0, -6, 14)),
        )
    },
}
OWN = ("Arm", "ForeArm", "Hand", "HandIndex1", "UpLeg", "Leg", "Foot", "ToeBase")
OTHER_PROGRAMS: dict[
    str, tuple[str, str, str, str]
] = {  # before all names; those of the left; those of the right; parts
    "MotionBuilder": ("", "Left{}", "Right{}", " ".join(OWN)),
    "Mixamo": ("mixamorig:", "Left{}", "Right{}", " ".join(OWN)),
    "Character Creator": ("CC_Base_", "L_{}", "R_{}", "Upperarm Forearm Hand Mid1 Thigh Calf Foot ToeBase"),
    "side behind": ("", "{}_L", "{}_R", "UpperArm LowerArm Hand Finger UpperLeg LowerLeg Foot Toes"),
    "DAZ": ("", "l{}", "r{}", "Shldr ForeArm Hand Mid1 Thigh Shin Foot Toe"),
}


def _renamed(name: str, program: str) -> str:
    prefix, left, right, parts = OTHER_PROGRAMS[program]
    for side, form in (("Left", left), ("Right", right)):
        if name.startswith(side):
            return prefix + form.format(parts.split()[OWN.index(name.removeprefix(side))])
    return prefix + (
        name if prefix != "CC_Base_" else {"Hips": "Hip", "Spine": "Spine02", "Neck": "NeckTwist01"}.get(name, name)
    )


def bvh(
    poses: Sequence[Pose],
    fps: float = 60,
    program: str = "MotionBuilder",
    places: Sequence[tuple[float, float, float]] = (),
) -> str:
    """The text of a BVH file; `places`: of the hips in each frame."""
    lines = ["HIERARCHY"]

    def write(name: str, depth: int) -> list[str]:
        pad, (parent, offset) = "  " * depth, BODY[name]
        lines.extend(
            [
                f"{pad}{'JOINT' if parent else 'ROOT'} {_renamed(name, program)}",
                pad + "{",
                f"{pad}  OFFSET {offset[0]} {offset[1]} {offset[2]}",
            ]
        )
        turns = "Zrotation Xrotation Yrotation"
        lines.append(
            f"{pad}  CHANNELS 3 {turns}" if parent else f"{pad}  CHANNELS 6 Xposition Yposition Zposition {turns}"
        )
        order, children = [name], [child for child, (above, _) in BODY.items() if above == name]
        for child in children:
            order += write(child, depth + 1)
        if not children:
            lines.extend([f"{pad}  End Site", pad + "  {", f"{pad}    OFFSET 0 5 0", pad + "  }"])
        lines.append(pad + "}")
        return order

    order = write("Hips", 0)
    lines += ["MOTION", f"Frames: {len(poses)}", f"Frame Time: {1 / fps:.7f}"]
    for k, pose in enumerate(poses):
        values = [
            *(places[k] if places else (0, 92, 0)),
            *(angle for name in order for angle in pose.get(name, (0, 0, 0))),
        ]
        lines.append(" ".join(f"{value:.5f}" for value in values))
    return "\n".join(lines) + "\n"


def acclaim(poses: Sequence[Pose], skeleton: Path, motion: Path) -> None:
    """The same body as Acclaim's bones, each of which ends where the joint behind it is.

    Their angles are meant in a frame of their own, turned by 90 degrees about X; a pose may turn a bone about one axis.
    """
    bones = {  # bone: (parent, the joint at its end, the joint that it turns)
        "lhipjoint": ("root", "LeftUpLeg", ""), "lfemur": ("lhipjoint", "LeftLeg", "LeftUpLeg"),
        "ltibia": ("lfemur", "LeftFoot", "LeftLeg"), "lfoot": ("ltibia", "LeftToeBase", "LeftFoot"),
        "thorax": ("root", "Spine", ""), "lowerneck": ("thorax", "Neck", "Spine"), "upperneck": ("lowerneck", "Head", "Neck"),
        "lclavicle": ("thorax", "LeftArm", ""), "lhumerus": ("lclavicle", "LeftForeArm", "LeftArm"),
        "lradius": ("lhumerus", "LeftHand", "LeftForeArm"), "lhand": ("lradius", "LeftHandIndex1", "LeftHand"),
    }  # fmt: skip
    for name, (parent, end, turns) in list(bones.items()):
        if name.startswith("l") and name != "lowerneck":
            above = parent if parent in ("root", "thorax") else "r" + parent[1:]
            bones["r" + name[1:]] = (above, end.replace("Left", "Right"), turns.replace("Left", "Right"))
    text = [":version 1.10", ":name body", ":units", "  mass 1.0", "  length 0.45", "  angle deg", ":root"]
    text += ["  order TX TY TZ RX RY RZ", "  axis XYZ", "  position 0 0 0", "  orientation 0 0 0", ":bonedata"]
    for number, (name, (_, end, turns)) in enumerate(bones.items(), 1):
        x, y, z = BODY[end][1]
        long = (x * x + y * y + z * z) ** 0.5
        text += [
            "  begin",
            f"    id {number}",
            f"    name {name}",
            f"    direction {x / long} {y / long} {z / long}",
            f"    length {long}",
        ]
        text += ["    axis 90 0 0 XYZ", *(["    dof rx ry rz"] if turns else []), "  end"]
    parents = dict.fromkeys(parent for parent, _, _ in bones.values())
    text += [
        ":hierarchy",
        "  begin",
        *(f"    {p} {' '.join(n for n, b in bones.items() if b[0] == p)}" for p in parents),
        "  end",
    ]
    skeleton.write_text("\n".join(text) + "\n")
    lines = ["#!OML:ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for number, pose in enumerate(poses, 1):
        lines += [str(number), "root 0 92 0 0 0 0"]
        for name, (_, _, turns) in bones.items():
            z, x, y = pose.get(turns, (0, 0, 0))
            lines += [f"{name} {x} {z} {-y}"] if turns else []
    motion.write_text("\n".join(lines) + "\n")


def waving(frames: int = 60) -> list[Pose]:
    """The left forearm up and down, the right arm hanging; about one axis, so that both formats mean the same."""
    return [
        {"LeftForeArm": (90 * abs((k % 40) / 20 - 1), 0, 0), "RightArm": (80, 0, 0), "LeftUpLeg": (0, 0, 0)}
        for k in range(frames)
    ]


def write_collection(path: Path, actors: Sequence[str], poses: Sequence[Pose]) -> None:
    """A collection in which each of these actors does the same."""
    bare = path.with_suffix(".bvh")
    bare.write_text(bvh(poses))
    millimetres = np.round(np.concatenate([read_motions(bare)[0].joints] * len(actors)) * 1000).astype(np.int16)
    bare.unlink()
    delta = np.diff(millimetres, axis=0, prepend=0).astype(np.int16)
    starts = np.arange(len(actors) + 1) * (len(millimetres) // len(actors))
    np.savez(path, names=[f"{actor}_1" for actor in actors], fps=60.0, starts=starts, delta_mm=delta)
