"""DVS128 Gesture: 122 recordings of a DVS128, AEDAT 3.1. In each a subject does eleven gestures, one after the other.

    DIR[/DvsGesture]/user01_fluorescent.aedat, user01_fluorescent_labels.csv, ...
    trials_to_train.txt, trials_to_test.txt       the recordings of users 1-23 and 24-29, one a line
    *_labels.csv                                  class,startTime_usec,endTime_usec      class 1..11

A sample has the events with start <= t < end; its label is class - 1. There are 1176 train and 288 test samples.

    ?order=sj              the output order of networks trained with SpikingJelly, which sorts folders named 0..10 as text:
                           0, 1, 10, 2, ..., 9, so output 2 is other_gestures
    ?train=authors-936     the training split of the paper's logs, 936 samples of 78 recordings. The loader of that time
                           gave each thread the same number of files and dropped the others. This suggests that the 78 were
                           the first of trials_to_train.txt, but no source confirms it

Source: A. Amir et al., CVPR 2017; the set's README.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.data.dataset import DatasetSpec, Description, EventSet, RecordingEvents, read_recording
from runtime.core.data.recordings import dataset_folder, join_folder_names

CLASSES = (
    "hand_clapping", "right_hand_wave", "left_hand_wave", "right_arm_clockwise", "right_arm_counter_clockwise",
    "left_arm_clockwise", "left_arm_counter_clockwise", "arm_roll", "air_drums", "air_guitar", "other_gestures",
)  # fmt: skip
ORDERS = {"own": CLASSES, "sj": tuple(CLASSES[int(i)] for i in sorted(map(str, range(len(CLASSES)))))}
AUTHORS_FILES = 78
ARCHIVE = "DvsGesture.tar.gz"


class DvsGesture(EventSet):
    """The data set `dvs128-gesture:DIR[?order=own|sj&train=all|authors-936]` of recorded hand gestures.

    The class order of the model is used if it has one.
    """

    about: ClassVar[Description] = Description(
        kind="events",
        spec="dvs128-gesture:DIR",
        shape=(2, 128, 128),
        what="eleven gestures of 29 people before a DVS128, 1176 + 288 samples",
        source="research.ibm.com/interactive/dvsgesture (DvsGesture.tar.gz, unpacked in DIR)",
        licence="CC BY 4.0 (A. Amir et al. 2017)",
        view="upright",
        checksums={
            ARCHIVE: "md5:8a5c71fb11e24e5ca5b11866ca6c00a1",
            "gesture_mapping.csv": "md5:109b2ae64a0e1f3ef535b18ad7367fd1",
            "README.txt": "md5:a0663d3b1d8307c329a43d949ee32d19",
        },
        options={"order": tuple(ORDERS), "train": ("all", "authors-936")},
    )
    sensor = (128, 128)

    def __init__(self, request: DatasetSpec) -> None:
        root = _find_root(request)
        order = request.options.get("order")
        classes = ORDERS[order or "own"]
        if order is None and request.classes is not None and set(request.classes) == set(classes):
            classes = request.classes
        names = _read_trials(root / f"trials_to_{request.split}.txt")
        if request.split == "train" and request.options.get("train") == "authors-936":
            if len(names) < AUTHORS_FILES:
                raise PlifError(
                    f"{request.name}: authors-936 needs {AUTHORS_FILES} training recordings, found {len(names)}"
                )
            names = names[:AUTHORS_FILES]
        labels, paths = [], []
        self._spans: list[tuple[str, int, int]] = []
        for name in names:
            for number, start_us, end_us in _read_labels(root / f"{Path(name).stem}_labels.csv"):
                labels.append(classes.index(CLASSES[number - 1]))
                paths.append(f"{root / name}#{start_us}-{end_us}us")
                self._spans.append((str(root / name), start_us, end_us))
        self._last: tuple[str, RecordingEvents] | None = None
        super().__init__(request, classes, labels, paths)

    def load_recording(self, i: int) -> RecordingEvents:
        """Return the events of gesture sample i, with the sensor size and orientation of its recording.

        The times of unusable events are unknown, so each sample has a proportional share of them.
        """
        path, start_us, end_us = self._spans[i]
        events, recording = self._cut_events(i, path, start_us, end_us), self._read_whole(path)
        return recording._replace(events=events, invalid=round(recording.invalid * len(events) / len(recording.events)))

    def recording_with_lead(self, i: int, lead_us: int) -> tuple[npt.NDArray[np.void], tuple[int, int], str, int]:
        """Return the events of gesture sample i with up to lead_us of the recording before it, and its start in us."""
        path, start_us, end_us = self._spans[i]
        before_us = max((last for name, _, last in self._spans if name == path and last <= start_us), default=0)
        events = self._cut_events(i, path, max(before_us, start_us - lead_us), end_us)
        recording = self._read_whole(path)
        return events, recording.sensor, recording.upright, start_us

    def _read_whole(self, path: str) -> RecordingEvents:
        last = self._last  # threads may share this cache: one assignment replaces it
        if last is None or last[0] != path:
            last = (path, read_recording(path, path, self.sensor, self.sensor_from))
            self._last = last
        return last[1]

    def _cut_events(self, i: int, path: str, start_us: int, end_us: int) -> npt.NDArray[np.void]:
        events = self._read_whole(path).events
        events = events[(events["t"] >= start_us) & (events["t"] < end_us)]
        if not len(events):
            raise PlifError(f"{self._paths[i]}: no events from {start_us} to {end_us} us, expected a gesture")
        return events


def _find_root(request: DatasetSpec) -> Path:
    root = dataset_folder(request, "the unpacked DvsGesture.tar.gz in it")
    for folder in (root, root / "DvsGesture"):
        if (folder / f"trials_to_{request.split}.txt").is_file():
            return folder
    if (root / ARCHIVE).is_file():
        raise PlifError(f"{request.name}: {root / ARCHIVE} is still packed; type: tar -xzf {root / ARCHIVE} -C {root}")
    raise PlifError(
        f"{request.name}: no trials_to_{request.split}.txt in {root} or {root / 'DvsGesture'}; found {join_folder_names(root)}"
    )


def _read_trials(path: Path) -> list[str]:
    """Read the list of the recording files of a split, in its order. Raises PlifError when one is missing."""
    names = [line.strip() for line in _read_text(path).splitlines() if line.strip()]
    for name in names:
        if Path(name).name != name:
            raise PlifError(f"{path}: '{name}' is not the name of a recording next to it")
    missing = [name for name in names if not (path.parent / name).is_file()]
    if not names or missing:
        problem = (
            f"{len(missing)} of {len(names)} recordings are missing, the first is {missing[0]}" if names else "empty"
        )
        raise PlifError(f"{path}: {problem}; unpack the set again")
    return names


def _read_labels(path: Path) -> list[tuple[int, int, int]]:
    """Read the class 1..11, start_us and end_us of each gesture in a label file of DVS128 Gesture."""
    lines = [line.strip() for line in _read_text(path).splitlines() if line.strip()]
    if not lines or lines[0].replace(" ", "") != "class,startTime_usec,endTime_usec":
        raise PlifError(f"{path}: expected the first line class,startTime_usec,endTime_usec")
    rows = []
    for line_number, line in enumerate(lines[1:], 2):
        try:
            number, start_us, end_us = (int(value) for value in line.split(","))
        except ValueError:
            raise PlifError(f"{path}, line {line_number}: '{line[:60]}', expected three whole numbers") from None
        if not 1 <= number <= len(CLASSES) or not 0 <= start_us < end_us:
            raise PlifError(
                f"{path}, line {line_number}: '{line[:60]}', expected a class from 1 to 11 and start before end"
            )
        rows.append((number, start_us, end_us))
    return rows


def _read_text(path: Path) -> str:
    try:
        return read_regular(path, "it next to the recordings").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PlifError(f"{path}: is not text; expected it next to the recordings") from None


SETS = {"dvs128-gesture": DvsGesture}
