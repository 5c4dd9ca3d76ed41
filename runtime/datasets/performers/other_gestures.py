"""Motion laws of the class `other_gestures` of DVS128 Gesture: many kinds of motion, in the form of gestures.py."""

from __future__ import annotations

import numpy as np

from runtime.datasets.performers.figure import SHOULDER
from runtime.datasets.performers.gestures import (
    Arms,
    Law,
    LawInput,
    add_hanging_arm,
    hang_arm,
    pose_arm,
    stack_points,
    walk,
)
from runtime.datasets.performers.wander import smooth_noise


def _both_wave(m: LawInput) -> Arms:
    wide, y = m.draw.within(8, 24), m.draw.within(-40, -4)
    against = m.draw.pick((1.0, -1.0))
    arms = []
    for side, sign in ((-1.0, 1.0), (1.0, against)):
        x = side * m.draw.within(22, 38) + sign * wide * np.sin(m.phase)
        arms.append(pose_arm(stack_points(x, y + 4 * m.slow[0], 10, m.t_s), side))
    return arms[0], arms[1]


def _jumping(m: LawInput) -> Arms:
    lift = 0.5 + 0.5 * np.cos(m.phase)
    angle = m.draw.within(0.3, 0.6) + m.draw.within(1.4, 2.3) * lift  # angle from hanging to above the head
    far = m.draw.within(40, 49)
    arms = []
    for side in (-1.0, 1.0):
        wrist = stack_points(side * (SHOULDER[0] + far * np.sin(angle)), SHOULDER[1] + far * np.cos(angle), 5, m.t_s)
        arms.append(pose_arm(wrist, side))
    m.pose.body[:, 1] += m.draw.within(0, 8) * np.abs(np.sin(m.phase / 2))
    return arms[0], arms[1]


def _punching(m: LawInput) -> Arms:
    arms = []
    for side, ahead in ((-1.0, 0.0), (1.0, np.pi)):
        out = np.maximum(np.sin(m.phase + ahead), 0) ** 1.5
        wrist = stack_points(side * (14 - 8 * out), 8 - 8 * out + m.draw.within(-6, 10), 16 + 30 * out, m.t_s)
        arms.append(pose_arm(wrist, side))
    return arms[0], arms[1]


def _wander_hands(m: LawInput) -> Arms:
    """Return the arms of a person who moves one or both hands at random."""
    alone = m.draw.pick((None, None, 0, 1))
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        if alone == 1 - arm:
            arms.append(hang_arm(m, arm))
            continue
        seed, pace = m.draw.integer(), m.draw.within(0.7, 1.8)
        x, y, z = (smooth_noise(m.t_s, (seed, k), pace) for k in range(3))
        wrist = stack_points(side * m.draw.within(12, 30) + 20 * x, m.draw.within(0, 25) + 26 * y, 14 + 10 * z, m.t_s)
        arms.append(pose_arm(wrist, side, bend=0.4 * z))
    return arms[0], arms[1]


def _raise_arms(m: LawInput) -> Arms:
    """Return the arms of a person who raises one or both arms and lowers them: forwards, sideways, to the head."""
    raised = m.draw.pick((0, 1, 2))
    up = 0.5 - 0.5 * np.cos(m.phase)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        hanging = hang_arm(m, arm)
        if raised not in (arm, 2):
            arms.append(hanging)
            continue
        top = stack_points(side * m.draw.within(4, 44), m.draw.within(-42, 10), m.draw.within(4, 30), m.t_s)
        wrist = hanging[:, 1] + (top - hanging[:, 1]) * up[:, None]
        arms.append(pose_arm(wrist, side))
    return arms[0], arms[1]


def _move_body_only(m: LawInput) -> Arms:
    """Move the simulated person as in bowing, swaying or nodding; return the hanging arms."""
    x, y = m.draw.within(0, 9), m.draw.within(0, 9)
    m.pose.body[:, 0] += x * np.sin(m.phase)
    m.pose.body[:, 1] += y * np.sin(m.phase + m.draw.within(0, 6))
    m.pose.head += m.draw.within(0, 4) * np.stack([np.sin(m.phase), np.cos(m.phase)], 1)
    return hang_arm(m, 0), hang_arm(m, 1)


def _walk_through(m: LawInput) -> Arms:
    """Move the simulated person through the picture as in walking, far or near; return the arms."""
    small = m.draw.within(0.25, 0.8)
    closer = m.draw.within(-0.12, 0.12) * small
    m.pose.body[:, 2] = np.clip(small + closer * m.t_s, 0.15, 1.2)
    m.pose.body[:, 0] += m.draw.within(-45, 45) + m.draw.within(-30, 30) * m.t_s
    m.pose.body[:, 1] += m.draw.within(-45, 5) + np.abs(2.5 * small * np.sin(m.phase))
    return walk(m, steps=(0.2, 0.6), swings=(4, 14), lift=0.2)


def _standing_up(m: LawInput) -> Arms:
    low = m.draw.within(15, 55)
    up = 0.5 - 0.5 * np.cos(m.phase)
    m.pose.body[:, 1] += low * (1 - up)
    m.pose.body[:, 2] *= 1 + m.draw.within(-0.15, 0.15) * up
    m.pose.body[:, 0] += m.draw.within(-12, 12) * up
    return hang_arm(m, 0), hang_arm(m, 1)


def _wave_near_lens(m: LawInput) -> Arms:
    """Return the arms of a person with a hand close in front of the camera's lens.

    One large arm comes from the side; the rest of the person is out of the picture. It wanders slowly: what goes to and
    fro near the lens is a wave (view "near" of motion/people.py).
    """
    arm = m.draw.pick((0, 1))
    side = (-1.0, 1.0)[arm]
    big = m.draw.within(1.6, 2.8)
    m.pose.body[:, 2] *= big
    m.pose.body[:, 0] += -side * m.draw.within(-20, 50) + side * 60
    m.pose.body[:, 1] += m.draw.within(-25, 25)
    seed, pace = m.draw.integer(), m.draw.within(0.15, 0.5)
    x, y, z = (smooth_noise(m.t_s, (seed, k), pace) for k in range(3))
    wrist = stack_points(side * -10 + 7 * x, m.draw.within(-6, 10) + 8 * y, 6 + 6 * z, m.t_s)
    moving = pose_arm(wrist, side, bend=0.5 * z)
    return add_hanging_arm(m, arm, moving)


# Name -> slowest and fastest pace in Hz, law. "again" makes one more probable.
OTHERS: dict[str, tuple[float, float, Law]] = {
    "both arms wave": (0.8, 2.6, _both_wave),
    "jumping jack": (0.5, 1.6, _jumping),
    "punching": (0.8, 2.5, _punching),
    "wandering hands": (0.5, 1.5, _wander_hands),
    "wandering hands, again": (0.5, 1.5, _wander_hands),
    "raising an arm": (0.25, 1.0, _raise_arms),
    "raising an arm, again": (0.25, 1.0, _raise_arms),
    "body only": (0.3, 1.6, _move_body_only),
    "walking": (0.6, 1.3, _walk_through),
    "walking, again": (0.6, 1.3, _walk_through),
    "standing up": (0.15, 0.5, _standing_up),
    "near hand": (0.3, 1.0, _wave_near_lens),
}
