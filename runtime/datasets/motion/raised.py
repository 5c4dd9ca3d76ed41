"""Arms that are raised and do not gesture, in the form of the moves of drawn.py: seen from about the front.

A raised hand is no wave: raised, held and lowered, a reach, a scratch, a drink, a telephone at the ear. What measures
(held_out) is other moves than what trains.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtime.datasets.motion.drawn import BodyPose, Steps, draw_steps
from runtime.datasets.performers.wander import ParameterDraws

TRAINED = (
    "raises and holds",
    "grabs high",
    "both arms up",
    "adjusts glasses",
    "looks at the watch",
    "strokes hair",
    "salutes",
)
MEASURED = ("raises, holds, lowers", "reaches out", "scratches", "drinks", "telephones")
# Where the wrist goes, as ranges of x (away from the middle), y (down from the shoulders), z (forwards), in pixels.
PLACES = {
    "adjusts glasses": ((2, 9), (-30, -22), (12, 20)),
    "looks at the watch": ((-6, 10), (10, 26), (18, 30)),
    "strokes hair": ((2, 16), (-44, -28), (0, 12)),
    "salutes": ((8, 18), (-36, -26), (6, 16)),
    "raises, holds, lowers": ((0, 44), (-48, -2), (2, 30)),
    "reaches out": ((-4, 30), (-16, 24), (30, 48)),
    "scratches": ((-2, 14), (-34, -6), (8, 16)),
    "drinks": ((0, 8), (-18, -10), (12, 20)),
    "telephones": ((8, 14), (-26, -16), (2, 10)),
}
TO_AND_FRO = {"strokes hair": (5, 12, 0.25, 0.6), "scratches": (1.5, 5, 0.08, 0.22)}  # pixels, and seconds for each way
HOLDS_S = {"telephones": (1.5, 6.0), "raises, holds, lowers": (0.3, 6.0), "drinks": (0.6, 2.5)}


def draw_raised_steps(name: str, draw: ParameterDraws, current: BodyPose) -> Steps:
    """Choose random steps of one movement of a raised arm: (seconds on the way, seconds held, pose) each."""
    if name not in PLACES:
        return draw_steps(name, draw, current)
    arm = draw.pick(("right", "left"))
    side = 1.0 if arm == "left" else -1.0
    quick, hold = draw.within(0.3, 1.4), draw.within(*HOLDS_S.get(name, (0.2, 1.5)))
    x, y, z = (draw.within(*ends) for ends in PLACES[name])

    def wrist(dx: float = 0.0, dy: float = 0.0) -> BodyPose:
        place = (side * (x + dx), y + dy, z)
        return replace(current, right=place) if arm == "right" else replace(current, left=place)

    steps: Steps = [(quick, hold, wrist())]
    if name in TO_AND_FRO:
        least, most, fast, slow = TO_AND_FRO[name]
        far, way_s, slant = draw.within(least, most), draw.within(fast, slow), draw.within(0, np.pi)
        for k in range(int(draw.within(3, 14))):
            sign = 1 if k % 2 else -1
            steps.append((way_s, 0.0, wrist(sign * far * float(np.cos(slant)), sign * far * float(np.sin(slant)))))
    resting = replace(current, right=BodyPose.right, left=BodyPose.left, bow=0.0)
    return [*steps, (draw.within(0.3, 1.4), draw.within(0.1, 1.0), resting)]
