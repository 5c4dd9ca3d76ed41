"""The maker behind `plif data motion --bvh DIR --out DIR`."""

from __future__ import annotations

from runtime.datasets.simulated_camera.maker import Maker, Note


def describe_set(note: Note) -> str:
    return f"of {note['motions']} files of motion capture"


MAKER = Maker(
    "recordings of your motion capture", ("bvh", "--bvh DIR"), "simulate_motion:simulate_motion", describe_set, "folder"
)
