"""A model that learned from a simulated set says so in its card."""

from __future__ import annotations

from pathlib import Path

import pytest

from plif_train.job import simulation_note
from runtime.base.errors import PlifError


def test_the_note_of_a_simulated_set_goes_into_the_training_record(tmp_path: Path) -> None:
    (tmp_path / "simulated.json").write_text('{"what": "drawn, not real"}')
    assert simulation_note(f"dvs128-gesture:{tmp_path}") == {"simulated": "drawn, not real"}
    assert simulation_note(f"dvs128-gesture:{tmp_path}?order=own") == {"simulated": "drawn, not real"}
    assert simulation_note(f"dvs128-gesture:{tmp_path}", f"dvs128-gesture:{tmp_path}") == {
        "simulated": "drawn, not real"
    }
    assert simulation_note(f"dvs128-gesture:{tmp_path}", "folder:real") == {}


def test_real_sets_and_sets_without_a_folder_have_no_such_entry(tmp_path: Path) -> None:
    assert simulation_note(f"nmnist:{tmp_path}") == {} == simulation_note("digits:200") == simulation_note("digits")


def test_a_broken_note_is_refused(tmp_path: Path) -> None:
    (tmp_path / "simulated.json").write_text("[1]")
    with pytest.raises(PlifError, match=r"simulated\.json: not the note"):
        simulation_note(f"nmnist:{tmp_path}")
