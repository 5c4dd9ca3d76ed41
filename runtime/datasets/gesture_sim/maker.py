"""`plif data gesture-sim --out DIR`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.datasets.simulated_camera.maker import Maker


def make(out: Path, **options: Any) -> Mapping[str, Any]:
    from runtime.datasets.gesture_sim.simulate_gesture import simulate_gesture

    return simulate_gesture(out, **options)


def made(note: Mapping[str, Any]) -> str:
    return f"{note['train']} + {note['test']} performers, simulated"


MAKER = Maker("a simulated DVS128 Gesture", None, make, made, "dvs128-gesture")
