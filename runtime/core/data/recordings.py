"""Recorded events in folders: N-MNIST, and the search for folders and files of recordings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular
from runtime.core.data.dataset import DIGITS, DatasetSpec, Description, FileEventSet
from runtime.core.observers import find_observers

NOT_RECORDINGS = frozenset((".json", ".txt", ".md", ".png", ".jpg", ".pdf", ".part"))


class Nmnist(FileEventSet):
    """The data set `nmnist:DIR`: DIR/{Train,Test}/<digit>/<number>.bin, or DIR/{Train,Test}.zip as downloaded.

    Samples are sorted by number, which is the order of MNIST, where the digits are mixed.
    """

    about: ClassVar[Description] = Description(
        kind="events",
        spec="nmnist:DIR",
        shape=(2, 34, 34),
        what="MNIST before a moving ATIS camera, 60,000 + 10,000 recordings; simulated: plif data nmnist-sim",
        source="data.mendeley.com/datasets/468j46mzdv (Train.zip, Test.zip, in DIR as they are or unpacked)",
        licence="CC BY-SA 4.0 as usually given (G. Orchard et al. 2015)",
        size="about 1.2 GB",
        checksums={
            "Train.zip": "md5:20959b8e626244a1b502305a9e6e2031",
            "Test.zip": "md5:69ca8762b2fe404d9b9bad1103e97832",
        },
    )
    sensor = (34, 34)

    def __init__(self, request: DatasetSpec) -> None:
        root = dataset_folder(request, "Train/ and Test/ in it")
        name = request.split.capitalize()
        zips = [root / f"{name}.zip", root / f"{name.lower()}.zip"] if find_observers("archives", "datasets") else []
        archive = next((path for path in zips if path.is_file()), None)
        if (root / name).is_dir():
            folder, paths = root / name, _list_digits(root / name)
        elif archive is not None:
            folder, paths = archive, _list_zipped_digits(archive, name)
        elif root.name in ("Train", "Test") and any((root / digit).is_dir() for digit in DIGITS):
            if root.name != name:
                raise PlifError(
                    f"{request.name}: this is the {root.name} half, but split '{request.split}' was asked for:"
                    f" name {root.parent}, or the other split"
                )
            folder, paths = root, _list_digits(root)
        else:
            raise PlifError(
                f"{request.name}: no folder {name} in {root}, expected"
                f" {name}/<digit>/<number>.bin; found {join_folder_names(root)}"
            )
        if not paths:
            names = join_folder_names(folder) if folder.is_dir() else "none in the archive"
            raise PlifError(f"{request.name}: no {folder}/<digit>/<number>.bin; found {names}")
        super().__init__(request, DIGITS, [(_number(path), int(path.rsplit("/", 2)[-2]), path) for path in paths])


def _list_digits(folder: Path) -> list[str]:
    """List the paths of every <digit>/<number>.bin in a folder, in any order.

    There may be very many, so they are texts, not Paths.
    """
    paths = []
    for place in (folder / digit for digit in DIGITS if (folder / digit).is_dir()):
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(".bin") and entry.is_file()]
        paths += [f"{place}/{name}" for name in names if not name.startswith(".")]
    return paths


def _list_zipped_digits(archive: Path, name: str) -> list[str]:
    members = [
        entry for part in find_observers("archives", "datasets") for entry in part.load("list_members")(archive, ".bin")
    ]
    inside = [member for member in members if member.startswith(f"{name}/") and Path(member).parent.name in DIGITS]
    return [f"{archive}/{member}" for member in inside]


def _number(path: str) -> int:
    stem = path.rpartition("/")[2].rpartition(".")[0]
    if not (stem.isascii() and stem.isdigit() and len(stem) < 20):
        raise PlifError(f"{path}: expected a number as its name, as in 00001.bin")
    return int(stem)


def dataset_folder(request: DatasetSpec, content: str) -> Path:
    """Return the folder that a data set spec names; refuse a missing folder."""
    if not request.place:
        kind = request.name.partition(":")[0]
        raise PlifError(f"{request.name}: no folder named, expected {kind}:DIR with {content}")
    root = Path(request.place)
    if not root.is_dir():
        problem = "not a folder" if root.exists() else "no such folder"
        raise PlifError(f"{request.name}: {root}: {problem}, expected one with {content}")
    return root


def list_files(folder: Path, missing_ok: bool = False) -> list[Path]:
    """List the visible files of a folder, sorted by name; digits in a name compare as numbers."""
    if missing_ok and not folder.is_dir():
        return []
    return sorted(
        (p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")),
        key=lambda path: natural_key(path.name),
    )


def natural_key(name: str) -> str:
    """Return a sort key that puts "10.bin" after "9.bin": runs of digits compare as numbers.

    It is one text, of about the name's length: a folder may hold a hundred thousand names.
    """
    # the end of a name is after digits, and before any other character
    return re.sub("0*([0-9]+)", lambda run: f"\0{chr(len(run[1]))}{run[1]}{chr(0xFFFF - len(run[0]))}", name) + "\1"


def join_folder_names(folder: Path) -> str:
    """Join the names of the files and folders in a folder to one text, for messages."""
    return join_sorted_names(path.name for path in folder.iterdir())


def join_sorted_names(names: Iterable[str]) -> str:
    """Join the first eight names in sorted order, for messages."""
    ordered = sorted(names)
    return (", ".join(ordered[:8]) + (f" and {len(ordered) - 8} more" if len(ordered) > 8 else "")) or "nothing"


def find_recordings(places: Sequence[str | Path]) -> list[str]:
    """List the recordings among files and folders, and all folders in them, in their order.

    Hidden files and files that are no recordings by their name (tables, pictures, notes) are left out of folders.
    Raise PlifError for a name without a file or folder, for a pipe and the like, and for a folder without a
    recording.
    """
    paths = []
    for place in map(Path, places):
        if not place.is_dir():
            open_regular(place, "a recording, or a folder of recordings").close()
            paths.append(str(place))
            continue
        folder_paths: list[str] = []
        for folder, folders, files in os.walk(place):
            folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
            names = [
                name for name in files if not name.startswith(".") and Path(name).suffix.lower() not in NOT_RECORDINGS
            ]
            folder_paths += [os.path.join(folder, name) for name in sorted(names, key=natural_key)]
        if not folder_paths:
            raise PlifError(f"{place}: no recordings in this folder")
        paths += folder_paths
    return paths
