"""Motion laws of everyday, non-gesture movements, in the form of gestures.py, each for one of many movements.

A network must stay silent, or answer "other", for all of them (docs/gesture.md). Small quick movements of a hand
(scratching, typing) keep below a fifth of the width of a wave.
"""

from __future__ import annotations

import numpy as np

from runtime.datasets.performers.figure import SHOULDER
from runtime.datasets.performers.gestures import (
    Arms,
    Doubles,
    Law,
    LawInput,
    add_hanging_arm,
    hang_arm,
    pose_arm,
    stack_points,
    walk,
)
from runtime.datasets.performers.wander import smooth_noise


def _smooth_step(m: LawInput, lasts_s: float) -> Doubles:
    """Return a smooth transition float64 [T] of a movement: 0 at its beginning, 1 after lasts_s seconds."""
    part = np.clip(m.t_s / lasts_s, 0, 1)
    return part * part * (3 - 2 * part)


def _stride(m: LawInput) -> Arms:
    """Move the simulated person as in walking, up and down a little with each step; return the arms."""
    m.pose.body[:, 1] += np.abs(2 * np.sin(m.phase))
    return walk(m, steps=(0.15, 0.55), swings=(3, 12))


def _walk_in(m: LawInput) -> Arms:
    from_x, size, lasts = m.draw.pick((-1.0, 1.0)) * m.draw.within(40, 90), m.draw.within(0.5, 1.0), m.draw.within(1, 3)
    m.pose.body[:, 0] += from_x * (1 - _smooth_step(m, lasts))
    m.pose.body[:, 2] *= size + (1 - size) * _smooth_step(m, lasts)
    return _stride(m)


def _walk_through(m: LawInput) -> Arms:
    way = m.draw.pick((-1.0, 1.0))
    m.pose.body[:, 0] += way * (m.draw.within(25, 60) * m.t_s - m.draw.within(20, 80))
    m.pose.body[:, 2] *= m.draw.within(0.3, 1.0)
    return _stride(m)


def _sit_down(m: LawInput) -> Arms:
    way, lasts = m.draw.pick((1.0, -1.0)), m.draw.within(0.7, 2.0)
    low = _smooth_step(m, lasts) if way > 0 else 1 - _smooth_step(m, lasts)
    m.pose.body[:, 1] += m.draw.within(15, 50) * low
    m.pose.body[:, 0] += m.draw.within(-15, 15) * low
    m.pose.body[:, 2] *= 1 + m.draw.within(-0.1, 0.25) * np.sin(np.pi * low)  # leans forward meanwhile
    swing = m.draw.within(0, 12) * np.sin(np.pi * low)
    arms = [hang_arm(m, arm) for arm in range(2)]
    for arm in arms:
        arm[:, 1:, 2] += swing[:, None]
        arm[:, 1:, 1] -= 0.5 * swing[:, None]
    return arms[0], arms[1]


def _turn_aside(m: LawInput) -> Arms:
    """Move the simulated person as in turning to the side and back; return the arms.

    The shoulders draw together, one arm passes in front, the head moves aside.
    """
    aside = 0.5 - 0.5 * np.cos(m.phase)
    way = m.draw.pick((-1.0, 1.0))
    m.pose.head[:, 0] += way * m.draw.within(2, 6) * aside
    m.pose.body[:, 0] += way * m.draw.within(0, 12) * aside
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        joints = hang_arm(m, arm)
        joints[:, :, 0] -= (side * m.draw.within(6, 20) * aside)[:, None]
        joints[:, :, 2] += (side * way * 10 * aside)[:, None]
        arms.append(joints)
    return arms[0], arms[1]


def _reach_for(m: LawInput, x: Doubles, y: Doubles, z: Doubles, arm: int) -> Doubles:
    """Return an arm [T, 3, 3] that moves from hanging to a position, stays, and returns, once a period."""
    away = np.clip(1.4 * np.sin(m.phase / 2) ** 2, 0, 1)
    hanging = hang_arm(m, arm)[:, 1]
    wrist = hanging + (np.stack([x, y, z], 1) - hanging) * away[:, None]
    return pose_arm(wrist, (-1.0, 1.0)[arm], bend=m.draw.within(-0.4, 0.4))


def _touch_head(m: LawInput) -> Arms:
    """Return the arms of a person with a hand at the head: drinking, scratching, telephoning, adjusting glasses."""
    arm = m.draw.pick((0, 1))
    side = (-1.0, 1.0)[arm]
    small, quick = m.draw.within(0, 2.5), m.draw.within(1.5, 5)
    tremble = small * np.sin(2 * np.pi * quick * m.t_s)
    goal = stack_points(
        side * m.draw.within(2, 15) + tremble, m.draw.within(-30, -4) + 0.5 * tremble, m.draw.within(8, 18), m.t_s
    )
    return add_hanging_arm(m, arm, _reach_for(m, goal[:, 0], goal[:, 1], goal[:, 2], arm))


def _point(m: LawInput) -> Arms:
    arm = m.draw.pick((0, 1))
    side = (-1.0, 1.0)[arm]
    goal = stack_points(side * m.draw.within(20, 48), m.draw.within(-25, 20), m.draw.within(5, 30), m.t_s)
    return add_hanging_arm(m, arm, _reach_for(m, goal[:, 0], goal[:, 1], goal[:, 2], arm))


def _work_with_hands(m: LawInput) -> Arms:
    """Return the arms of a person who writes, types or folds: both hands low in front of the body, small movements."""
    seed, pace = m.draw.integer(), m.draw.within(0.8, 3.0)
    y, z, wide, busy = m.draw.within(22, 42), m.draw.within(16, 30), m.draw.within(3, 18), m.draw.within(0.5, 4.0)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        dx, dy = (smooth_noise(m.t_s, (seed, arm, k), pace) for k in range(2))
        share = m.draw.within(0, 1)
        wrist = stack_points(side * wide + busy * share * dx, y + 0.6 * busy * share * dy, z, m.t_s)
        arms.append(pose_arm(wrist, side, bend=0.2 * side))
    return arms[0], arms[1]


def _carry_object(m: LawInput) -> Arms:
    """Return the arms of a person who walks and holds something in front with both hands."""
    _stride(m)
    m.pose.body[:, 0] += m.draw.within(-20, 20) * m.t_s - m.draw.within(-20, 20)
    y, wide, z = m.draw.within(18, 40), m.draw.within(6, 20), m.draw.within(14, 28)
    arms = [pose_arm(stack_points(side * wide + m.slow[0], y + m.slow[1], z, m.t_s), side) for side in (-1.0, 1.0)]
    return arms[0], arms[1]


def _stretch_arms(m: LawInput) -> Arms:
    """Return the arms of a person who stretches: slowly to the sides or over the head, and back."""
    out = np.sin(m.phase / 2) ** 2
    angle, far = 0.2 + m.draw.within(0.6, 2.7) * out, m.draw.within(36, 49)
    arms = []
    for side in (-1.0, 1.0):
        wrist = stack_points(side * (SHOULDER[0] + far * np.sin(angle)), SHOULDER[1] + far * np.cos(angle), 5, m.t_s)
        arms.append(pose_arm(wrist, side))
    return arms[0], arms[1]


def _fold_arms(m: LawInput) -> Arms:
    folded = _smooth_step(m, m.draw.within(0.6, 1.5))[:, None]
    y = m.draw.within(12, 28)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        hanging = hang_arm(m, arm)[:, 1]
        goal = stack_points(-side * m.draw.within(0, 14) + m.slow[0], y + side * 3 + m.slow[1], 14 + side * 2, m.t_s)
        arms.append(pose_arm(hanging + (goal - hanging) * folded, side))
    return arms[0], arms[1]


def _dress(m: LawInput) -> Arms:
    """Return the arms of a person who puts on a jacket or searches the pockets: large, slow, without a rhythm."""
    seed, pace = m.draw.integer(), m.draw.within(0.3, 0.9)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        x, y, z = (smooth_noise(m.t_s, (seed, arm, k), pace) for k in range(3))
        wrist = stack_points(side * m.draw.within(4, 26) + 12 * x, m.draw.within(8, 36) + 14 * y, 12 + 8 * z, m.t_s)
        arms.append(pose_arm(wrist, side))
    m.pose.body[:, 0] += m.draw.within(0, 5) * smooth_noise(m.t_s, (seed, 7), 0.5)
    return arms[0], arms[1]


def _stand(m: LawInput) -> Arms:
    """Move the simulated person as in shifting the weight and looking around; return the hanging arms."""
    m.pose.body[:, 0] += m.draw.within(0.5, 6) * m.slow[0]
    m.pose.body[:, 1] += m.draw.within(0, 2) * m.slow[1]
    m.pose.head += m.draw.within(0.5, 4) * np.stack([m.slow[2], 0.4 * m.slow[3]], 1)
    return hang_arm(m, 0), hang_arm(m, 1)


# Name -> slowest and fastest pace in Hz, law, as in other_gestures.OTHERS.
EVERYDAY: dict[str, tuple[float, float, Law]] = {
    "walks in": (0.6, 1.3, _walk_in),
    "walks through": (0.6, 1.3, _walk_through),
    "sits down or stands up": (0.3, 0.6, _sit_down),
    "turns": (0.15, 0.5, _turn_aside),
    "hand to the head": (0.15, 0.5, _touch_head),
    "points": (0.15, 0.5, _point),
    "hands at work": (0.3, 1.0, _work_with_hands),
    "carries": (0.6, 1.2, _carry_object),
    "stretches": (0.12, 0.4, _stretch_arms),
    "folds the arms": (0.3, 1.0, _fold_arms),
    "dresses": (0.3, 1.0, _dress),
    "stands": (0.3, 1.0, _stand),
}
