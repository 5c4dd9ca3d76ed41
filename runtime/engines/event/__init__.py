"""The event engine: work in proportion to the spikes.

engine      runs operations in the native kernels (runtime/native/engine/event.h); runtime/engines/event_program makes them
memory      weights, programs that are in an artifact, membranes
"""

from __future__ import annotations

from runtime import native
from runtime.engines.available import Lack


def lack(name: str) -> Lack | None:
    """What it lacks here."""
    if native.is_built():
        return None
    return Lack("the event engine is not built here", "install a C compiler, then plif again")
