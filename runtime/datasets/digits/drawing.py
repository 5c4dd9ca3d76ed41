"""Drawn digits in the manner of MNIST, so that a demonstration needs no download.

A digit is one or more strokes, each a list of points in a unit box (x to the right, y down). To draw one:

    every point is moved a little at random; a smooth curve (Catmull-Rom) is laid through the points; a point that occurs
    twice is a corner, at which the curve is not smooth;
    the curve is stretched, slanted and turned, scaled so that its longer side has about 20 pixels, and shifted so that its
    centre of mass is near the middle of the image, as in MNIST;
    a pixel at distance d from the curve gets clip((r - d) / softness + 1/2, 0, 1), with r half the pen's width.

To add a way of writing a digit, add it to STROKES.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError

Points = npt.NDArray[np.float64]
Stroke = tuple[tuple[float, float], ...]

SIZE_PX = 28
BODY_PX = 20.0
MARGIN_PX = 2.5  # between the curve and the middle of the outermost pixels

# fmt: off
_RING: Stroke = ((.52, 0), (.2, .12), (.03, .45), (.1, .82), (.42, 1), (.78, .88), (.97, .5), (.85, .14), (.5, .01))
_STEM: Stroke = ((.5, 0), (.5, .5), (.49, 1))
_TWO_TOP: Stroke = ((.1, .26), (.28, .05), (.6, 0), (.84, .18), (.74, .46), (.4, .76))
_NINE_LOOP: Stroke = ((.8, .14), (.5, .01), (.17, .16), (.15, .4), (.42, .5), (.72, .36), (.82, .12))

# digit -> ways of writing it: (how often, width of the box in heights, strokes)
STROKES: dict[int, tuple[tuple[float, float, tuple[Stroke, ...]], ...]] = {
    0: ((1, .78, (_RING,)),
        (.6, .62, (_RING,))),
    1: ((1.2, .25, (_STEM,)),
        (.15, .45, (((.1, .25), (.55, 0), (.55, 0), (.53, .5), (.52, 1)),)),
        (.05, .55, (((.15, .25), (.5, 0), (.5, 0), (.5, 1)), ((.1, 1), (.9, 1))))),
    2: ((1, .8, ((*_TWO_TOP, (.04, .98), (.04, .98), (.5, .95), (.98, .96)),)),
        (.8, .85, ((*_TWO_TOP, (.14, .98), (.02, .88), (.18, .76), (.5, .86), (.98, .95)),))),
    3: ((1, .7, (((.1, .14), (.42, 0), (.82, .13), (.74, .36), (.38, .47), (.38, .47), (.78, .54), (.92, .77),
                  (.56, 1), (.06, .9)),)),
        (.4, .7, (((.1, .08), (.5, .02), (.85, .06), (.85, .06), (.42, .4), (.42, .4), (.85, .56), (.86, .84),
                   (.45, 1), (.05, .88)),))),
    4: ((1, .75, (((.12, .02), (.06, .35), (.12, .52), (.5, .54), (.88, .46)), ((.88, .05), (.82, .5), (.78, 1)))),
        (.6, .75, (((.66, 0), (.35, .3), (.03, .62), (.03, .62), (.5, .63), (.98, .6)),
                   ((.68, .02), (.66, .5), (.64, 1)))),
        (.4, .7, (((.2, .2), (.1, .5), (.1, .5), (.5, .52), (.82, .42), (.82, .42)),
                  ((.84, 0), (.82, .45), (.74, 1))))),
    5: ((1, .75, (((.24, .04), (.2, .25), (.18, .44), (.18, .44), (.5, .4), (.84, .56), (.82, .84), (.45, 1),
                   (.04, .9)), ((.24, .04), (.6, .03), (.96, 0)))),
        (.6, .72, (((.92, .02), (.6, .04), (.34, .08), (.34, .08), (.24, .4), (.24, .4), (.58, .48), (.78, .68),
                    (.6, .94), (.08, .98)),))),
    6: ((1, .65, (((.72, 0), (.36, .24), (.1, .6), (.16, .9), (.48, 1), (.84, .84), (.76, .6), (.46, .54),
                   (.16, .74)),)),
        (.5, .55, (((.45, 0), (.2, .3), (.06, .68), (.2, .95), (.55, .99), (.86, .82), (.74, .6), (.42, .62),
                    (.14, .8)),))),
    7: ((1, .75, (((.04, .1), (.4, .06), (.92, .04), (.92, .04), (.7, .45), (.5, 1)),)),
        (.3, .8, (((.06, .22), (.1, .06), (.1, .06), (.5, .07), (.94, .02), (.94, .02), (.68, .5), (.56, 1)),)),
        (.2, .8, (((.04, .08), (.5, .06), (.95, .04), (.95, .04), (.65, .5), (.42, 1)), ((.3, .52), (.86, .5))))),
    8: ((1, .65, (((.84, .14), (.5, 0), (.16, .14), (.3, .38), (.68, .58), (.84, .82), (.48, 1), (.14, .84), (.34, .58),
                   (.72, .36), (.86, .12)),)),
        (.3, .6, (((.5, .48), (.16, .3), (.26, .05), (.6, 0), (.85, .2), (.5, .48), (.14, .74), (.3, .98), (.66, .98),
                   (.86, .74), (.5, .47)),))),
    9: ((1, .65, ((*_NINE_LOOP, (.82, .12), (.8, .5), (.7, 1)),)),
        (.5, .65, ((*_NINE_LOOP, (.82, .12), (.82, .55), (.66, .92), (.25, 1)),)),
        (.5, .62, (((.85, .2), (.5, 0), (.15, .18), (.16, .4), (.45, .48), (.8, .3), (.8, .3), (.62, .66),
                     (.48, 1)),))),
}
# fmt: on


def draw_digit(d: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw a new random image, float32 [28, 28], of the handwritten digit d, from 0 (black) to 1 (pen)."""
    if d not in STROKES:
        raise PlifError(f"draw_digit: {d!r} is no digit, expected 0 to 9")
    ways = STROKES[d]
    weights = np.array([often for often, _, _ in ways])
    _, width, strokes = ways[rng.choice(len(ways), p=weights / weights.sum())]
    wobble = rng.uniform(0.01, 0.06)
    curves = [_interpolate(_jitter_stroke(stroke, wobble, rng)) * (width, 1.0) for stroke in strokes]
    curves = _pose_curves(curves, rng)
    return _render_ink(curves, half_px=rng.uniform(0.75, 1.9), softness_px=rng.uniform(0.9, 1.5))


def _jitter_stroke(stroke: Stroke, wobble: float, rng: np.random.Generator) -> list[Points]:
    """Move the points of a digit's stroke at random, and cut it at its corners into pieces, each [n, 2].

    Both copies of a corner move together.
    """
    pieces: list[list[Points]] = [[]]
    before: tuple[float, float] | None = None
    for point in stroke:
        if point == before:
            pieces.append([pieces[-1][-1]])
        else:
            pieces[-1].append(np.asarray(point) + wobble * rng.standard_normal(2))
        before = point
    return [np.array(piece) for piece in pieces if len(piece) > 1]


def _interpolate(pieces: list[Points], per_span: int = 6) -> Points:
    """Interpolate the points of each piece of a stroke by a Catmull-Rom curve; return one polyline [n, 2]."""
    f = np.linspace(0, 1, per_span, endpoint=False)[:, None]
    parts = []
    for points in pieces:
        slopes = np.gradient(points, axis=0)
        for a, b, m, n in zip(points[:-1], points[1:], slopes[:-1], slopes[1:], strict=True):
            leaving = (1 + 2 * f) * (1 - f) ** 2 * a + f * (1 - f) ** 2 * m
            parts.append(leaving + f**2 * (3 - 2 * f) * b + f**2 * (f - 1) * n)
        parts.append(points[-1:])
    return np.concatenate(parts)


def _pose_curves(curves: list[Points], rng: np.random.Generator) -> list[Points]:
    """Rotate, slant and stretch the curves of a digit at random, then place them in the image, in pixels."""
    angle, slant = rng.normal(0, 0.13), rng.normal(0.18, 0.24)  # people slant to the right
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, -slant], [0.0, 1.0]])
    matrix = turn @ shear @ np.diag([rng.uniform(0.85, 1.2), 1.0])
    posed = [curve @ matrix.T for curve in curves]
    points = np.concatenate(posed)
    extent = max(float(np.ptp(points, axis=0).max()), 1e-6)
    scale = (BODY_PX - 2) * rng.uniform(0.92, 1.04) / extent  # the pen's width adds two pixels
    placed = (points - _centre_of_mass(posed)) * scale + (SIZE_PX - 1) / 2 + rng.normal(0, 0.5, 2)
    # with its centre of mass in the middle, a long tail may reach out of the image: move the digit back by the least
    low, high = MARGIN_PX - placed.min(0), SIZE_PX - 1 - MARGIN_PX - placed.max(0)
    placed += np.maximum(low, 0) + np.minimum(high, 0)
    return np.split(placed, np.cumsum([len(curve) for curve in posed])[:-1])


def _centre_of_mass(curves: list[Points]) -> Points:
    """Return the centre of mass [2] of a digit's curves: the mean of all segments' middles, weighted by length."""
    middles = np.concatenate([(curve[1:] + curve[:-1]) / 2 for curve in curves])
    lengths = np.concatenate([np.linalg.norm(np.diff(curve, axis=0), axis=1) for curve in curves])
    centre: Points = (middles * lengths[:, None]).sum(0) / max(float(lengths.sum()), 1e-9)
    return centre


def _render_ink(curves: list[Points], half_px: float, softness_px: float) -> npt.NDArray[np.float32]:
    """Draw a digit's curves into an image float32 [28, 28]: each pixel by its distance to the nearest segment."""
    a = np.concatenate([curve[:-1] for curve in curves])  # [segments, 2]
    along = np.concatenate([np.diff(curve, axis=0) for curve in curves])
    rows, columns = np.mgrid[0:SIZE_PX, 0:SIZE_PX]
    pixels = np.stack([columns, rows], -1).reshape(-1, 1, 2)  # [784, 1, 2], (x, y)
    length2 = np.maximum((along**2).sum(-1), 1e-12)
    part = np.clip(((pixels - a) * along).sum(-1) / length2, 0, 1)
    distance2 = (((pixels - a) - part[..., None] * along) ** 2).sum(-1).min(1)
    ink = np.clip((half_px - np.sqrt(distance2)) / softness_px + 0.5, 0, 1)
    return np.asarray(ink.reshape(SIZE_PX, SIZE_PX), np.float32)
