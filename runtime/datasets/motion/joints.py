"""People as 21 joints in metres, the common form of the skeletons of all motion capture files.

names        in any of the usual skeletons (Biovision, MotionBuilder, Mixamo, 3ds Max, Character Creator, DAZ; Acclaim's bones)
size         a leg (thigh and shin) has 0.82 m; shoulders are at least 0.34 m apart
directions   Y is up; a person who looks towards +Z has the left hand towards +X
ends         top of the head 0.17 m above it, finger tips 0.12 m from the wrist, towards the fingers where a file has them
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular
from runtime.datasets.motion.acclaim import read_amc
from runtime.datasets.motion.bvh import read_bvh
from runtime.datasets.motion.rig import MOST_BYTES, Doubles, Rig, open_lines

Floats = npt.NDArray[np.float32]

SIDED = ("sho", "elb", "wri", "tip", "hip", "kne", "ank", "toe")
JOINTS = (
    *("hips", "chest", "neck", "head", "top"),
    *(f"{side}{part}" for side in "LR" for part in SIDED[:4]),
    *(f"{side}{part}" for side in "LR" for part in SIDED[4:]),
)
J = {name: i for i, name in enumerate(JOINTS)}
SWAPPED = [J[name.translate(str.maketrans("LR", "RL")) if name[0] in "LR" else name] for name in JOINTS]
LEG_M, TOP_M, HAND_M, SHOULDERS_M = 0.82, 0.17, 0.12, 0.34
MOST_FRAMES = 2_000_000  # 500 MB of joints
LEAP_M = 0.3  # a larger step after the first frame means that this frame is a calibration pose
SUFFIXES = (".bvh", ".amc", ".npz")

# The usual names of each joint, in the order of preference: lower-case letters and digits, without the prefix of a program;
# {s} is l, left, r or right.
PREFIX = re.compile(r"^(.*:|mixamorig|cc_base_|bip0*1|bip)", re.I)
NAMES: dict[str, tuple[str, ...]] = {
    "hips": ("hips", "hip", "pelvis", "root"),
    "chest": ("chest", "spine1", "spine02", "spine2", "spine", "thorax", "upperback", "abdomen"),
    "neck": ("neck", "necktwist01", "lowerneck", "neck1"),
    "head": ("upperneck", "head"),
    "sho": ("{s}arm", "{s}upperarm", "{s}uparm", "upperarm{s}", "{s}shldr", "{s}clavicle", "{s}shoulder"),
    "elb": ("{s}forearm", "{s}lowerarm", "lowerarm{s}", "{s}lowarm", "{s}humerus", "{s}elbow"),
    "wri": ("{s}radius", "{s}hand", "hand{s}", "{s}wrist"),
    "hip": ("{s}upleg", "{s}upperleg", "upperleg{s}", "{s}thigh", "{s}hipjoint", "{s}hip"),
    "kne": ("{s}femur", "{s}leg", "{s}lowerleg", "lowerleg{s}", "{s}lowleg", "{s}calf", "{s}shin", "{s}knee"),
    "ank": ("{s}tibia", "{s}foot", "foot{s}", "{s}ankle"),
    "toe": ("{s}toebase", "toes{s}", "{s}toes", "{s}toe", "{s}toe0", "{s}foot", "foot{s}", "{s}ankle"),
}


@dataclass(frozen=True)
class Motion:
    """The captured motion of one person: joint positions float32 [T, 21, 3] in metres, `fps` frames a second."""

    name: str
    fps: float
    joints: Floats

    @property
    def seconds(self) -> float:
        return (len(self.joints) - 1) / self.fps

    @property
    def actor(self) -> str:
        """The actor of a captured motion, from the first part of the motion's name, without leading zeros.

        In HDM05 it is the part after HDM_. So "02_01" and "002_01" are of "2", "HDM_bd_walk_1_120" of "HDM_bd".
        """
        first, _, remainder = self.name.partition("_")
        return f"{first}_{remainder.partition('_')[0]}" if first == "HDM" else first.lstrip("0") or first

    def joints_at(self, t_s: Doubles) -> Floats:
        """Return the captured person's joint positions [N, 21, 3] at times [N] in seconds, interpolated between frames.

        Before the first and after the last frame the person is still.
        """
        last = len(self.joints) - 1
        frame = np.clip(t_s * self.fps, 0, last)
        i = np.minimum(frame.astype(np.int64), max(last - 1, 0))
        u = (frame - i).astype(np.float32)[:, None, None]
        p0, p1, p2, p3 = (self.joints[np.clip(i + k, 0, last)] for k in (-1, 0, 1, 2))
        joints: Floats = p1 + 0.5 * u * (p2 - p0 + u * (2 * p0 - 5 * p1 + 4 * p2 - p3 + u * (3 * (p1 - p2) + p3 - p0)))
        return joints

    def mirror(self) -> Motion:
        """Return the captured motion in a mirror: left and right are swapped."""
        return Motion(f"{self.name}~", self.fps, self.joints[:, SWAPPED] * np.array((-1, 1, 1), np.float32))


def read_motions(path: str | Path) -> list[Motion]:
    """Read the captured motions of a file: one from BVH or AMC (with its ASF file), all from an NPZ collection.

    Raises PlifError, one line.

    A collection has names [M], fps, starts [M + 1] and delta_mm int16 [T, 21, 3]: the joints of JOINTS in whole
    millimetres, each frame as its difference to the one before, of all motions one after the other.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise PlifError(f"{path}: expected a file of motion capture: {', '.join(SUFFIXES)}")
    if kind == ".npz":
        return _read_collection(path)
    with open_lines(path) as lines:
        rig, fps, blocks = (read_bvh if kind == ".bvh" else read_amc)(lines)
        nodes, ends = _find_joints(path, rig)
        parts: list[Floats] = []
        for rows in blocks:
            parts.append(_nodes_to_joints(rig.locate_nodes(rows), nodes, ends))
            if sum(map(len, parts)) > MOST_FRAMES:
                raise PlifError(f"{path}: more than {MOST_FRAMES} frames: cut it into parts")
    return [_normalize_joints(path, fps, np.concatenate(parts) if parts else np.empty((0, len(JOINTS), 3), np.float32))]


def _find_joints(path: Path, rig: Rig) -> tuple[list[int], dict[str, list[int]]]:
    """Find the skeleton node of each of our 21 joints, and the finger nodes of each wrist."""
    plain: dict[str, int] = {}
    for i, node in enumerate(rig.nodes):
        plain.setdefault(re.sub("[^a-z0-9]", "", PREFIX.sub("", node.name).lower()), i)

    def find(part: str, *sides: str) -> int:
        names = [name.format(s=side) for name in NAMES[part] for side in sides or ("",)]
        node_index = next((plain[name] for name in names if name in plain), -1)
        if node_index < 0:
            raise PlifError(
                f"{path}: no joint for {' '.join([*sides[-1:], part])} among {', '.join(n.name for n in rig.nodes[:12])};"
                f" expected a usual skeleton, as {', '.join(names[:4])}"
            )
        return node_index

    sided = {side: ("l", "left") if side == "L" else ("r", "right") for side in "LR"}
    node_of = {part: find(part) for part in ("hips", "chest", "neck", "head")}
    node_of |= {f"{side}{part}": find(part, *sided[side]) for side in "LR" for part in SIDED if part != "tip"}
    node_of["top"] = node_of["head"]
    ends = {}
    for side in "LR":
        wrist = node_of[f"{side}wri"]
        node_of[f"{side}tip"] = wrist
        ends[side] = [i for i, node in enumerate(rig.nodes) if node.parent == wrist]
    return [node_of[name] for name in JOINTS], ends


def _nodes_to_joints(places: Doubles, nodes: Sequence[int], ends: dict[str, list[int]]) -> Floats:
    """Convert positions of skeleton nodes [T, nodes, 3] to our joints [T, 21, 3], in the unit of the file.

    Finger tips lie where the fingers begin.
    """
    joints = places[:, nodes]
    for side, fingers in ends.items():
        if fingers:
            joints[:, J[f"{side}tip"]] = places[:, fingers].mean(1)
    return joints.astype(np.float32)


def _normalize_joints(path: Path, fps: float, joints: Floats) -> Motion:
    """Convert the joint positions of a motion capture file, in the file's unit, to a Motion in metres."""

    def length(a: str, b: str) -> float:
        return float(np.median(np.linalg.norm(joints[:, J[a]] - joints[:, J[b]], axis=1)))

    leg = length("Lhip", "Lkne") + length("Lkne", "Lank") if len(joints) else 0.0
    if len(joints) < 2 or not leg > 1e-6 or not np.isfinite(joints).all():
        raise PlifError(
            f"{path}: {len(joints)} frames of legs of {leg:g}, expected 2 frames or more of somebody with legs"
        )
    joints *= np.float32(LEG_M / leg)
    if np.linalg.norm(joints[1] - joints[0], axis=1).max() > LEAP_M and len(joints) > 2:
        joints = joints[1:]
    left = normalize_vectors(joints[:, J["Lsho"]] - joints[:, J["Rsho"]])
    apart = max(0.0, SHOULDERS_M - length("Lsho", "Rsho")) / 2
    for side, sign in (("L", 1), ("R", -1)):
        wrist, tip = joints[:, J[f"{side}wri"]], joints[:, J[f"{side}tip"]]
        along = tip - wrist
        bare = np.linalg.norm(along, axis=1, keepdims=True) < 1e-3
        along = np.where(bare, wrist - joints[:, J[f"{side}elb"]], along)
        joints[:, J[f"{side}tip"]] = wrist + np.float32(HAND_M) * normalize_vectors(along)
        joints[:, [J[f"{side}{part}"] for part in SIDED[:4]]] += np.float32(sign * apart) * left[:, None]
        foot = joints[:, J[f"{side}toe"]] - joints[:, J[f"{side}ank"]]
        if float(np.abs(foot).max()) < 1e-3:  # no toes in the file: they point forwards
            joints[:, J[f"{side}toe"]] += np.float32(0.15) * chest_direction(joints)
    neck = joints[:, J["head"]] - joints[:, J["neck"]]
    joints[:, J["top"]] = joints[:, J["head"]] + np.float32(TOP_M) * normalize_vectors(neck)
    return Motion(path.stem, fps, joints)


def normalize_vectors(vectors: Floats) -> Floats:
    """Scale vectors [..., 3] to length 1."""
    length = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32(1e-6))
    return np.asarray(vectors / length, np.float32)


def chest_direction(joints: Floats) -> Floats:
    """Return the direction in which a person's chest faces, [T, 3] of length 1, from joints [T, 21, 3]."""
    left = joints[:, J["Lsho"]] - joints[:, J["Rsho"]]
    spine = joints[:, [J["Lsho"], J["Rsho"]]].mean(1) - joints[:, [J["Lhip"], J["Rhip"]]].mean(1)
    return normalize_vectors(np.cross(left, spine).astype(np.float32))


def facing_angle(joints: Floats) -> Floats:
    """Return the angle [T] about the vertical axis that a person faces, from joints [T, 21, 3]: 0 for +Z.

    The angle is positive towards +X.
    """
    left = joints[:, J["Lsho"]] - joints[:, J["Rsho"]] + joints[:, J["Lhip"]] - joints[:, J["Rhip"]]
    angle: Floats = np.arctan2(-left[:, 2], left[:, 0])
    return angle


def rotate_about_y(joints: Floats, angle: float) -> Floats:
    """Rotate joint positions [..., 3] about the vertical axis Y by an angle.

    A person who faced 0 then faces the angle.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    return joints @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)


def _read_collection(path: Path) -> list[Motion]:
    expected = "a collection of motions: names, fps, starts, delta_mm int16 [T, 21, 3]"
    try:
        with open_regular(path, expected) as file, zipfile.ZipFile(file) as packed:
            if sum(member.file_size for member in packed.infolist()) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES >> 20} MiB when unpacked")
            file.seek(0)
            arrays = np.load(file, allow_pickle=False)
            names, fps, starts = arrays["names"].tolist(), float(arrays["fps"]), arrays["starts"].astype(np.int64)
            delta = arrays["delta_mm"]
            is_increasing = starts.shape == (len(names) + 1,) and bool((np.diff(starts) >= 2).all()) and starts[0] == 0
    except PlifError:
        raise
    except Exception as error:  # zipfile and NumPy do not document their exceptions for damaged bytes
        raise PlifError(f"{path}: {' '.join(str(error).split())[:120]}; expected {expected}") from None
    if (
        not names
        or delta.dtype != np.int16
        or delta.shape[1:] != (len(JOINTS), 3)
        or not is_increasing
        or starts[-1] != len(delta)
        or not 1 <= fps <= 1000
    ):
        raise PlifError(f"{path}: {len(names)} names, delta_mm {delta.dtype} {delta.shape}; expected {expected}")
    joints = np.cumsum(delta, 0, np.int32).astype(np.float32) / np.float32(1000)
    return [Motion(str(name), fps, joints[a:b]) for name, a, b in zip(names, starts, starts[1:], strict=False)]


def list_actors(motions: Iterable[Motion]) -> list[str]:
    """Return the sorted names of the actors of these captured motions."""
    return sorted({motion.actor for motion in motions})
