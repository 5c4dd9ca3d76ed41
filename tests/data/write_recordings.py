"""Makes tests/data/recordings: one simulated digit in every format that plif reads. `python -m tests.data.write_recordings`"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import dv_processing as dv
import numpy as np

from runtime.core.data import open_dataset
from tests.recordings import WRITERS, es_bytes, hdf5_bytes, npz_bytes
from tests.rosbags import write_bag

FOLDER = Path(__file__).with_name("recordings")
COUNT = 2500
BYTES = {name: (write, Path(usual).suffix) for name, (write, usual) in WRITERS.items()} | {
    "atis": (lambda events: es_bytes(events, atis=True), ".es"),
    "npz": (npz_bytes, ".npz"),
    "hdf5": (lambda events: hdf5_bytes(events, compression="gzip", shuffle=True, chunks=(COUNT,)), ".h5"),
}


def digit() -> np.ndarray:
    """The first events [2500] of a 7 before the simulated camera, 34x34."""
    events: np.ndarray = open_dataset("digits:10", "test", framing="count:T=1").recording(7)[0][:COUNT]  # type: ignore[attr-defined]
    return events


def write_aedat4(path: Path, events: np.ndarray) -> None:
    config = dv.io.MonoCameraWriter.Config("DVXplorer_simulated")
    config.addEventStream((34, 34))
    store = dv.EventStore()
    for t, x, y, p in events.tolist():
        store.push_back(t, x, y, p)
    dv.io.MonoCameraWriter(str(path), config).writeEvents(store)


def main() -> None:
    events = digit()
    FOLDER.mkdir(exist_ok=True)
    for name, (write, suffix) in BYTES.items():
        (FOLDER / f"{name}{suffix}").write_bytes(write(events))
    write_aedat4(FOLDER / "aedat4.aedat4", events)
    with tempfile.TemporaryDirectory() as folder:
        parts = [events[:1000], events[1000:]]
        for name, mcap in (("ros1.bag", False), ("ros2", False), ("mcap", True)):
            made = write_bag(Path(folder) / name, parts, mcap=mcap, size=(34, 34))
            shutil.copy(made, FOLDER / (name if made.suffix == ".bag" else f"{name}{made.suffix}"))


if __name__ == "__main__":
    main()
