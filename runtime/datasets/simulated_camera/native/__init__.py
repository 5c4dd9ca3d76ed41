"""The loops of a simulated camera in C (scene.c): limbs over a picture, and the pixels of the sensor.

A library of its own, built with the package, so that libplif does not carry what only simulations need.
"""

from __future__ import annotations

import ctypes as c
from functools import cache
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.native import missing

LIMB = 11  # ax, ay, az, bx, by, bz, radius at a, at b, tone, number of the texture, whether it is a hand


class Canvas(c.Structure):
    """struct canvas of scene.c."""

    _fields_ = (
        *zip(("image", "textures"), repeat(c.c_void_p)),
        *zip(("height", "width"), repeat(c.c_int64)),
        *zip(("x", "y", "scale", "depth", "girth"), repeat(c.c_double)),
    )


class PixelArrays(c.Structure):
    """struct pixels of scene.c."""

    _fields_ = (
        *zip(("on", "off", "refractory_us", "leak", "reference", "level", "last_us"), repeat(c.c_void_p)),
        *zip(("crossing", "levels", "at", "t_us", "up"), repeat(c.c_void_p)),
        *zip(("count", "room", "leaks"), repeat(c.c_int64)),
    )


@cache
def library() -> c.CDLL:
    """The library, with the types of its functions. PlifError where none was built for this machine."""
    for path in sorted(Path(__file__).parent.glob("_scene*.so")):
        try:
            found = c.CDLL(str(path))
            found.scene_paint.restype, found.scene_paint.argtypes = None, [c.c_void_p, c.c_void_p, c.c_int64]
            found.scene_see.restype = c.c_int64
            found.scene_see.argtypes = [c.c_void_p, c.c_void_p, c.c_double, c.c_double, c.c_int64]
        except (OSError, AttributeError):
            continue  # built for another machine
        return found
    return missing()


def paint(
    image: npt.NDArray[np.float32],
    limbs: npt.NDArray[np.float64],
    textures: npt.NDArray[np.float32],
    at: tuple[float, float],
    scale: float,
    depth: float,
    girth: float,
) -> None:
    """Paints limbs [n, LIMB], in space, over `image` [H, W], the last one on top; the point (0, 0, 0) is seen `at` (x, y).

    Textures are [k, 32, 8]. All three arrays are contiguous. runtime/datasets/performers/figure.py says what is painted.
    """
    assert limbs.shape[1] == LIMB and limbs[:, 9].min(initial=0) >= 0 and limbs[:, 9].max(initial=0) < len(textures)
    assert limbs.flags.c_contiguous and textures.flags.c_contiguous and image.flags.c_contiguous
    canvas = Canvas(image.ctypes.data, textures.ctypes.data, *image.shape, *at, scale, depth, girth)
    library().scene_paint(c.byref(canvas), limbs.ctypes.data, len(limbs))
