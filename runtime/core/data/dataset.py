"""What a data set is, and what all sets of events and all sets of still images have in common."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.events import framed, frames_in, open_source
from runtime.core.events.fit import Fate
from runtime.core.events.formats import nmnist
from runtime.core.events.framing import Framing
from runtime.core.events.size import sizes_to_try
from runtime.core.observers import hearing

Shape = tuple[int, int, int]
SPLITS = ("train", "test")
MOST_EVENTS = 1 << 26  # of one recording, which is held in memory as a whole: 0.9 GB
UNKNOWN = -1  # the label of a sample whose class nobody knows
DIGITS = tuple(str(digit) for digit in range(10))


class Dataset(Protocol):
    """One split of a data set, read sample by sample. Reading changes nothing, so threads may share it."""

    name: str  # as the user typed it
    classes: tuple[str, ...]  # in the order of a network's outputs

    @property
    def kind(self) -> str:
        """events or static."""
        ...

    def __len__(self) -> int: ...

    def label(self, i: int) -> int:
        """Index into classes, or UNKNOWN."""
        ...

    def sample(self, i: int) -> npt.NDArray[np.float32]:
        """events: float32 [T, C, H, W]; static: float32 [C, H, W]."""
        ...

    def path(self, i: int) -> str:
        """Where sample i is, for messages and tables: a file, a part of one (FILE#part), ZIP/member, or just a name."""
        ...


@dataclass(frozen=True)
class DatasetSpec:
    """The arguments of `open_dataset`, checked."""

    name: str  # the whole spec, for messages
    place: str  # what follows "NAME:"
    split: str
    shape: Shape
    framing: Framing | None = None
    normalisation: dict[str, list[float]] | None = None
    classes: tuple[str, ...] | None = None
    options: Mapping[str, str] = field(default_factory=dict)  # what follows "?", checked against Description.options
    trained: tuple[int, int] | None = None  # sensor of the network's training, for recordings that do not say theirs


@dataclass(frozen=True)
class Description:
    """What `plif data` prints of a set. `options` are those of a spec NAME:DIR?option=value, defaults first; one word in
    capitals stands for text that the set itself reads."""

    kind: str
    spec: str
    shape: Shape
    what: str
    source: str
    licence: str
    size: str = ""  # of the download
    view: str | None = None  # of networks that are trained on it: "upright", or as stored
    checksums: Mapping[str, str] = field(default_factory=dict)  # of files as they are downloaded: "md5:..."
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def check_classes(name: str, found: Sequence[str], expected: Sequence[str] | None) -> None:
    """PlifError, with the first difference, unless the set's classes are the model's, in order."""
    if expected is None or list(found) == list(expected):
        return
    if len(found) != len(expected):
        raise PlifError(
            f"{name}: {len(found)} classes ({first_names(found)}), expected {len(expected)} ({first_names(expected)})"
        )
    at = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
    raise PlifError(
        f"{name}: class {at} is '{found[at]}', expected '{expected[at]}': other classes, or another order of them"
    )


def first_names(names: Sequence[str]) -> str:
    """The first twelve names, for messages."""
    return ", ".join(list(names)[:12]) + (", ..." if len(names) > 12 else "")


class Recorded(NamedTuple):
    """A recording: its usable events [N] (EVENT_DTYPE), (width, height) of their sensor, how the view becomes upright, who says
    the sensor, as in Source, and how many further events cannot be used."""

    events: npt.NDArray[np.void]
    sensor: tuple[int, int]
    upright: str
    sensor_from: str = "source"
    invalid: int = 0


class EventSet:
    """Recordings as frames. A subclass gives `recording(i)`, the events of sample i, or `recorded(i)`."""

    kind: ClassVar[str] = "events"
    sensor: tuple[int, int] | None = None  # (width, height) that the set or the user says
    sensor_from: str = "source"  # who says so, as in Source: the set, or for a folder "asked"

    def __init__(
        self, request: DatasetSpec, classes: Sequence[str], labels: Sequence[int], paths: Sequence[str]
    ) -> None:
        if request.framing is None:
            raise PlifError(f"{request.name}: a set of events needs a framing, e.g. count:T=10 or duration:10ms,T=16")
        if request.normalisation is not None:
            raise PlifError(f"{request.name}: a set of events takes no normalisation, found {request.normalisation}")
        self.name = request.name
        self.classes = tuple(classes)
        self.framing, self.shape = request.framing, request.shape
        self._labels, self._paths = list(labels), list(paths)

    def __len__(self) -> int:
        return len(self._labels)

    def label(self, i: int) -> int:
        return self._labels[i]

    def path(self, i: int) -> str:
        return self._paths[i]

    @property
    def common_sensor(self) -> tuple[int, int] | None:
        """(width, height) for the card of a network that is trained on the set; None where recordings differ."""
        return self.sensor

    def settle_sensor(self) -> tuple[int, int] | None:
        """Training calls it: `common_sensor`, with which recordings that say none are read from now on, as they are by
        everybody who reads them for the network that is trained."""
        return self.common_sensor

    @property
    def settings(self) -> dict[str, object]:
        """What decides the samples besides their files."""
        return {"framing": str(self.framing), "shape": list(self.shape)}

    def recording(self, i: int) -> tuple[npt.NDArray[np.void], tuple[int, int], str]:
        """Events [N] (EVENT_DTYPE) of sample i, (width, height) of their sensor, and how the view becomes upright."""
        return self.recorded(i)[:3]

    def recorded(self, i: int) -> Recorded:
        """`recording`, and what its reader knows besides. A set has one of the two, or both."""
        return Recorded(*self.recording(i), self.sensor_from)

    def recording_with_lead(self, i: int, lead_us: int) -> tuple[npt.NDArray[np.void], tuple[int, int], str, int]:
        """`recording`, with up to lead_us of the time before it where the file has that and no other sample; and when the
        sample itself begins, in us."""
        events, size, upright = self.recording(i)
        return events, size, upright, int(events["t"][0])

    def sample(self, i: int) -> npt.NDArray[np.float32]:
        """float32 [T, C, H, W]."""
        return self.frames(i)[0]

    def frames(self, i: int) -> tuple[npt.NDArray[np.float32], Fate]:
        """(float32 [T, C, H, W], where the events went) of sample i."""
        found = self.frames_in_one_call(i)
        if found is not None:
            return found
        one = self.recorded(i)
        frames, went = framed(one.events, self.framing, self.shape, one.sensor, one.upright)
        lost = one.invalid + went.late + went.invalid
        t, said = one.events["t"], (one.sensor, one.sensor_from, len(frames), float(one.events["p"].mean()))
        return frames, Fate(len(t) + one.invalid, went.used, lost, *said, max(0, int(t[-1] - t[0])), went.not_shown)

    def frames_in_one_call(
        self, i: int, out: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[np.float32], Fate] | None:
        """`frames` by native code, which needs no lock of Python (runtime/core/events/__init__.py); None where it cannot.

        out  [T, C, H, W] where they go, each contiguous"""
        return None


class FileEventSet(EventSet):
    """Recordings in files, one a sample, in any format that runtime.core.events reads.

    `found` has (rank, class index, path) of each recording. Samples are sorted by it, so that the first samples of a set
    whose ranks count within a class are a fair sample of the set.
    """

    csv: str | None = None  # what the columns of CSV are
    up: str | None = None  # the side of the stored picture on which people's heads are, whatever the format says
    trained: tuple[int, int] | None = None  # the sensor of the network's training, for recordings that say none

    def __init__(self, request: DatasetSpec, classes: Sequence[str], found: list[tuple[int, int, str]]) -> None:
        found = sorted(found)
        super().__init__(request, classes, [label for _, label, _ in found], [path for _, _, path in found])

    def recorded(self, i: int) -> Recorded:
        """See EventSet."""
        unpack = [part.load("unpack") for part in hearing("archives", "datasets")]
        with unpack[0](self._paths[i]) if unpack else nullcontext(self._paths[i]) as file:
            return read_recording(file, self._paths[i], self.sensor, self.sensor_from, self.csv, self.trained, self.up)

    def frames_in_one_call(
        self, i: int, out: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[np.float32], Fate] | None:
        """See EventSet. The files that native code takes say no sensor, and it takes them only where all events are within the
        one that is given: the first that a guess tries is then the guess."""
        if self.up is not None:
            return None
        sensor = self.sensor or sizes_to_try(self.trained, nmnist.SENSORS)[0]
        found = frames_in(self._paths[i], self.framing, self.shape, sensor, out)
        if found is None:
            return None
        frames, events, (used, on, duration_us, not_shown) = found
        said = self.sensor_from if self.sensor else "model" if self.trained else "guess"
        return frames, Fate(events, used, 0, sensor, said, len(frames), on / events, duration_us, not_shown)


def read_recording(
    file: str | Path,
    name: str,
    sensor: tuple[int, int] | None,
    sensor_from: str = "asked",
    csv: str | None = None,
    trained: tuple[int, int] | None = None,
    up: str | None = None,
) -> Recorded:
    """The recording in a file. `sensor`, which `sensor_from` says, and `trained` are for one that says none; up: of open_source.

    Notes of what is lost become warnings; these and PlifError name the recording `name`.
    """
    source = open_source(f"file:{file}", asked=sensor, csv=csv, trained=trained, up=up)
    packets, total = [], 0
    for packet in source.packets(1 << 20):
        packets.append(packet)
        total += len(packet)
        if total > MOST_EVENTS:
            raise PlifError(
                f"{name}: more than {MOST_EVENTS} events, too many for one sample: cut it into shorter ones"
            )
    notes = [note.replace(str(file), name) for note in source.notes]
    if not packets:
        raise PlifError(f"{name}: no usable events ({'; '.join(notes) or 'an empty recording'})")
    for note in notes:
        warnings.warn(note, PlifWarning, stacklevel=3)
    said = sensor_from if source.sensor_from == "asked" else source.sensor_from
    return Recorded(np.concatenate(packets), source.sensor, source.upright, said, source.invalid)


class ImageSet:
    """uint8 images [N, H, W] or [N, H, W, C] in memory, with labels uint8 [N] -> samples float32 [C, H, W]."""

    kind: ClassVar[str] = "static"

    def __init__(
        self,
        request: DatasetSpec,
        classes: Sequence[str],
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        where: Path,
    ) -> None:
        if len(labels) and int(labels.max()) >= len(classes):
            raise PlifError(f"{where}: label {int(labels.max())}, expected 0 to {len(classes) - 1}")
        self._images: npt.NDArray[np.uint8] = images[..., None] if images.ndim == 3 else images
        height, width, channels = self._images.shape[1:]
        if (channels, height, width) != tuple(request.shape):
            raise PlifError(
                f"{where}: images of {channels} x {height} x {width}, but the network takes"
                f" {' x '.join(map(str, request.shape))}"
            )
        self.name = request.name
        self.classes = tuple(classes)
        self._labels, self._where = labels, where
        self._mean, self._std = _normalisation(request, channels)

    def __len__(self) -> int:
        return len(self._labels)

    def label(self, i: int) -> int:
        return int(self._labels[i])

    def path(self, i: int) -> str:
        return f"{self._where}#{range(len(self))[i]}"

    @property
    def settings(self) -> dict[str, object]:
        """What decides the samples besides their files."""
        return {"mean": self._mean.flatten().tolist(), "std": self._std.flatten().tolist()}

    def image(self, i: int) -> npt.NDArray[np.uint8]:
        """The pixels of sample i, uint8 [H, W, C]."""
        return np.asarray(self._images[i])

    def sample(self, i: int) -> npt.NDArray[np.float32]:
        """(x / 255 - mean) / std, float32 [C, H, W]."""
        image = self.image(i).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        return np.asarray((image - self._mean) / self._std, np.float32)


def _normalisation(request: DatasetSpec, channels: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """mean and std, each float32 [C, 1, 1]."""
    given = request.normalisation
    if given is None:
        given = {"mean": [0.0] * channels, "std": [1.0] * channels}
    arrays = []
    for name in ("mean", "std"):
        try:
            array = np.asarray(given[name], np.float32)
        except (KeyError, TypeError, ValueError):
            raise PlifError(f"{request.name}: normalisation {given}, expected a list of numbers '{name}'") from None
        if array.shape != (channels,) or not np.isfinite(array).all() or (name == "std" and (array <= 0).any()):
            above = " above 0" if name == "std" else ""
            raise PlifError(f"{request.name}: normalisation {name}={given[name]}, expected {channels} number(s){above}")
        arrays.append(array[:, None, None])
    return arrays[0], arrays[1]
