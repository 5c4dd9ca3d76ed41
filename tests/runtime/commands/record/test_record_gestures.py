"""plif record --guide: gestures are asked for, written as they are made, and are a data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.commands.record.guide import LEAST_EVENTS_S, Prompt, list_takes, record
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.cli.main import run
from runtime.core.data import open_dataset
from runtime.core.data.dataset import EventSet
from runtime.core.events import Source, make_events, read_events

CLASSES, SIZE = ("wave", "clap", "other"), (640, 480)


class Person(Source):
    """A person before a camera of 640x480 who does what is asked for: column 10 k of gesture k fires, else nothing."""

    format, sensor = "person", SIZE

    def __init__(self, lasts_s: float = 1e9, lazy: tuple[int, ...] = ()) -> None:
        super().__init__("person")
        self.lasts_s, self.lazy, self.now, self.asked = lasts_s, lazy, "", list[Prompt]()

    def hear(self, prompt: Prompt) -> None:
        self.asked.append(prompt)
        self.now = prompt.take.label if prompt.phase == "go" and prompt.take.number not in self.lazy else ""

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        self.begin(max_events)
        for ms in range(0, int(1000 * min(self.lasts_s, 3600)), 10):
            count = 30 if self.now else 1
            x = 10 * (1 + CLASSES.index(self.now)) if self.now else 0
            yield make_events(
                np.arange(count) + 1000 * ms + 5_000_000, [x] * count, np.arange(count) % 480, [True] * count
            )


def settings(out: Path, **more: object) -> dict[str, object]:
    return {"out": out, "classes": CLASSES, "rounds": 4, "seconds": 0.5, "pause": 0.2, **more}


def test_gestures_are_asked_for_and_become_a_set_with_a_test_of_the_last_rounds(tmp_path: Path) -> None:
    person = Person()
    found = record(person, tell=person.hear, **settings(tmp_path / "mine"))
    assert (found["train"], found["test"], found["recorded"]) == (9, 3, 12)
    train, test = (
        open_dataset(f"folder:{tmp_path / 'mine'}", split, framing="duration:20ms,T=10") for split in ("train", "test")
    )
    assert isinstance(train, EventSet) and isinstance(test, EventSet)
    assert (len(train), len(test)) == (9, 3) and set(train.classes) == set(CLASSES)
    for i in range(len(train)):
        events, size, _ = train.recording(i)
        made = np.bincount(events["x"]).argmax()
        assert size == SIZE and made == 10 * (1 + CLASSES.index(train.classes[train.label(i)]))
        assert events["t"][0] == 0 and 400_000 < events["t"][-1] < 600_000
    rounds = [prompt.take.round for prompt in person.asked if prompt.phase == "kept"]
    assert rounds == sorted(rounds) and rounds[-3:] == [4, 4, 4]


def test_every_round_has_each_gesture_once_in_an_order_of_its_own() -> None:
    takes = list_takes(CLASSES, 8)
    rounds = [[take.label for take in takes if take.round == turn] for turn in range(1, 9)]
    assert all(sorted(one) == sorted(CLASSES) for one in rounds) and len(set(map(tuple, rounds))) > 1
    assert [take.split for take in takes] == ["train"] * 18 + ["test"] * 6 and list_takes(CLASSES, 8) == takes


def test_a_recording_that_was_cut_off_goes_on_where_it_ended(tmp_path: Path) -> None:
    person = Person(lasts_s=3.0)
    with pytest.raises(PlifError, match=r"person: ended before .*what was recorded stays"):
        record(person, tell=person.hear, **settings(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.aedat")}
    assert 3 <= len(before) < 12 and not [path for path in tmp_path.rglob("*") if path.is_file() and path not in before]
    person = Person()
    assert record(person, tell=person.hear, **settings(tmp_path))["recorded"] == 12 - len(before)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert record(Person(lasts_s=0), **settings(tmp_path))["recorded"] == 0


def test_who_does_not_move_is_asked_again_and_named(tmp_path: Path) -> None:
    person = Person(lazy=(4,))
    with pytest.raises(CheckFailed, match="1 of 12 gestures had under 200 events a second twice"):
        record(person, tell=person.hear, **settings(tmp_path))
    asked = [prompt.phase for prompt in person.asked if prompt.take.number == 4]
    assert asked == ["get ready", "go", "too quiet"] * 2 and len(list(tmp_path.rglob("*.aedat"))) == 11
    assert max(p.events for p in person.asked if p.phase == "too quiet") < 0.5 * LEAST_EVENTS_S


def test_how_a_camera_was_mounted_stands_in_the_recordings(tmp_path: Path) -> None:
    person = Person()
    record(person, tell=person.hear, **settings(tmp_path, rounds=2, up="left"))
    data = open_dataset(f"folder:{tmp_path}", "train", framing="duration:20ms,T=10")
    assert isinstance(data, EventSet) and data.recording(0)[2] == person.upright != "identity"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["sim:digits?seed=1", "--classes", "a,b"], "expected --guide"),
        (["sim:digits?seed=1", "--guide"], "--classes: expected the gestures"),
        (["sim:digits?seed=1", "--guide", "--classes", "a"], "expected two names or more"),
        (["sim:digits?seed=1", "--guide", "--classes", "a,../b"], "expected names of folders"),
        (["nowhere.raw", "--guide", "--classes", "a,b"], "nowhere.raw"),
    ],
)
def test_what_cannot_be_recorded_is_refused_by_one_line(
    words: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["record", *words, "--out", str(tmp_path / "out")]) == 2
    assert error in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_command_says_each_gesture_and_gives_lines_of_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen"
    words = [
        "record",
        "sim:digits?seed=4&seconds=20",
        "--guide",
        "--classes",
        "a,b",
        "--out",
        str(out),
        "--rounds",
        "2",
    ]
    words += ["--seconds", "1.5", "--pause", "0.5", "--json"]
    assert run(words) == 0
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["phase"] for line in lines] == ["get ready", "go", "kept"] * 4
    assert last == {"out": str(out), "classes": ["a", "b"], "train": 2, "test": 2, "recorded": 4}
    assert len(read_events(out / "train" / "a" / "001.aedat")) == next(
        line["events"] for line in lines if line["class"] == "a" and line["phase"] == "kept"
    )
