"""A core, and parts that can be taken out of it: `python tests/parts.py` shows where every number comes from.

The limits of tests/parts.json only fall (`--lower`), and a commit that touches them touches nothing else but what made them fall.
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.core.base.errors import PlifError
from runtime.core.parts import FILE, Part, find_parts, read_part
from tests.parts import MOST_NEEDS, RECORD, House, main_job_without

MOST: dict[str, int] = json.loads(RECORD.read_text(encoding="utf-8"))["most"]
CONTRACTS = {
    *("Reader", "Target", "Engine", "Format", "Source", "DataSet", "Observer", "Command"),
    *("Precision", "Form", "Check", "Operation", "Neuron"),
}


@pytest.fixture(scope="module")
def house() -> House:
    return House()


def folders(house: House) -> list[str]:
    return [part for part in house.parts if (house.root / part / FILE).exists()]


def test_no_number_of_the_parts_and_of_the_core_is_above_its_limit(house: House) -> None:
    now = house.numbers()
    assert set(now) == set(MOST)
    above = {name: (count, MOST[name]) for name, count in now.items() if count > MOST[name]}
    assert not above, f"{above}; `python tests/parts.py -v` and `--core -v` show where"


def test_a_part_is_small_and_says_what_it_is(house: House) -> None:
    faults = {part: found for part in folders(house) if (found := house.faults(part))}
    assert not faults
    for part in folders(house):
        said = read_part(house.root / part / FILE, part.replace("/", "."))
        assert said.contract in CONTRACTS and said.about.endswith(".") and "\n" not in said.about, part
        assert not said.page or (house.root / said.page).is_file(), f"{part}: its page {said.page} is not there"
        assert said.extra or not said.requires, (
            f"{part}: it requires {said.requires}, and names no extra that brings them"
        )


def test_parts_that_need_each_other_make_no_circle_and_are_few(house: House) -> None:
    assert sum(len(house.needs(part)) for part in house.parts) <= MOST_NEEDS
    for part in house.parts:
        assert not any(part in house.users(other) and other in house.users(part) for other in house.needs(part)), part


def test_a_part_says_literals_with_known_names_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_text('ABOUT = "A part."\nMAGIC = b"ABC"\nLAST = True\n', encoding="utf-8")
    assert read_part(file, "its.module") == Part(tmp_path.name, "its.module", "A part.", magic=(b"ABC",), last=True)
    for line in ("import os", "ABOUT = open('x').read()", "COLOUR = 'red'", "NAME = 'x'"):
        file.write_text(f'"""A part."""\n{line}\n', encoding="utf-8")
        with pytest.raises(PlifError, match=rf"{FILE}:2: expected a literal"):
            read_part(file, "its.module")


def test_all_parts_are_read_in_a_moment_and_none_of_them_is_imported(house: House) -> None:
    """A hundred times what was measured, on however busy a machine."""
    kinds = {Path(part).parent.name for part in folders(house)}
    find_parts.cache_clear()
    began = time.thread_time()
    found = [part for kind in kinds for part in find_parts(kind).values()]
    assert time.thread_time() - began < 0.5
    assert len(found) == len(folders(house))


def test_the_core_is_read_in_twenty_files_none_of_which_is_of_a_part(house: House) -> None:
    page = (house.root / "docs" / "reading.md").read_text(encoding="utf-8")
    files = re.findall(r"^\| \d+ \| `([^`]+)`", page, re.M)
    assert len(files) == 20 and set(files) <= house.core
    assert sum(house.lines[name] for name in files) < 2500


@pytest.mark.machines
def test_without_any_one_part_the_main_job_works(house: House, nmnist: Path) -> None:
    """Removed with what needs it; two at a time, a quarter of an hour for a hundred parts on two cores."""
    parts = folders(house)
    gone = [house.removed_with(part) for part in parts]
    with ThreadPoolExecutor(2) as pool:
        wrong = pool.map(lambda files: main_job_without(house, files, nmnist), gone)
    assert not {part: said for part, said in zip(parts, wrong, strict=True) if said}
