"""What people do who mean no gesture: laws like those of gestures.py, each for one of many everyday movements.

A network must stay silent, or say "other", to all of them (docs/gesture.md). Small quick movements of a hand (scratching,
typing) keep below a fifth of the width of a wave.
"""

from __future__ import annotations

import numpy as np

from runtime.datasets.performers.figure import SHOULDER
from runtime.datasets.performers.gestures import Arms, Doubles, Law, Moment, bend_arm, hang_arm, hang_other, place, walk
from runtime.datasets.performers.wander import wander


def _ease(m: Moment, lasts_s: float) -> Doubles:
    """0 at the begin, 1 from lasts_s on, smooth. float64 [T]"""
    part = np.clip(m.t_s / lasts_s, 0, 1)
    return part * part * (3 - 2 * part)


def _stride(m: Moment) -> Arms:
    """Somebody who walks, up and down a little with each step."""
    m.pose.body[:, 1] += np.abs(2 * np.sin(m.phase))
    return walk(m, steps=(0.15, 0.55), swings=(3, 12))


def _walk_in(m: Moment) -> Arms:
    from_x, size, lasts = m.draw.pick((-1.0, 1.0)) * m.draw.within(40, 90), m.draw.within(0.5, 1.0), m.draw.within(1, 3)
    m.pose.body[:, 0] += from_x * (1 - _ease(m, lasts))
    m.pose.body[:, 2] *= size + (1 - size) * _ease(m, lasts)
    return _stride(m)


def _walk_through(m: Moment) -> Arms:
    way = m.draw.pick((-1.0, 1.0))
    m.pose.body[:, 0] += way * (m.draw.within(25, 60) * m.t_s - m.draw.within(20, 80))
    m.pose.body[:, 2] *= m.draw.within(0.3, 1.0)
    return _stride(m)


def _sit_down(m: Moment) -> Arms:
    way, lasts = m.draw.pick((1.0, -1.0)), m.draw.within(0.7, 2.0)
    low = _ease(m, lasts) if way > 0 else 1 - _ease(m, lasts)
    m.pose.body[:, 1] += m.draw.within(15, 50) * low
    m.pose.body[:, 0] += m.draw.within(-15, 15) * low
    m.pose.body[:, 2] *= 1 + m.draw.within(-0.1, 0.25) * np.sin(np.pi * low)  # leans forward on the way
    swing = m.draw.within(0, 12) * np.sin(np.pi * low)
    arms = [hang_arm(m, arm) for arm in range(2)]
    for arm in arms:
        arm[:, 1:, 2] += swing[:, None]
        arm[:, 1:, 1] -= 0.5 * swing[:, None]
    return arms[0], arms[1]


def _turn(m: Moment) -> Arms:
    """Turns to the side and back: the shoulders draw together, one arm passes in front, the head moves aside."""
    aside = 0.5 - 0.5 * np.cos(m.phase)
    way = m.draw.pick((-1.0, 1.0))
    m.pose.head[:, 0] += way * m.draw.within(2, 6) * aside
    m.pose.body[:, 0] += way * m.draw.within(0, 12) * aside
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        found = hang_arm(m, arm)
        found[:, :, 0] -= (side * m.draw.within(6, 20) * aside)[:, None]
        found[:, :, 2] += (side * way * 10 * aside)[:, None]
        arms.append(found)
    return arms[0], arms[1]


def _reach_for(m: Moment, x: Doubles, y: Doubles, z: Doubles, arm: int) -> Doubles:
    """An arm [T, 3, 3] that goes from hanging to a place, stays, and returns; the pace is that of one such errand."""
    away = np.clip(1.4 * np.sin(m.phase / 2) ** 2, 0, 1)
    hanging = hang_arm(m, arm)[:, 1]
    wrist = hanging + (np.stack([x, y, z], 1) - hanging) * away[:, None]
    return bend_arm(wrist, (-1.0, 1.0)[arm], bend=m.draw.within(-0.4, 0.4))


def _to_the_head(m: Moment) -> Arms:
    """Drinks, scratches, holds a telephone, puts glasses right."""
    arm = m.draw.pick((0, 1))
    side = (-1.0, 1.0)[arm]
    small, quick = m.draw.within(0, 2.5), m.draw.within(1.5, 5)
    tremble = small * np.sin(2 * np.pi * quick * m.t_s)
    at = place(
        side * m.draw.within(2, 15) + tremble, m.draw.within(-30, -4) + 0.5 * tremble, m.draw.within(8, 18), m.t_s
    )
    return hang_other(m, arm, _reach_for(m, at[:, 0], at[:, 1], at[:, 2], arm))


def _point(m: Moment) -> Arms:
    arm = m.draw.pick((0, 1))
    side = (-1.0, 1.0)[arm]
    at = place(side * m.draw.within(20, 48), m.draw.within(-25, 20), m.draw.within(5, 30), m.t_s)
    return hang_other(m, arm, _reach_for(m, at[:, 0], at[:, 1], at[:, 2], arm))


def _hands_at_work(m: Moment) -> Arms:
    """Writes, types, folds something: both hands low in front of the body, small movements."""
    seed, pace = m.draw.whole(), m.draw.within(0.8, 3.0)
    y, z, wide, busy = m.draw.within(22, 42), m.draw.within(16, 30), m.draw.within(3, 18), m.draw.within(0.5, 4.0)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        dx, dy = (wander(m.t_s, (seed, arm, k), pace) for k in range(2))
        share = m.draw.within(0, 1)
        wrist = place(side * wide + busy * share * dx, y + 0.6 * busy * share * dy, z, m.t_s)
        arms.append(bend_arm(wrist, side, bend=0.2 * side))
    return arms[0], arms[1]


def _carry(m: Moment) -> Arms:
    """Both hands hold something in front, and the person walks with it."""
    _stride(m)
    m.pose.body[:, 0] += m.draw.within(-20, 20) * m.t_s - m.draw.within(-20, 20)
    y, wide, z = m.draw.within(18, 40), m.draw.within(6, 20), m.draw.within(14, 28)
    both = [bend_arm(place(side * wide + m.slow[0], y + m.slow[1], z, m.t_s), side) for side in (-1.0, 1.0)]
    return both[0], both[1]


def _stretch(m: Moment) -> Arms:
    """Both arms slowly to the sides, over the head or together, and back."""
    out = np.sin(m.phase / 2) ** 2
    angle, far = 0.2 + m.draw.within(0.6, 2.7) * out, m.draw.within(36, 49)
    arms = []
    for side in (-1.0, 1.0):
        wrist = place(side * (SHOULDER[0] + far * np.sin(angle)), SHOULDER[1] + far * np.cos(angle), 5, m.t_s)
        arms.append(bend_arm(wrist, side))
    return arms[0], arms[1]


def _fold_arms(m: Moment) -> Arms:
    folded = _ease(m, m.draw.within(0.6, 1.5))[:, None]
    y = m.draw.within(12, 28)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        hanging = hang_arm(m, arm)[:, 1]
        goal = place(-side * m.draw.within(0, 14) + m.slow[0], y + side * 3 + m.slow[1], 14 + side * 2, m.t_s)
        arms.append(bend_arm(hanging + (goal - hanging) * folded, side))
    return arms[0], arms[1]


def _dress(m: Moment) -> Arms:
    """Puts on a jacket, looks for something in the pockets: slow large movements without a rhythm."""
    seed, pace = m.draw.whole(), m.draw.within(0.3, 0.9)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        x, y, z = (wander(m.t_s, (seed, arm, k), pace) for k in range(3))
        wrist = place(side * m.draw.within(4, 26) + 12 * x, m.draw.within(8, 36) + 14 * y, 12 + 8 * z, m.t_s)
        arms.append(bend_arm(wrist, side))
    m.pose.body[:, 0] += m.draw.within(0, 5) * wander(m.t_s, (seed, 7), 0.5)
    return arms[0], arms[1]


def _stand(m: Moment) -> Arms:
    """Shifts the weight, looks around."""
    m.pose.body[:, 0] += m.draw.within(0.5, 6) * m.slow[0]
    m.pose.body[:, 1] += m.draw.within(0, 2) * m.slow[1]
    m.pose.head += m.draw.within(0.5, 4) * np.stack([m.slow[2], 0.4 * m.slow[3]], 1)
    return hang_arm(m, 0), hang_arm(m, 1)


# Name -> slowest and fastest pace in Hz, law, as in other_gestures.OTHERS.
EVERYDAY: dict[str, tuple[float, float, Law]] = {
    "walks in": (0.6, 1.3, _walk_in),
    "walks through": (0.6, 1.3, _walk_through),
    "sits down or stands up": (0.3, 0.6, _sit_down),
    "turns": (0.15, 0.5, _turn),
    "hand to the head": (0.15, 0.5, _to_the_head),
    "points": (0.15, 0.5, _point),
    "hands at work": (0.3, 1.0, _hands_at_work),
    "carries": (0.6, 1.2, _carry),
    "stretches": (0.12, 0.4, _stretch),
    "folds the arms": (0.3, 1.0, _fold_arms),
    "dresses": (0.3, 1.0, _dress),
    "stands": (0.3, 1.0, _stand),
}
