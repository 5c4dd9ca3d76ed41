"""A model that learned from a simulated set says so in its card."""

from __future__ import annotations

from pathlib import Path

import pytest

from plif_train.core.loop.job import make_origin_note, read_simulation_note
from runtime.core.base.errors import PlifError


def test_the_note_of_a_simulated_set_goes_into_the_training_record(tmp_path: Path) -> None:
    (tmp_path / "simulated.json").write_text('{"what": "drawn, not real"}')
    assert read_simulation_note(f"dvs128-gesture:{tmp_path}") == {"simulated": "drawn, not real"}
    assert read_simulation_note(f"dvs128-gesture:{tmp_path}?order=own") == {"simulated": "drawn, not real"}
    assert read_simulation_note(f"dvs128-gesture:{tmp_path}", f"dvs128-gesture:{tmp_path}") == {
        "simulated": "drawn, not real"
    }
    assert read_simulation_note(f"dvs128-gesture:{tmp_path}", "folder:real") == {}


def test_real_sets_and_sets_without_a_folder_have_no_such_entry(tmp_path: Path) -> None:
    assert (
        read_simulation_note(f"nmnist:{tmp_path}")
        == {}
        == read_simulation_note("digits:200")
        == read_simulation_note("digits")
    )


def test_a_broken_note_is_refused(tmp_path: Path) -> None:
    (tmp_path / "simulated.json").write_text("[1]")
    with pytest.raises(PlifError, match=r"simulated\.json: not the note"):
        read_simulation_note(f"nmnist:{tmp_path}")


def test_one_jpeg_among_pictures_is_enough_to_say_so() -> None:
    class Pictures:
        def __init__(self, *names: str) -> None:
            self.names = names

        def __len__(self) -> int:
            return len(self.names)

        def path(self, i: int) -> str:
            return self.names[i]

    png, jpeg = Pictures("a/1.png", "a/2.png"), Pictures("b/1.png", "b/2.JPG")
    assert make_origin_note(png, png) == {}  # type: ignore[arg-type]
    assert make_origin_note(png, jpeg) == {"origin": "copies as JPEG"}  # type: ignore[arg-type]
