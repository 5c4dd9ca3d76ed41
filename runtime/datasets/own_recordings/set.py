"""Recordings of one's own as a data set: a folder for each class."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.base.grammar import parse_size
from runtime.core.data.dataset import SPLITS, DatasetSpec, Description, FileEventSet
from runtime.core.data.recordings import NOT_RECORDINGS, files_of, first_of, folder_of, listing
from runtime.core.events import open_source
from runtime.core.events.size import unlike

LOOKED_AT = 16  # files of a folder that tell the sensor of all where nobody says it


class Folder(FileEventSet):
    """`folder:DIR`, one folder of recordings for each class: DIR/{train,test}/<class>/*, or DIR/<class>/*, all of them test.

    Classes are the folders' names, sorted as text, unless an order is given. The first recordings of all classes come
    first, then the second ones, and so on.

    ?sensor=346x260, or the line 346x260 in DIR/sensor.txt, is the sensor of those that do not say it themselves
    (runtime/core/events/size.py). ?up=left is the side of all stored pictures on which people's heads are.
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
                    f"{request.name}: no folder {request.split} beside {first_of(halves)},"
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
                    f"{request.name}: folders {first_of(classes)} in {root}; missing {first_of(missing)}, not among the classes"
                    f" {first_of(unknown)}"
                )
            if missing:
                warnings.warn(
                    f"{request.name}: no recordings of {first_of(missing)}, so nothing is said about them", PlifWarning,
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


SETS = {"folder": Folder}
