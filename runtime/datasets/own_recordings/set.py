"""The user's recordings as a data set: a folder for each class."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.base.grammar import parse_size
from runtime.core.data.dataset import SPLITS, DatasetSpec, Description, FileEventSet
from runtime.core.data.recordings import (
    NOT_RECORDINGS,
    dataset_folder,
    join_folder_names,
    join_sorted_names,
    list_files,
)
from runtime.core.events import open_source
from runtime.core.events.size import explain_mismatch

PROBED_FILES = 16  # files that are probed for the sensor when the user does not state it


class Folder(FileEventSet):
    """The data set `folder:DIR` of the user's own recordings, one folder for each class.

    DIR/{train,test}/<class>/*, or DIR/<class>/*, all of them test. Classes are the folders' names, sorted as text,
    unless an order is given. The first recordings of all classes come first, then the second ones, and so on.

    ?sensor=346x260, or the line 346x260 in DIR/sensor.txt, is the sensor of those that do not state it themselves
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
        top = root = dataset_folder(request, "one folder a class in it")
        folders = _folders(root)
        halves = {name.lower(): path for name, path in folders.items() if name.lower() in SPLITS}
        if halves:
            if request.split not in halves:
                raise PlifError(
                    f"{request.name}: no folder {request.split} next to {join_sorted_names(halves)},"
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
            raise PlifError(
                f"{request.name}: {root} has no subfolders; expected one for each class; found {join_folder_names(root)}"
            )
        classes = sorted(folders)
        if request.classes is not None:
            missing, unknown = set(request.classes) - set(classes), set(classes) - set(request.classes)
            if unknown or missing == set(request.classes):
                raise PlifError(
                    f"{request.name}: folders {join_sorted_names(classes)} in {root}; missing"
                    f" {join_sorted_names(missing)}, not among the classes {join_sorted_names(unknown)}"
                )
            if missing:
                warnings.warn(
                    f"{request.name}: no recordings of {join_sorted_names(missing)}, so nothing is said about them", PlifWarning,
                    stacklevel=4,
                )  # fmt: skip
            classes = list(request.classes)
        recordings: list[tuple[int, int, str]] = []
        for label, name in enumerate(classes):
            if name not in folders:
                continue
            paths = self._recordings_in(folders[name])
            if not paths:
                raise PlifError(
                    f"{folders[name]}: no recordings of class '{name}'; found {join_folder_names(folders[name])}"
                )
            recordings.extend((rank, label, str(path)) for rank, path in enumerate(paths))
        super().__init__(request, classes, recordings)
        self.sensor, self.sensor_from = _read_stated_sensor(request, top), "asked"
        self.csv, self.up, self.trained = request.options.get("csv"), request.options.get("up"), request.trained
        self._parts = [part for half in halves.values() for part in _folders(half).values()] or [*folders.values()]

    @property
    def common_sensor(self) -> tuple[int, int] | None:
        """The sensor's (width, height) that the recordings of the data set share, judged by some; None if they differ.

        PROBED_FILES files of both splits are probed. Recordings that do not state their sensor are taken to be of one
        camera, with the largest guessed sensor and a warning.
        """
        paths = [path for part in self._parts for path in self._recordings_in(part)]
        stated: dict[tuple[int, int], Path] = {}
        guessed: dict[tuple[int, int], Path] = {}
        for path in paths[:: -(-len(paths) // PROBED_FILES)]:
            try:
                source = open_source(f"file:{path}", user_sensor=self.sensor, csv=self.csv, trained=self.trained)
            except PlifError:
                continue  # its error is raised when the sample is read
            (guessed if source.sensor_from in ("guess", "model") else stated).setdefault(source.sensor, path)
        sizes = {**guessed, **stated}
        place = self.name.partition("?")[0]
        advice = f"say it: {place}?sensor=WIDTHxHEIGHT, or the line WIDTHxHEIGHT in sensor.txt"
        if len(sizes) > 1:
            examples = ", ".join(f"{w}x{h} ({path.name})" for (w, h), path in sorted(sizes.items())[:4])
            _warn(f"{self.name}: the sensors of its recordings differ: {examples}" + (f"; {advice}" if guessed else ""))
        if stated or not guessed:
            return next(iter(sizes)) if len(sizes) == 1 else None
        width, height = size = max(guessed, key=lambda size: size[0] * size[1])
        if size != self.trained:
            why = explain_mismatch(size, self.shape)
            claim = f"is a guess for all of them{f', and {why}' if why else ''}"
            _warn(f"{self.name}: its recordings do not say their sensor: {width}x{height} {claim}; {advice}")
        return size

    def fix_sensor(self) -> tuple[int, int] | None:
        """Find the sensor size that all recordings share, and use it for those that state none; return it."""
        self.trained = self.common_sensor
        return self.trained

    @property
    def settings(self) -> dict[str, object]:
        known_sizes = {"sensor": self.sensor, "trained": self.trained}
        sizes = {name: list(size) for name, size in known_sizes.items() if size}
        return {**super().settings, **sizes, **({"up": self.up} if self.up else {})}

    def _recordings_in(self, folder: Path) -> list[Path]:
        return [path for path in list_files(folder) if path.suffix.lower() not in NOT_RECORDINGS]


def _warn(text: str) -> None:
    warnings.warn(text, PlifWarning, stacklevel=5)


def _read_stated_sensor(request: DatasetSpec, root: Path) -> tuple[int, int] | None:
    """Return the sensor's (width, height) that the data set's spec or sensor.txt states; None when neither does."""
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
