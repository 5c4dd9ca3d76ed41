"""Makes a simulated N-MNIST from MNIST, in the layout of the official set.

    OUT/Train/<digit>/<number>.bin      OUT/Test/<digit>/<number>.bin      OUT/simulated.json

The number is MNIST's, counted from 1, as in the official set: Train/5/00001.bin shows the first training image. A
recording depends on (seed, split, number) only: its file is the same for any count, any number of workers, and after
a stop. A run that was stopped continues: existing files are kept.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.core.base.options import with_fields
from runtime.core.base.version import __version__
from runtime.core.events import write_nmnist
from runtime.datasets.digits.saccades import PATH_X_PX, PATH_Y_PX, RANGES, record_digits
from runtime.datasets.idx_images.idx import read_images
from runtime.datasets.nmnist_sim.options import NmnistOptions
from runtime.datasets.simulated_camera.simulated_set import Progress, claim_folder, run_jobs

SPLITS = ("Train", "Test")  # the number of a split is part of its seeds
TITLE = "simulated N-MNIST"
BATCH = 16  # recordings simulated together; larger batches are no faster

Batch = tuple[str, list[int], list[str], npt.NDArray[np.uint8]]  # split, numbers, paths, images uint8 [N, 28, 28]


@with_fields(NmnistOptions)
def simulate_nmnist(
    mnist_dir: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, object]:
    """Simulate `train` + `test` event recordings of MNIST images, and write them; return their JSON note.

    The defaults are 20,000 + 2000 recordings. `skip_train` and `skip_test` leave out the first images of a split,
    such as digits with real recordings. `progress(done, total)` is called as files appear. Raises PlifError when
    MNIST is not readable or holds fewer images, and when `out_dir` holds a set made with other settings.
    """
    settings = NmnistOptions(**options)
    train, test = settings.counts(20_000, 2_000)
    seed, skip_train, skip_test = settings.seed, settings.skip_train, settings.skip_test
    out = Path(out_dir)
    selected = []
    for split, count, skip in (("Train", train, skip_train), ("Test", test, skip_test)):
        if count == 0:
            continue
        images, labels, path = read_images(mnist_dir, split.lower())
        if images.shape[1:] != (28, 28):
            raise PlifError(f"{path}: images of {images.shape[1]} x {images.shape[2]}, expected 28 x 28")
        if labels.max(initial=0) > 9:
            raise PlifError(f"{path}: label {labels.max()}, expected digits 0 to 9")
        if skip + count > len(images):
            raise PlifError(
                f"{path}: {len(images)} images, {count} asked for after the first {skip}: ask for {len(images) - skip}"
                " at most"
            )
        selected.append((split, images, labels, range(skip, skip + count)))
    note: dict[str, object] = {
        "what": f"{TITLE}: images of MNIST seen by a simulated event camera, not by a real one",
        "made_by": f"plif {__version__}, runtime.datasets.nmnist_sim.simulate_nmnist",
        "seed": seed,
        "parameters": {
            "uniform": {name: list(ends) for name, ends in RANGES.items()},
            "path_x_px": list(PATH_X_PX),
            "path_y_px": list(PATH_Y_PX),
        },
        "train": {"count": train, "first": skip_train + 1},
        "test": {"count": test, "first": skip_test + 1},
    }
    claim_folder(out, note)
    existing = 0
    batches: list[Batch] = []
    for split, images, labels, indices in selected:
        for digit in np.unique(labels[indices.start : indices.stop]):
            (out / split / str(digit)).mkdir(parents=True, exist_ok=True)
        missing = []
        for index in indices:
            path = out / split / str(labels[index]) / f"{index + 1:05d}.bin"
            if path.is_file() and path.stat().st_size and path.stat().st_size % 5 == 0:
                existing += 1
            else:
                missing.append((index, str(path)))
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            numbers = [index for index, _ in part]
            batches.append((split, numbers, [path for _, path in part], images[numbers]))
    run_jobs(partial(_write_batch, seed), batches, settings.workers, existing, train + test, progress)
    return note


def _write_batch(seed: int, batch: Batch) -> int:
    split, numbers, paths, images = batch
    rngs = [np.random.default_rng([seed, SPLITS.index(split), number]) for number in numbers]
    recordings = record_digits(list(images / np.float32(255)), rngs)
    for path, events in zip(paths, recordings, strict=True):
        write_nmnist(path, events)
    return len(paths)
