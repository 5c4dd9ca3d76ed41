"""A house that cannot fill up unseen: no number is above its limit in tests/house.json, where each limit has its reason.

A limit is to fall, and none is raised. What can be removed, and the size of the core, stand in tests/test_parts.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import house, words
from tests.recordings import nmnist_bytes, some_events

LIMITS = json.loads(house.LIMITS.read_text(encoding="utf-8"))["limits"]


def explained(name: str, found: list[str]) -> str:
    most = LIMITS[name]
    return f"{name}: {len(found)}, at most {most['most']} ({most['why']})\n" + "\n".join(found)


@pytest.mark.parametrize("name", house.STATIC)
def test_no_number_of_the_house_is_above_its_limit(name: str) -> None:
    found = house.STATIC[name]()
    assert len(found) <= LIMITS[name]["most"], explained(name, found)


def test_every_limit_has_a_reason_and_no_limit_is_for_something_else() -> None:
    commands = {*COMMANDS, "files of a live step", "calls of a live step", "files in one folder"}
    assert set(LIMITS) == {*house.STATIC, *commands} and all(len(limit["why"]) >= 10 for limit in LIMITS.values())


def test_no_folder_holds_more_source_files_than_one_can_survey() -> None:
    most = LIMITS["files in one folder"]["most"]
    assert not {name: n for name, n in house.folders().items() if n > most}


def test_names_and_docstrings_are_plain_english() -> None:
    """At most one binding in a hundred is named by a filler word; classes are nouns, and docstrings are sentences."""
    counts = words.count_words()
    assert len(counts.filler) <= 0.01 * counts.bindings, "\n".join(counts.filler)
    assert not counts.participles, "\n".join(counts.participles)
    assert not counts.fragments, "\n".join(counts.fragments)


COMMANDS = {
    "files entered by plif stream": ("stream", "{artifact}", "{digit}", "--json"),
    "files entered by plif eval": ("eval", "{artifact}", "--data", "digits:20"),
    "files entered by plif export": ("export", "models/nmnist-digits.pt", "-o", "{out}/other.onnx"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from plif_export import export

    out = tmp_path_factory.mktemp("house")
    export(str(house.ROOT / "models" / "nmnist-digits.pt"), out / "digits.onnx", verify=False)
    return {"artifact": str(out / "digits.onnx"), "digit": str(digit_file(out)), "out": str(out)}


def digit_file(out: Path) -> Path:
    path = out / "digit.bin"
    path.write_bytes(nmnist_bytes(some_events(4000)))
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_enters_no_more_files_than_a_reader_can_follow(name: str, places: dict[str, str]) -> None:
    files, step = house.entered(*(word.format(**places) for word in COMMANDS[name]))
    assert len(files) <= LIMITS[name]["most"], explained(name, files)
    if step is not None and name == "files entered by plif stream":  # an export proves sessions: no live step
        assert (
            step[0] <= LIMITS["files of a live step"]["most"] and step[1] <= LIMITS["calls of a live step"]["most"]
        ), step
