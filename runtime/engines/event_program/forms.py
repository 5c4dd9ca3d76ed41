"""The methods of summing int8 weights: the fastest of a CPU path on this processor; all give the same bits."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from runtime import native
from runtime.core.observers import find_observers

NEVER = 2.0  # a fraction of spikes that no row reaches


@dataclass(frozen=True)
class Forms:
    """The method by which an event-engine program sums int8 weights (docs/event-engine-inside.md).

    pairs       weights are added as pairs of bytes; else as int16
    bytes_from  fraction of spikes from which a row of a map is multiplied as bytes; NEVER on paths that cannot
    nibbles     weights that 4 bits hold are added as such, and never multiplied as bytes
    """

    pairs: bool
    bytes_from: float = NEVER
    nibbles: bool = False


# For programs of other processors (.plif files), by path; measured on a Zen 4 and, for amx, on a Xeon.
DEFAULT_FORMS = {
    "scalar": Forms(pairs=True, nibbles=True),
    "avx2": Forms(pairs=True, nibbles=True),
    "avx512": Forms(pairs=True, bytes_from=0.55, nibbles=True),
    "neon": Forms(pairs=False),
    "amx": Forms(pairs=False, bytes_from=0.02),
}
WAYS = ("int16", "pairs", "bytes", "nibbles")  # as plif_measure_form counts them
DENSITIES = {"sparse": 0.1, "dense": 0.3}  # shares of spikes at which they are timed
LEAST = DEFAULT_FORMS["amx"].bytes_from  # below that the list is nearly free


def choose_forms(path: str) -> Forms:
    """Choose the fastest method of summing int8 weights on this processor, for a CPU path (instruction set).

    The part that chooses by time measures it once per process, in two milliseconds. Without that part it is the usual
    method.
    """
    usual = DEFAULT_FORMS[path]
    measuring = next(iter(find_observers("choice", "engines")), None)
    if measuring is None:
        return usual
    tune, in_turns = measuring.load("tune"), measuring.load("in_turns")
    shares = (ctypes.c_double * 2)(*DENSITIES.values())

    def run(way: str) -> tuple[float, ...] | None:
        ns = (ctypes.c_double * 2)()
        fine = native.library().plif_measure_form(native.PATHS.index(path), WAYS.index(way), shares, ns)
        return tuple(ns) if fine else None

    def tuned(*ways: str) -> Any:
        return tune(ways, partial(in_turns, run), parts=tuple(DENSITIES), depends_on=lambda: ["int8", path, *ways])

    added = tuned("pairs", "int16") if usual.pairs else tuned("int16", "pairs")
    as_bytes = tuned("bytes").times.get("bytes") if usual.bytes_from < NEVER else None
    bytes_from, times = usual.bytes_from, added.times.get(added.best)
    if times and as_bytes:
        bytes_from = find_crossing(times, as_bytes["dense"], bytes_from)
    few = tuned("nibbles").times.get("nibbles")
    alternatives = [measured for measured in (times, as_bytes) if measured]
    nibbles = (
        all(few[part] <= measured[part] for measured in alternatives for part in DENSITIES) if few else usual.nibbles
    )
    return Forms(added.best == "pairs", bytes_from, nibbles)


def find_crossing(added: Mapping[str, float], as_bytes: float, usual: float) -> float:
    """Compute the fraction of spikes at which adding weights takes as long as multiplying bytes.

    Multiplying takes the same time at any fraction.

    added  the times at DENSITIES, from which it rises in a straight line; `usual` where it does not rise
    """
    slope = (added["dense"] - added["sparse"]) / (DENSITIES["dense"] - DENSITIES["sparse"])
    return max(LEAST, DENSITIES["sparse"] + (as_bytes - added["sparse"]) / slope) if slope > 0 else usual
