"""Drawn performers as joints, for a MotionPainter, which shows them from any side, near and in part.

A move is non-gesture motion between poses that are held: stands up, sits down, reaches, raises an arm and holds it,
lowers it, points, bows, turns. Body, rendering and camera are those of the gestures; only the motion differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from runtime.datasets.motion.joints import JOINTS, TOP_M, J, normalize_vectors
from runtime.datasets.motion.people import PX_PER_M, WRISTS, MotionPainter, draw_view
from runtime.datasets.performers.figure import HAND_PX, SHOULDER, Pose, solve_arm
from runtime.datasets.performers.performance import Bout, pose_at
from runtime.datasets.performers.performer import Performer
from runtime.datasets.performers.wander import ParameterDraws, smooth_noise

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

BONE_M, HIP_M, BACK_M = 0.41, 0.09, 0.645  # thigh or shin; half of the hips' width; hips to shoulders
TO_METRES = np.array((1, -1, 1)) / PX_PER_M  # from pixels of the figure, where Y points down


def pose_to_joints(pose: Pose, scale: float) -> Floats:
    """Convert the pose of a simulated (drawn) person to joint positions [T, 21, 3] in metres.

    scale  of the performer; its shifts are pixels of the picture
    """
    flat = np.zeros((len(pose), len(JOINTS), 3))
    x, y = pose.head.T
    for name, y_px in (("chest", 30.0), ("hips", 62.0), ("neck", -6.0), ("head", -19.0)):
        flat[:, J[name], 1] = y_px
    flat[:, J["head"], 0], flat[:, J["neck"], 0] = x, 0.15 * x
    flat[:, J["head"], 1] += y
    flat[:, J["top"]] = flat[:, J["head"]] - (0, TOP_M * PX_PER_M, 0)
    for arm, (side, way) in enumerate((("R", -1), ("L", 1))):
        flat[:, J[f"{side}sho"]] = (way * SHOULDER[0], SHOULDER[1], 0)
        for k, part in enumerate(("elb", "wri", "tip")):
            flat[:, J[f"{side}{part}"]] = pose.arms[:, arm, k]
        swing = pose.legs[:, arm]
        hip = flat[:, J[f"{side}hip"]] = np.tile((way * 8.0, 62, 0), (len(pose), 1))
        knee = hip + 38 * np.stack([0 * swing, np.cos(swing), np.sin(swing)], 1)
        ankle = knee + np.stack([0 * swing, 38 * np.cos(0.6 * swing), 18 * np.sin(swing) - 6], 1)
        flat[:, J[f"{side}kne"]], flat[:, J[f"{side}ank"]] = knee, ankle
        flat[:, J[f"{side}toe"]] = ankle + np.array((0, 4, 12))
    flat *= pose.body[:, 2, None, None]
    flat[:, :, :2] += pose.body[:, None, :2] / scale
    return (flat * TO_METRES).astype(np.float32)


class GestureMotion:
    """The motion of a simulated person who performs gestures (bouts) from start_us (its time 0) to end_us."""

    yaw_deg = 20.0  # seen from about the front

    def __init__(self, bouts: Sequence[Bout], start_us: int, end_us: int, seed: tuple[int, ...], scale: float) -> None:
        self._bouts, self._start_us, self._seed, self._scale = bouts, start_us, seed, scale
        self.seconds = (end_us - start_us) / 1e6
        named = {bout.label.partition("_")[0] for bout in bouts}
        self.arms = named.pop() if named in ({"right"}, {"left"}) else "both"  # the moving arms
        self.visible = WRISTS[self.arms].split()

    def sample_times(self) -> npt.NDArray[np.int64]:
        """Return times [N] in us, spread over the gestures, at which a camera view is tested."""
        spans = [
            (max(bout.t_ready_us - self._start_us, 0), bout.t_off_us - self._start_us) for bout in self._bouts[:20]
        ]
        end_us = int(self.seconds * 1e6)
        return np.concatenate([np.linspace(a, min(b, end_us), 10, False) for a, b in spans or [(0, end_us)]]).astype(
            np.int64
        )

    def joints_at(self, t_s: Doubles, /) -> Floats:
        """Return the joint positions [N, 21, 3] of a person who gestures, in metres, at times [N] in seconds."""
        t_us = np.rint(t_s * 1e6).astype(np.int64) + self._start_us
        return pose_to_joints(pose_at(self._bouts, t_us, self._seed), self._scale)


@dataclass(frozen=True)
class BodyPose:
    """The pose of a simulated person's body between two movements: sitting, bowing, turning, and the wrists.

    Angles are in radians. Wrists are relative to the shoulders, in pixels.
    """

    low: float = 0.0  # 1: sitting
    bow: float = 0.0  # forwards
    turned: float = 0.0
    aside: float = 0.0  # metres
    right: tuple[float, float, float] = (-23.0, 50.0, 4.0)
    left: tuple[float, float, float] = (23.0, 50.0, 4.0)

    def to_numbers(self) -> list[float]:
        return [self.low, self.bow, self.turned, self.aside, *self.right, *self.left]


Steps = list[tuple[float, float, BodyPose]]  # seconds on the way, seconds held, pose
MOVES = (
    *("stands up", "sits down", "reaches", "raises and holds", "raises and holds", "lowers", "points", "bows", "turns"),
    *("hand to the head", "both arms up", "grabs high"),
)


def draw_steps(name: str, draw: ParameterDraws, current: BodyPose) -> Steps:
    """Choose random steps of one move, such as sitting down: (seconds of movement, seconds held, pose) each."""
    arm = draw.pick(("right", "left"))
    side = 1.0 if arm == "left" else -1.0
    quick, hold = draw.within(0.35, 1.4), draw.within(*((0.3, 3.0) if "hold" in name else (0.1, 1.5)))
    resting = replace(current, right=BodyPose.right, left=BodyPose.left, bow=0.0)

    def wrist(
        x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], base: BodyPose = current
    ) -> BodyPose:
        place = (side * draw.within(*x), draw.within(*y), draw.within(*z))
        return replace(base, right=place) if arm == "right" else replace(base, left=place)

    if name in ("stands up", "sits down"):
        down = 1.0 if name == "sits down" else 0.0
        if current.low == down:
            return [(quick, 0.1, replace(resting, low=1 - down))]
        leant = replace(resting, low=0.5, bow=draw.within(0.2, 0.8))
        return [(0.6 * quick, 0.0, leant), (0.6 * quick, hold, replace(resting, low=down))]
    if name == "bows":
        return [(quick, draw.within(0.0, 1.0), replace(resting, bow=draw.within(0.4, 1.4))), (quick, hold, resting)]
    if name == "turns":
        return [(quick, hold, replace(resting, turned=current.turned + draw.pick((-1.0, 1.0)) * draw.within(0.4, 3.1)))]
    if name == "both arms up":
        x, y, z = draw.within(4, 40), draw.within(-46, 0), draw.within(2, 24)
        return [(quick, hold, replace(current, right=(-x, y, z), left=(x, y, z))), (quick, 0.2, resting)]
    ways = {
        "reaches": ((-6, 40), (-6, 42), (22, 46)),
        "raises and holds": ((-2, 44), (-48, -2), (2, 30)),
        "lowers": ((-2, 44), (-48, -2), (2, 30)),
        "points": ((4, 50), (-22, 20), (8, 44)),
        "hand to the head": ((-4, 14), (-30, -8), (8, 18)),
        "grabs high": ((0, 24), (-50, -34), (8, 26)),
    }
    raised = wrist(*ways[name])
    if name == "lowers":  # the arm is up when the move begins
        return [(0.0, 0.0, raised), (quick, hold, resting)]
    if name == "reaches":
        raised = replace(raised, bow=draw.within(0.0, 0.5))
    return [(quick, hold, raised), (draw.within(0.35, 1.4), draw.within(0.1, 1.0), resting)]


class MoveMotion:
    """The motion of a simulated person who does one non-gesture move, such as sitting down, after the other.

    `moves` has (name, begin in seconds).
    """

    arms, visible = "both", JOINTS

    def __init__(
        self, seed: tuple[int, ...], held_out: bool, seconds: float, names: Sequence[str] = MOVES,
        steps: Callable[[str, ParameterDraws, BodyPose], Steps] = draw_steps, yaw_deg: float = 180.0,
    ) -> None:  # fmt: skip
        """Draw moves of these names until `seconds` are over. `yaw_deg`: how far to the side they are seen at most."""
        self.yaw_deg = yaw_deg
        draw = ParameterDraws((*seed, 63), held_out)
        self.seconds, self._seed, self.moves = seconds, seed, list[tuple[str, float]]()
        current, t_s = BodyPose(low=draw.pick((0.0, 0.0, 1.0))), draw.within(0.0, 0.6)
        times, poses = [0.0, t_s], [current.to_numbers(), current.to_numbers()]
        while t_s < seconds:
            move = draw.pick(names)
            self.moves.append((move, t_s))
            for way_s, hold_s, pose in steps(move, draw, current):
                times += [t_s + way_s, t_s + way_s + hold_s]
                poses += [pose.to_numbers(), pose.to_numbers()]
                t_s, current = t_s + way_s + hold_s, pose
        self._times, self._poses = np.array(times), np.array(poses)

    def sample_times(self) -> npt.NDArray[np.int64]:
        """Return times [N] in us, spread over the person's moves, at which a camera view is tested."""
        return np.linspace(0, min(self.seconds, 60.0) * 1e6, 20).astype(np.int64)

    def joints_at(self, t_s: Doubles, /) -> Floats:
        """Return the joint positions [N, 21, 3] of a person who does moves, in metres, at times [N] in seconds."""
        k = np.clip(np.searchsorted(self._times, t_s, "right") - 1, 0, len(self._times) - 2)
        span = np.maximum(self._times[k + 1] - self._times[k], 1e-6)
        u = np.clip((t_s - self._times[k]) / span, 0, 1)[:, None]
        u = u**3 * (10 - 15 * u + 6 * u * u)  # without a jolt at either end
        numbers = self._poses[k] + u * (self._poses[k + 1] - self._poses[k])
        sway = np.stack([smooth_noise(t_s, (*self._seed, 64, i), 0.5) for i in range(numbers.shape[1])], 1)
        numbers += sway * np.array([0.005, 0.01, 0.02, 0.008, *[0.8] * 6])
        return _numbers_to_joints(numbers)


def draw_painter(
    performer: Performer,
    acting: GestureMotion | MoveMotion,
    kind: str,
    seed: tuple[int, ...],
    roll_deg: float = 0.0,
    distance_m: float | None = None,
) -> MotionPainter:
    """Choose a random camera view that nearly always shows the moving joints, and return a painter for that view.

    The view has this kind (draw_view), and this distance where one is given. Of a gesture it shows a moving wrist, of a
    move any joint.
    """
    times = acting.sample_times()
    for attempt in range(20):
        view = draw_view(kind, (*seed, attempt), performer.held_out, acting.arms, acting.yaw_deg)
        view = replace(view, roll_deg=roll_deg, distance_m=distance_m or view.distance_m)
        painter = MotionPainter(performer, acting, view)
        if painter.visible_joints(times, acting.visible).any(1).mean() >= 0.8:
            break
    return painter


def _numbers_to_joints(numbers: Doubles) -> Floats:
    """Convert poses [T, 10] (BodyPose.to_numbers) of a person to joint positions [T, 21, 3] in metres."""
    low, bow, turned, aside = numbers[:, :4].T
    joints = np.zeros((len(numbers), len(JOINTS), 3))
    hips = np.stack([0 * low, 2 * BONE_M * (1 - 0.45 * np.clip(low, 0, 1)) + 0.08, -0.28 * low - 0.12 * np.sin(bow)], 1)
    spine = np.stack([0 * bow, np.cos(bow), np.sin(bow)], 1)
    head = np.stack([0 * bow, np.cos(1.15 * bow), np.sin(1.15 * bow)], 1)
    shoulders = hips + BACK_M * spine
    joints[:, J["hips"]], joints[:, J["chest"]] = hips, hips + 0.5 * BACK_M * spine
    joints[:, J["neck"]] = shoulders + 0.08 * head
    joints[:, J["head"]] = shoulders + 0.225 * head
    joints[:, J["top"]] = joints[:, J["head"]] + TOP_M * head
    for side, way, wrist in (("R", -1.0, numbers[:, 4:7]), ("L", 1.0, numbers[:, 7:10])):
        elbow, wrist = solve_arm(wrist, way)
        shoulder = np.array((way * SHOULDER[0], SHOULDER[1], 0.0))
        along = normalize_vectors((wrist - elbow).astype(np.float32)) * HAND_PX
        for part, place in (("sho", shoulder), ("elb", elbow), ("wri", wrist), ("tip", wrist + along)):
            joints[:, J[f"{side}{part}"]] = shoulders + (place - (0, SHOULDER[1], 0)) * TO_METRES
        hip = hips + np.array((way * HIP_M, 0, 0))
        ankle = np.array((way * (HIP_M + 0.02), 0.08, 0.0))
        half = 0.5 * (ankle - hip)
        short = np.sqrt(np.maximum(BONE_M**2 - (half**2).sum(1), 0))
        forward = np.stack([0 * low, -half[:, 2], half[:, 1]], 1)  # at right angles to the leg, forwards
        forward *= np.sign(forward[:, 2:]) / np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-6)
        joints[:, J[f"{side}hip"]], joints[:, J[f"{side}ank"]] = hip, ankle
        joints[:, J[f"{side}kne"]] = hip + half + forward * short[:, None]
        joints[:, J[f"{side}toe"]] = ankle + np.array((0, -0.05, 0.14))
    joints[:, :, 0] += aside[:, None]
    cos, sin = np.cos(turned)[:, None], np.sin(turned)[:, None]
    joints[:, :, 0], joints[:, :, 2] = (
        cos * joints[:, :, 0] + sin * joints[:, :, 2],
        cos * joints[:, :, 2] - sin * joints[:, :, 0],
    )
    return joints.astype(np.float32)
