"""The maker behind `plif data nmnist-sim --from mnist:DIR --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.core.base.errors import PlifError
from runtime.datasets.simulated_camera.maker import Maker, Note


def make_set(out: Path, source: str, **options: Any) -> Note:
    kind, _, folder = source.partition(":")
    if kind != "mnist" or not folder:
        raise PlifError(f"--from {source}: expected mnist:DIR")
    from runtime.datasets.nmnist_sim.simulate_nmnist import simulate_nmnist

    return simulate_nmnist(folder, out, **options)


def describe_set(note: Note) -> str:
    return f"{note['train']['count']} + {note['test']['count']} simulated recordings"


MAKER = Maker("a simulated N-MNIST", ("source", "--from mnist:DIR"), "maker:make_set", describe_set, "nmnist")
