"""How int8 weights are summed: of the ways that a CPU path has, the fastest on this processor. All of them give the same bits."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

from runtime import native

NEVER = 2.0  # a share of spikes that no row reaches


@dataclass(frozen=True)
class Forms:
    """How a program sums int8 weights (docs/event-engine.md).

    pairs       weights are added as pairs of bytes; else as int16
    bytes_from  share of spikes from which a row of a map is multiplied as bytes; NEVER on paths that cannot
    """

    pairs: bool
    bytes_from: float = NEVER


# Of programs for a processor that is not at hand (.plif files), by path; measured on a Zen 4 and, for amx, on a Xeon.
ELSEWHERE = {
    "scalar": Forms(pairs=True),
    "avx2": Forms(pairs=True),
    "avx512": Forms(pairs=True, bytes_from=0.55),
    "neon": Forms(pairs=False),
    "amx": Forms(pairs=False, bytes_from=0.02),
}
DENSITIES = (0.1, 0.3)
LEAST = ELSEWHERE["amx"].bytes_from  # below that the list is nearly free


@cache
def fastest(path: str) -> Forms:
    """What a layer takes the least time with on this processor; measured once a process, in about a millisecond."""
    ns = (ctypes.c_double * 6)()
    if not native.library().plif_measure_forms(native.PATHS.index(path), (ctypes.c_double * 2)(*DENSITIES), ns):
        return ELSEWHERE[path]
    return choice(path, (ns[0], ns[1]), (ns[2], ns[3]), ns[5])


def choice(path: str, int16: tuple[float, float], pairs: tuple[float, float], as_bytes: float) -> Forms:
    """The forms of a path from the times of one layer: both ways to add at DENSITIES, and multiplied as bytes (0: it cannot).

    Adding takes a time that rises with the share of spikes in a straight line; where it crosses the time of bytes, these begin.
    """
    added = min(int16, pairs, key=sum)
    slope = (added[1] - added[0]) / (DENSITIES[1] - DENSITIES[0])
    if not as_bytes or slope <= 0:
        return Forms(added is pairs, ELSEWHERE[path].bytes_from)
    return Forms(added is pairs, max(LEAST, DENSITIES[0] + (as_bytes - added[0]) / slope))
