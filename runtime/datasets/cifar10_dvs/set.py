"""CIFAR10-DVS: 10,000 recordings of CIFAR-10 images that move in front of a DVS128, AEDAT 2.0.

    DIR/<class>/cifar10_<class>_<n>.aedat, n = 0 .. 999, or DIR/<class>.zip as downloaded

The set has no split. In each class the numbers 0-899 train and 900-999 test, as in the authors' code (the supplement
says "the first 9000 of each class", but a class has 1000). The orientation belongs to the framing: orientation=paper
is that of the authors' loader (x = 127 - x), orientation=sj that of SpikingJelly since 0.0.0.0.8 (axes exchanged).

Source: H. Li et al., Front. Neurosci. 2017; checksums as in SpikingJelly 2.0.0.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from runtime.core.base.errors import PlifError
from runtime.core.data.dataset import DatasetSpec, Description, FileEventSet
from runtime.core.data.recordings import dataset_folder, join_folder_names, list_files
from runtime.core.observers import find_observers

TEST_FROM = 900
MD5 = {
    "airplane": "0afd5c4bf9ae06af762a77b180354fdd",
    "automobile": "8438dfeba3bc970c94962d995b1b9bdd",
    "bird": "a9c207c91c55b9dc2002dc21c684d785",
    "cat": "52c63c677c2b15fa5146a8daf4d56687",
    "deer": "b6bf21f6c04d21ba4e23fc3e36c8a4a3",
    "dog": "f379ebdf6703d16e0a690782e62639c3",
    "frog": "cad6ed91214b1c7388a5f6ee56d08803",
    "horse": "e7cbbf77bec584ffbf913f00e682782a",
    "ship": "41c7bd7d6b251be82557c6cce9a7d5c9",
    "truck": "89f3922fd147d9aeff89e76a2b0b70a7",
}
CLASSES = tuple(MD5)


class Cifar10Dvs(FileEventSet):
    """The data set `cifar10-dvs:DIR`: event recordings of CIFAR-10 images.

    Sorted by number, then class, so that the beginning is a fair sample.
    """

    about: ClassVar[Description] = Description(
        kind="events",
        spec="cifar10-dvs:DIR",
        shape=(2, 128, 128),
        what="CIFAR-10 before a DVS128, 1000 recordings a class: numbers 0-899 train, 900-999 test",
        source="figshare.com/articles/dataset/CIFAR10-DVS_New/4724671 (ten zips, in DIR as they are or unpacked)",
        licence="CC BY 4.0 as usually given (H. Li et al. 2017)",
        checksums={f"{name}.zip": f"md5:{md5}" for name, md5 in MD5.items()},
    )
    sensor = (128, 128)

    def __init__(self, request: DatasetSpec) -> None:
        root = dataset_folder(request, "<class>/*.aedat or <class>.zip in it")
        recordings: list[tuple[int, int, str]] = []
        for label, name in enumerate(CLASSES):
            numbers: dict[int, str] = {}
            for path in _recordings(root, name):
                match = re.search(r"_(\d{1,6})\.aedat$", path)
                if match is None:
                    raise PlifError(f"{path}: expected a number at the end of its name, as in cifar10_{name}_0.aedat")
                if int(match[1]) in numbers:
                    raise PlifError(f"{path}: its number is also that of {numbers[int(match[1])]}")
                numbers[int(match[1])] = path
            if not numbers:
                raise PlifError(
                    f"{request.name}: no recordings of '{name}', expected {name}/*.aedat or {name}.zip in {root};"
                    f" found {join_folder_names(root)}"
                )
            recordings.extend(
                (n, label, p) for n, p in numbers.items() if (n >= TEST_FROM) == (request.split == "test")
            )
        if not recordings:
            raise PlifError(
                f"{request.name}: no {request.split} recordings: numbers 0-{TEST_FROM - 1} train, those from"
                f" {TEST_FROM} on test"
            )
        super().__init__(request, CLASSES, recordings)


def _recordings(root: Path, name: str) -> list[str]:
    if (root / name).is_dir():
        return [str(path) for path in list_files(root / name) if path.suffix == ".aedat"]
    archive = root / f"{name}.zip"
    parts = find_observers("archives", "datasets") if archive.is_file() else ()
    return [f"{archive}/{member}" for part in parts for member in part.load("list_members")(archive, ".aedat")]


SETS = {"cifar10-dvs": Cifar10Dvs}
