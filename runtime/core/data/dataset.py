"""The interface of a data set, and the base classes for sets of events and sets of still images."""

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
from runtime.core.events import frame_and_count, open_source, read_frames
from runtime.core.events.fit import EventOutcome
from runtime.core.events.formats import nmnist
from runtime.core.events.framing import Framing
from runtime.core.events.size import candidate_sizes
from runtime.core.observers import find_observers

Shape = tuple[int, int, int]
SPLITS = ("train", "test")
MOST_EVENTS = 1 << 26  # of one recording, which is held in memory as a whole: 0.9 GB
UNKNOWN = -1  # the label of a sample whose class nobody knows
DIGITS = tuple(str(digit) for digit in range(10))


class Dataset(Protocol):
    """One split of a data set, read sample by sample; threads may share it, since reading changes nothing."""

    name: str  # as the user typed it
    classes: tuple[str, ...]  # in the order of a network's outputs

    @property
    def kind(self) -> str:
        """The kind of a data set's samples: "events" or "static" (still images)."""
        ...

    def __len__(self) -> int: ...

    def label(self, i: int) -> int:
        """Return the label of a data set's sample i: an index into its classes, or UNKNOWN."""
        ...

    def sample(self, i: int) -> npt.NDArray[np.float32]:
        """Read sample i of a data set: of events float32 [T, C, H, W], of static images float32 [C, H, W]."""
        ...

    def path(self, i: int) -> str:
        """Return the origin of a data set's sample i, for messages: a file, FILE#part, ZIP/member, or just a name."""
        ...


@dataclass(frozen=True)
class DatasetSpec:
    """The checked arguments of `open_dataset`."""

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
    """The description of a data set that `plif data` prints."""

    kind: str
    spec: str
    shape: Shape
    what: str
    source: str
    licence: str
    size: str = ""  # of the download
    view: str | None = None  # of networks that are trained on it: "upright", or as stored
    checksums: Mapping[str, str] = field(default_factory=dict)  # of files as they are downloaded: "md5:..."
    # of a spec NAME:DIR?option=value, defaults first; one word in capitals stands for text that the set itself reads
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def check_classes(name: str, classes: Sequence[str], expected: Sequence[str] | None) -> None:
    """Refuse a data set unless its classes are the model's, in the same order; name the first difference."""
    if expected is None or list(classes) == list(expected):
        return
    if len(classes) != len(expected):
        raise PlifError(
            f"{name}: {len(classes)} classes ({join_first_names(classes)}), "
            f"expected {len(expected)} ({join_first_names(expected)})"
        )
    index = next(i for i, (a, b) in enumerate(zip(classes, expected, strict=True)) if a != b)
    raise PlifError(
        f"{name}: class {index} is '{classes[index]}', expected '{expected[index]}': other classes, or another order of them"
    )


def join_first_names(names: Sequence[str]) -> str:
    """Join the first twelve names of a list, for messages."""
    return ", ".join(list(names)[:12]) + (", ..." if len(names) > 12 else "")


class RecordingEvents(NamedTuple):
    """The usable events [N] (EVENT_DTYPE) of one recording, with its sensor.

    sensor       (width, height)
    upright      the rotation that makes the stored view upright
    sensor_from  the origin of the sensor size, as in Source
    invalid      the number of further events, which cannot be used
    """

    events: npt.NDArray[np.void]
    sensor: tuple[int, int]
    upright: str
    sensor_from: str = "source"
    invalid: int = 0


class EventSet:
    """A data set of recordings, read as frames; a subclass defines `recording(i)` or `load_recording(i)`."""

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
        """The (width, height) for the card of a network trained on this data set; None where recordings differ."""
        return self.sensor

    def fix_sensor(self) -> tuple[int, int] | None:
        """Fix the sensor size of recordings that do not say theirs to `common_sensor`; return it.

        Training calls it, so that such recordings are read as every user of the trained network reads them.
        """
        return self.common_sensor

    @property
    def settings(self) -> dict[str, object]:
        """The settings (framing, shape) that determine a data set's samples, in addition to their files."""
        return {"framing": str(self.framing), "shape": list(self.shape)}

    def recording(self, i: int) -> tuple[npt.NDArray[np.void], tuple[int, int], str]:
        """Read sample i: events [N] (EVENT_DTYPE), (width, height) of their sensor, and the rotation to upright."""
        return self.load_recording(i)[:3]

    def load_recording(self, i: int) -> RecordingEvents:
        """Read sample i with its sensor's origin and invalid events; a subclass overrides this, `recording`, or both."""
        return RecordingEvents(*self.recording(i), self.sensor_from)

    def recording_with_lead(self, i: int, lead_us: int) -> tuple[npt.NDArray[np.void], tuple[int, int], str, int]:
        """Read sample i and up to lead_us of its file before it, but no other sample; also return its start in us."""
        events, size, upright = self.recording(i)
        return events, size, upright, int(events["t"][0])

    def sample(self, i: int) -> npt.NDArray[np.float32]:
        """Read sample i as frames float32 [T, C, H, W]."""
        return self.frames(i)[0]

    def frames(self, i: int) -> tuple[npt.NDArray[np.float32], EventOutcome]:
        """Read sample i as frames float32 [T, C, H, W], and count its events by outcome."""
        native_frames = self.read_frames_native(i)
        if native_frames is not None:
            return native_frames
        recording = self.load_recording(i)
        events, sensor, invalid = recording.events, recording.sensor, recording.invalid
        frames, account = frame_and_count(events, self.framing, self.shape, sensor, recording.upright)
        lost, t = invalid + account.late + account.invalid, events["t"]
        facts = sensor, recording.sensor_from, len(frames), float(events["p"].mean()), max(0, int(t[-1] - t[0]))
        return frames, EventOutcome(len(t) + invalid, account.used, lost, *facts, account.not_shown)

    def read_frames_native(
        self, i: int, out: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[np.float32], EventOutcome] | None:
        """Read the frames of sample i by native code, without Python's lock; return None where it cannot.

        The result is that of `frames` (runtime/core/events/whole.py).
        out  [T, C, H, W] the memory of the frames, each contiguous
        """
        return None


class FileEventSet(EventSet):
    """A data set of recordings in files, one per sample, in any format that runtime.core.events reads.

    `recordings` has (rank, class index, path) of each. Samples are sorted by it, so that the first samples of a set
    with ranks that count within a class are a fair sample of the set.
    """

    csv: str | None = None  # what the columns of CSV are
    up: str | None = None  # the side of the stored picture on which people's heads are, whatever the format says
    trained: tuple[int, int] | None = None  # the sensor of the network's training, for recordings that say none

    def __init__(self, request: DatasetSpec, classes: Sequence[str], recordings: list[tuple[int, int, str]]) -> None:
        recordings = sorted(recordings)
        super().__init__(request, classes, [label for _, label, _ in recordings], [path for _, _, path in recordings])

    def load_recording(self, i: int) -> RecordingEvents:
        """Read sample i from its file or archive member, events [N]; see EventSet."""
        unpack = [part.load("unpack") for part in find_observers("archives", "datasets")]
        with unpack[0](self._paths[i]) if unpack else nullcontext(self._paths[i]) as file:
            return read_recording(file, self._paths[i], self.sensor, self.sensor_from, self.csv, self.trained, self.up)

    def read_frames_native(
        self, i: int, out: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[np.float32], EventOutcome] | None:
        """Read the frames float32 [T, C, H, W] of sample i by native code; return None where it cannot.

        The files of the native code say no sensor, and it takes them only where all events are within the given
        sensor: the first size that a guess would try is then the guess.
        """
        if self.up is not None:
            return None
        sensor = self.sensor or candidate_sizes(self.trained, nmnist.SENSORS)[0]
        native_frames = read_frames(self._paths[i], self.framing, self.shape, sensor, out)
        if native_frames is None:
            return None
        frames, events, (used, on, duration_us, not_shown) = native_frames
        sensor_from = self.sensor_from if self.sensor else "model" if self.trained else "guess"
        facts = sensor, sensor_from, len(frames), on / events, duration_us
        return frames, EventOutcome(events, used, 0, *facts, not_shown)


def read_recording(
    file: str | Path,
    name: str,
    sensor: tuple[int, int] | None,
    sensor_from: str = "asked",
    csv: str | None = None,
    trained: tuple[int, int] | None = None,
    up: str | None = None,
) -> RecordingEvents:
    """Read one recording from a file: its usable events [N], sensor and orientation.

    `sensor`, of origin `sensor_from`, and `trained` are for a recording that says none; up: see open_source. Notes of
    losses become warnings; these and PlifError name the recording `name`.
    """
    source = open_source(f"file:{file}", user_sensor=sensor, csv=csv, trained=trained, up=up)
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
    origin = sensor_from if source.sensor_from == "asked" else source.sensor_from
    return RecordingEvents(np.concatenate(packets), source.sensor, source.upright, origin, source.invalid)


class ImageSet:
    """A data set of images in memory, uint8 [N, H, W] or [N, H, W, C], read as samples float32 [C, H, W]."""

    kind: ClassVar[str] = "static"

    def __init__(
        self,
        request: DatasetSpec,
        classes: Sequence[str],
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        folder: Path,
    ) -> None:
        if len(labels) and int(labels.max()) >= len(classes):
            raise PlifError(f"{folder}: label {int(labels.max())}, expected 0 to {len(classes) - 1}")
        self._images: npt.NDArray[np.uint8] = images[..., None] if images.ndim == 3 else images
        height, width, channels = self._images.shape[1:]
        if (channels, height, width) != tuple(request.shape):
            raise PlifError(
                f"{folder}: images of {channels} x {height} x {width}, but the network takes"
                f" {' x '.join(map(str, request.shape))}"
            )
        self.name = request.name
        self.classes = tuple(classes)
        self._labels, self._folder = labels, folder
        self._mean, self._std = _normalisation(request, channels)

    def __len__(self) -> int:
        return len(self._labels)

    def label(self, i: int) -> int:
        return int(self._labels[i])

    def path(self, i: int) -> str:
        return f"{self._folder}#{range(len(self))[i]}"

    @property
    def settings(self) -> dict[str, object]:
        """The settings (mean, std) that determine a data set's images, in addition to their files."""
        return {"mean": self._mean.flatten().tolist(), "std": self._std.flatten().tolist()}

    def image(self, i: int) -> npt.NDArray[np.uint8]:
        """Return the pixels of sample i, uint8 [H, W, C]."""
        return np.asarray(self._images[i])

    def sample(self, i: int) -> npt.NDArray[np.float32]:
        """Return image i normalised, (x / 255 - mean) / std, float32 [C, H, W]."""
        image = self.image(i).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        return np.asarray((image - self._mean) / self._std, np.float32)


def _normalisation(request: DatasetSpec, channels: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean and std of a data set spec, each float32 [C, 1, 1]."""
    numbers = request.normalisation
    if numbers is None:
        numbers = {"mean": [0.0] * channels, "std": [1.0] * channels}
    arrays = []
    for name in ("mean", "std"):
        try:
            array = np.asarray(numbers[name], np.float32)
        except (KeyError, TypeError, ValueError):
            raise PlifError(f"{request.name}: normalisation {numbers}, expected a list of numbers '{name}'") from None
        if array.shape != (channels,) or not np.isfinite(array).all() or (name == "std" and (array <= 0).any()):
            above = " above 0" if name == "std" else ""
            raise PlifError(
                f"{request.name}: normalisation {name}={numbers[name]}, expected {channels} number(s){above}"
            )
        arrays.append(array[:, None, None])
    return arrays[0], arrays[1]
