"""The maker behind `plif data gesture-sim --out DIR`."""

from __future__ import annotations

from runtime.datasets.simulated_camera.maker import Maker, Note


def describe_set(note: Note) -> str:
    return f"{note['train']} + {note['test']} performers, simulated"


MAKER = Maker("a simulated DVS128 Gesture", None, "simulate_gesture:simulate_gesture", describe_set, "dvs128-gesture")
