"""`plif data motion --bvh DIR --out DIR`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.datasets.simulated_camera.maker import Maker


def make(out: Path, **options: Any) -> Mapping[str, Any]:
    from runtime.datasets.motion.simulate_motion import simulate_motion

    return simulate_motion(out, **options)


def made(note: Mapping[str, Any]) -> str:
    return f"of {note['motions']} files of motion capture"


MAKER = Maker("recordings of your motion capture", ("bvh", "--bvh DIR"), make, made, "folder")
