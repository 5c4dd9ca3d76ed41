"""Recordings without classes: files and folders as the user named them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from runtime.base.errors import PlifError
from runtime.base.files import open_regular
from runtime.data.dataset import UNKNOWN, DatasetSpec, FileEventSet, Shape
from runtime.data.recordings import NOT_RECORDINGS, natural_key
from runtime.events.framing import Framing


class Unlabelled(FileEventSet):
    """Recordings in the order of `paths`, each with the label UNKNOWN.

    sensor   (width, height) and trained, the sensor of the network's training: for those that say none (runtime/events/size.py)
    csv      what the columns of CSV files are
    """

    def __init__(
        self,
        paths: Sequence[str],
        framing: Framing,
        shape: Shape,
        classes: Sequence[str],
        sensor: tuple[int, int] | None,
        csv: str | None,
        trained: tuple[int, int] | None = None,
    ) -> None:
        request = DatasetSpec(f"{len(paths)} recordings", "", "test", shape, framing)
        super().__init__(request, classes, [(i, UNKNOWN, path) for i, path in enumerate(paths)])
        self.sensor, self.sensor_from = sensor, "asked"
        self.csv, self.trained = csv, trained


def find_recordings(places: Sequence[str | Path]) -> list[str]:
    """The files that are named, and those of the folders that are named and of all folders in them, in their order.

    Hidden files and those that are no recordings by their name (tables, pictures, notes) are left out of folders. Raises
    PlifError for a name without a file or folder, for what is neither, as a pipe, and where a folder has no recording.
    """
    found = []
    for place in map(Path, places):
        if not place.is_dir():
            open_regular(place, "a recording, or a folder of recordings").close()
            found.append(str(place))
            continue
        here: list[str] = []
        for folder, folders, files in os.walk(place):
            folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
            names = [
                name for name in files if not name.startswith(".") and Path(name).suffix.lower() not in NOT_RECORDINGS
            ]
            here += [os.path.join(folder, name) for name in sorted(names, key=natural_key)]
        if not here:
            raise PlifError(f"{place}: no recordings in this folder")
        found += here
    return found
