"""Sets of recorded events in folders: N-MNIST, and the user's own recordings.

Recordings without classes: files and folders as the user named them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from runtime.base.errors import PlifError, PlifWarning
from runtime.base.files import open_regular
from runtime.base.grammar import parse_size
from runtime.data.archive import list_members
from runtime.data.dataset import DIGITS, SPLITS, UNKNOWN, DatasetSpec, Description, FileEventSet, Shape
from runtime.events import open_source
from runtime.events.framing import Framing
from runtime.events.size import unlike

NOT_RECORDINGS = frozenset((".json", ".txt", ".md", ".png", ".jpg", ".pdf", ".part"))
LOOKED_AT = 16  # files of a folder that tell the sensor of all where nobody says it


class Nmnist(FileEventSet):
    """`nmnist:DIR`, DIR/{Train,Test}/<digit>/<number>.bin, or DIR/{Train,Test}.zip as they are downloaded.

    Sorted by number, which is the order of MNIST, where the digits are mixed.
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
        root = folder_of(request, "Train/ and Test/ in it")
        name = request.split.capitalize()
        archive = next((path for path in (root / f"{name}.zip", root / f"{name.lower()}.zip") if path.is_file()), None)
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
                f" {name}/<digit>/<number>.bin; found {listing(root)}"
            )
        if not paths:
            there = listing(folder) if folder.is_dir() else "none in the archive"
            raise PlifError(f"{request.name}: no {folder}/<digit>/<number>.bin; found {there}")
        super().__init__(request, DIGITS, [(_number(path), int(path.rsplit("/", 2)[-2]), path) for path in paths])


def _list_digits(folder: Path) -> list[str]:
    """The paths of every <digit>/<number>.bin in a folder, in any order. There may be very many, so no Path is made of each."""
    found = []
    for place in (folder / digit for digit in DIGITS if (folder / digit).is_dir()):
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(".bin") and entry.is_file()]
        found += [f"{place}/{name}" for name in names if not name.startswith(".")]
    return found


def _list_zipped_digits(archive: Path, name: str) -> list[str]:
    members = [member for member in list_members(archive, ".bin") if member.startswith(f"{name}/")]
    return [f"{archive}/{member}" for member in members if Path(member).parent.name in DIGITS]


def _number(path: str) -> int:
    stem = path.rpartition("/")[2].rpartition(".")[0]
    if not (stem.isascii() and stem.isdigit() and len(stem) < 20):
        raise PlifError(f"{path}: expected a number as its name, as in 00001.bin")
    return int(stem)


class Folder(FileEventSet):
    """`folder:DIR`, one folder of recordings for each class: DIR/{train,test}/<class>/*, or DIR/<class>/*, all of them test.

    Classes are the folders' names, sorted as text, unless an order is given. The first recordings of all classes come
    first, then the second ones, and so on.

    ?sensor=346x260, or the line 346x260 in DIR/sensor.txt, is the sensor of those that do not say it themselves
    (runtime/events/size.py). ?up=left is the side of all stored pictures on which people's heads are.
    """

    about: ClassVar[Description] = Description(
        kind="events",
        spec="folder:DIR",
        shape=(2, 128, 128),
        what="your own recordings: DIR/<class>/* or DIR/{train,test}/<class>/*, any format that plif reads",
        source="your camera",
        licence="yours",
        options={"sensor": ("WIDTHXHEIGHT",), "csv": ("COLUMNS",), "up": ("SIDE",)},
    )

    def __init__(self, request: DatasetSpec) -> None:
        top = root = folder_of(request, "one folder a class in it")
        folders = _folders(root)
        halves = {name.lower(): path for name, path in folders.items() if name.lower() in SPLITS}
        if halves:
            if request.split not in halves:
                raise PlifError(
                    f"{request.name}: no folder {request.split} beside {_names(halves)},"
                    " expected train/<class> and test/<class>"
                )
            root = halves[request.split]
            folders = _folders(root)
        elif request.split != "test":
            raise PlifError(
                f"{request.name}: no folders train and test, so all of it is the test split; for the"
                f" {request.split} split sort the recordings into train/<class> and test/<class>"
            )
        if not folders:
            raise PlifError(f"{request.name}: no folders in {root}, expected one a class; found {listing(root)}")
        classes = sorted(folders)
        if request.classes is not None:
            missing, unknown = set(request.classes) - set(classes), set(classes) - set(request.classes)
            if unknown or missing == set(request.classes):
                raise PlifError(
                    f"{request.name}: folders {_names(classes)} in {root}; missing {_names(missing)}, not among the classes"
                    f" {_names(unknown)}"
                )
            if missing:
                warnings.warn(
                    f"{request.name}: no recordings of {_names(missing)}, so nothing is said about them", PlifWarning,
                    stacklevel=4,
                )  # fmt: skip
            classes = list(request.classes)
        found: list[tuple[int, int, str]] = []
        for label, name in enumerate(classes):
            if name not in folders:
                continue
            paths = self._recordings_in(folders[name])
            if not paths:
                raise PlifError(f"{folders[name]}: no recordings of class '{name}'; found {listing(folders[name])}")
            found.extend((rank, label, str(path)) for rank, path in enumerate(paths))
        super().__init__(request, classes, found)
        self.sensor, self.sensor_from = _said(request, top), "asked"
        self.csv, self.up, self.trained = request.options.get("csv"), request.options.get("up"), request.trained
        self._parts = [part for half in halves.values() for part in _folders(half).values()] or [*folders.values()]

    @property
    def common_sensor(self) -> tuple[int, int] | None:
        """That of all recordings, as LOOKED_AT of both splits tell; None where they say others. Those that say none are taken
        to be of one camera, whose sensor is the largest guess, with a warning."""
        paths = [path for part in self._parts for path in self._recordings_in(part)]
        said: dict[tuple[int, int], Path] = {}
        guessed: dict[tuple[int, int], Path] = {}
        for path in paths[:: -(-len(paths) // LOOKED_AT)]:
            try:
                source = open_source(f"file:{path}", asked=self.sensor, csv=self.csv, trained=self.trained)
            except PlifError:
                continue  # it is named when it is its turn
            (guessed if source.sensor_from in ("guess", "model") else said).setdefault(source.sensor, path)
        sizes = {**guessed, **said}
        place = self.name.partition("?")[0]
        advice = f"say it: {place}?sensor=WIDTHxHEIGHT, or the line WIDTHxHEIGHT in sensor.txt"
        if len(sizes) > 1:
            each = ", ".join(f"{w}x{h} ({path.name})" for (w, h), path in sorted(sizes.items())[:4])
            _warn(f"{self.name}: the sensors of its recordings differ: {each}" + (f"; {advice}" if guessed else ""))
        if said or not guessed:
            return next(iter(sizes)) if len(sizes) == 1 else None
        width, height = size = max(guessed, key=lambda size: size[0] * size[1])
        if size != self.trained:
            why = unlike(size, self.shape)
            taken = f"is a guess for all of them{f', and {why}' if why else ''}"
            _warn(f"{self.name}: its recordings do not say their sensor: {width}x{height} {taken}; {advice}")
        return size

    def settle_sensor(self) -> tuple[int, int] | None:
        """See EventSet."""
        self.trained = self.common_sensor
        return self.trained

    @property
    def settings(self) -> dict[str, object]:
        said = {"sensor": self.sensor, "trained": self.trained}
        sizes = {name: list(size) for name, size in said.items() if size}
        return {**super().settings, **sizes, **({"up": self.up} if self.up else {})}

    def _recordings_in(self, folder: Path) -> list[Path]:
        return [path for path in files_of(folder) if path.suffix.lower() not in NOT_RECORDINGS]


def _warn(text: str) -> None:
    warnings.warn(text, PlifWarning, stacklevel=5)


def _said(request: DatasetSpec, root: Path) -> tuple[int, int] | None:
    """The sensor that the spec names, else sensor.txt, else None."""
    text, path = request.options.get("sensor"), root / "sensor.txt"
    if text is not None:
        return parse_size(f"{request.name}: sensor={text}", text)
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        line = file.read(100).decode("utf-8-sig", "replace").strip()
    return parse_size(f"{path}: {line[:40]!r}", line)


def _folders(root: Path) -> dict[str, Path]:
    return {path.name: path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}


def folder_of(request: DatasetSpec, content: str) -> Path:
    """The folder that a spec names. PlifError when there is no such folder."""
    if not request.place:
        kind = request.name.partition(":")[0]
        raise PlifError(f"{request.name}: no folder named, expected {kind}:DIR with {content}")
    root = Path(request.place)
    if not root.is_dir():
        problem = "not a folder" if root.exists() else "no such folder"
        raise PlifError(f"{request.name}: {root}: {problem}, expected one with {content}")
    return root


def files_of(folder: Path, missing_ok: bool = False) -> list[Path]:
    """The visible files of a folder, sorted by name; digits in a name compare as numbers."""
    if missing_ok and not folder.is_dir():
        return []
    return sorted(
        (p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")),
        key=lambda path: natural_key(path.name),
    )


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts "10.bin" after "9.bin": runs of digits compare as numbers."""
    parts: list[tuple[int, int, str]] = []
    run = ""
    for character in name + "\0":
        if character.isascii() and character.isdigit():
            run += character
            continue
        if run:
            parts.append((0, int(run), run))
            run = ""
        parts.append((1, ord(character), ""))
    return tuple(parts)


def listing(folder: Path) -> str:
    """The names in a folder, for messages."""
    return _names(path.name for path in folder.iterdir())


def _names(names: object) -> str:
    ordered = sorted(names)  # type: ignore[call-overload]
    return (", ".join(ordered[:8]) + (f" and {len(ordered) - 8} more" if len(ordered) > 8 else "")) or "nothing"


class Unlabelled(FileEventSet):
    """Recordings in the order of `paths`, each with the label UNKNOWN.

    sensor   (width, height) and trained, the sensor of the network's training: for those that say none (runtime/events/size.py)
    csv      what the columns of CSV files are;  up: on which side of the stored pictures people's heads are
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
        up: str | None = None,
    ) -> None:
        request = DatasetSpec(f"{len(paths)} recordings", "", "test", shape, framing)
        super().__init__(request, classes, [(i, UNKNOWN, path) for i, path in enumerate(paths)])
        self.sensor, self.sensor_from = sensor, "asked"
        self.csv, self.trained, self.up = csv, trained, up


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
