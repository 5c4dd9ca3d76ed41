"""The loops of a simulated camera in C (scene.c): limbs painted over an image, and the pixels of the sensor.

This library is built with the package and separate, so that libplif does not carry code that only simulations need.
"""

from __future__ import annotations

import ctypes as c
from functools import cache
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.native import refuse_missing

LIMB = 11  # ax, ay, az, bx, by, bz, radius at a, at b, tone, index of the texture, is a hand


class Canvas(c.Structure):
    """The ctypes structure of the C struct `canvas` (scene.c), the image to paint limbs into."""

    _fields_ = (
        *zip(("image", "textures"), repeat(c.c_void_p)),
        *zip(("height", "width"), repeat(c.c_int64)),
        *zip(("x", "y", "scale", "depth", "girth"), repeat(c.c_double)),
    )


class PixelArrays(c.Structure):
    """The ctypes structure of the C struct `pixels` (scene.c), the state of a simulated camera's pixels."""

    _fields_ = (
        *zip(("on", "off", "refractory_us", "leak", "reference", "level", "last_us"), repeat(c.c_void_p)),
        *zip(("crossing", "levels", "at", "t_us", "up"), repeat(c.c_void_p)),
        *zip(("count", "room", "leaks"), repeat(c.c_int64)),
    )


@cache
def load_library() -> c.CDLL:
    """Load the compiled C library of scene.c, which paints scenes and simulates pixels; PlifError if there is none."""
    for path in sorted(Path(__file__).parent.glob("_scene*.so")):
        try:
            loaded = c.CDLL(str(path))
            loaded.scene_paint.restype, loaded.scene_paint.argtypes = None, [c.c_void_p, c.c_void_p, c.c_int64]
            loaded.scene_see.restype = c.c_int64
            loaded.scene_see.argtypes = [c.c_void_p, c.c_void_p, c.c_double, c.c_double, c.c_int64]
        except (OSError, AttributeError):
            continue  # built for another machine
        return loaded
    return refuse_missing()


def paint_limbs(
    image: npt.NDArray[np.float32],
    limbs: npt.NDArray[np.float64],
    textures: npt.NDArray[np.float32],
    position: tuple[float, float],
    scale: float,
    depth: float,
    girth: float,
) -> None:
    """Paint a person's limbs [n, LIMB], given in space, over `image` [H, W] with C code, the last one on top.

    The point (0, 0, 0) appears at `position` (x, y). Textures are [k, 32, 8]. All three arrays are contiguous.
    runtime/datasets/performers/figure.py defines the shapes.
    """
    assert limbs.shape[1] == LIMB and limbs[:, 9].min(initial=0) >= 0 and limbs[:, 9].max(initial=0) < len(textures)
    assert limbs.flags.c_contiguous and textures.flags.c_contiguous and image.flags.c_contiguous
    canvas = Canvas(image.ctypes.data, textures.ctypes.data, *image.shape, *position, scale, depth, girth)
    load_library().scene_paint(c.byref(canvas), limbs.ctypes.data, len(limbs))
