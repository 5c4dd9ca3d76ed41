"""What `other_gestures` of DVS128 Gesture can be: many kinds of motion, as laws like those of gestures.py."""

from __future__ import annotations

import numpy as np

from runtime.datasets.performers.figure import SHOULDER
from runtime.datasets.performers.gestures import Arms, Law, Moment, bend_arm, hang_arm, hang_other, place, walk
from runtime.datasets.performers.wander import wander


def _both_wave(m: Moment) -> Arms:
    wide, y = m.draw.within(8, 24), m.draw.within(-40, -4)
    against = m.draw.pick((1.0, -1.0))
    arms = []
    for side, sign in ((-1.0, 1.0), (1.0, against)):
        x = side * m.draw.within(22, 38) + sign * wide * np.sin(m.phase)
        arms.append(bend_arm(place(x, y + 4 * m.slow[0], 10, m.t_s), side))
    return arms[0], arms[1]


def _jumping(m: Moment) -> Arms:
    lift = 0.5 + 0.5 * np.cos(m.phase)
    angle = m.draw.within(0.3, 0.6) + m.draw.within(1.4, 2.3) * lift  # from hanging to above the head
    far = m.draw.within(40, 49)
    arms = []
    for side in (-1.0, 1.0):
        wrist = place(side * (SHOULDER[0] + far * np.sin(angle)), SHOULDER[1] + far * np.cos(angle), 5, m.t_s)
        arms.append(bend_arm(wrist, side))
    m.pose.body[:, 1] += m.draw.within(0, 8) * np.abs(np.sin(m.phase / 2))
    return arms[0], arms[1]


def _punching(m: Moment) -> Arms:
    arms = []
    for side, ahead in ((-1.0, 0.0), (1.0, np.pi)):
        out = np.maximum(np.sin(m.phase + ahead), 0) ** 1.5
        wrist = place(side * (14 - 8 * out), 8 - 8 * out + m.draw.within(-6, 10), 16 + 30 * out, m.t_s)
        arms.append(bend_arm(wrist, side))
    return arms[0], arms[1]


def _wandering(m: Moment) -> Arms:
    """Both hands, or one, move at random."""
    alone = m.draw.pick((None, None, 0, 1))
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        if alone == 1 - arm:
            arms.append(hang_arm(m, arm))
            continue
        seed, pace = m.draw.whole(), m.draw.within(0.7, 1.8)
        x, y, z = (wander(m.t_s, (seed, k), pace) for k in range(3))
        wrist = place(side * m.draw.within(12, 30) + 20 * x, m.draw.within(0, 25) + 26 * y, 14 + 10 * z, m.t_s)
        arms.append(bend_arm(wrist, side, bend=0.4 * z))
    return arms[0], arms[1]


def _raising(m: Moment) -> Arms:
    """One arm or both go up and come down: forwards, sideways, to the head."""
    which = m.draw.pick((0, 1, 2))
    up = 0.5 - 0.5 * np.cos(m.phase)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        hanging = hang_arm(m, arm)
        if which not in (arm, 2):
            arms.append(hanging)
            continue
        top = place(side * m.draw.within(4, 44), m.draw.within(-42, 10), m.draw.within(4, 30), m.t_s)
        wrist = hanging[:, 1] + (top - hanging[:, 1]) * up[:, None]
        arms.append(bend_arm(wrist, side))
    return arms[0], arms[1]


def _body_only(m: Moment) -> Arms:
    """Bows, sways, nods: arms hang."""
    x, y = m.draw.within(0, 9), m.draw.within(0, 9)
    m.pose.body[:, 0] += x * np.sin(m.phase)
    m.pose.body[:, 1] += y * np.sin(m.phase + m.draw.within(0, 6))
    m.pose.head += m.draw.within(0, 4) * np.stack([np.sin(m.phase), np.cos(m.phase)], 1)
    return hang_arm(m, 0), hang_arm(m, 1)


def _walking(m: Moment) -> Arms:
    """A whole person walks through the picture, far or near, towards the camera or away from it."""
    small = m.draw.within(0.25, 0.8)
    closer = m.draw.within(-0.12, 0.12) * small
    m.pose.body[:, 2] = np.clip(small + closer * m.t_s, 0.15, 1.2)
    m.pose.body[:, 0] += m.draw.within(-45, 45) + m.draw.within(-30, 30) * m.t_s
    m.pose.body[:, 1] += m.draw.within(-45, 5) + np.abs(2.5 * small * np.sin(m.phase))
    return walk(m, steps=(0.2, 0.6), swings=(4, 14), lift=0.2)


def _standing_up(m: Moment) -> Arms:
    low = m.draw.within(15, 55)
    up = 0.5 - 0.5 * np.cos(m.phase)
    m.pose.body[:, 1] += low * (1 - up)
    m.pose.body[:, 2] *= 1 + m.draw.within(-0.15, 0.15) * up
    m.pose.body[:, 0] += m.draw.within(-12, 12) * up
    return hang_arm(m, 0), hang_arm(m, 1)


def _near_hand(m: Moment) -> Arms:
    """A hand in front of the lens: one large arm from the side, the rest of the person out of the picture."""
    arm = m.draw.pick((0, 1))
    side = (-1.0, 1.0)[arm]
    big = m.draw.within(1.6, 2.8)
    m.pose.body[:, 2] *= big
    m.pose.body[:, 0] += -side * m.draw.within(-20, 50) + side * 60
    m.pose.body[:, 1] += m.draw.within(-25, 25)
    seed, pace = m.draw.whole(), m.draw.within(0.5, 1.6)
    x, y, z = (wander(m.t_s, (seed, k), pace) for k in range(3))
    wrist = place(side * -10 + 7 * x, m.draw.within(-6, 10) + 8 * y, 6 + 6 * z, m.t_s)
    moving = bend_arm(wrist, side, bend=0.5 * z)
    return hang_other(m, arm, moving)


# Name -> slowest and fastest pace in Hz, law. "again" makes one more probable.
OTHERS: dict[str, tuple[float, float, Law]] = {
    "both arms wave": (0.8, 2.6, _both_wave),
    "jumping jack": (0.5, 1.6, _jumping),
    "punching": (0.8, 2.5, _punching),
    "wandering hands": (0.5, 1.5, _wandering),
    "wandering hands, again": (0.5, 1.5, _wandering),
    "raising an arm": (0.25, 1.0, _raising),
    "raising an arm, again": (0.25, 1.0, _raising),
    "body only": (0.3, 1.6, _body_only),
    "walking": (0.6, 1.3, _walking),
    "walking, again": (0.6, 1.3, _walking),
    "standing up": (0.15, 0.5, _standing_up),
    "near hand": (0.3, 1.0, _near_hand),
}
