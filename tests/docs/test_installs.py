"""What the docs say of installing works from where the reader stands: a clone, or a wheel; plif is on no index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, pyproject
from tests.docs.commands import PAGES

PROJECT = pyproject()["project"]
# The exporter's own words, and the page that explains when such a line works.
ALLOWED = {
    "docs/targets.md": "needs an extra that is not installed",
    "docs/install.md": "in such a message works as it stands",
}


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "docs" / "quickstart.ipynb"], ids=lambda page: page.name)
def test_no_page_asks_an_index_for_plif(page: Path) -> None:
    for line in page.read_text().splitlines():
        asked = re.findall(r"pip install (?:--?\S+ )*(['\"]?plif\b[^`]*)", line)
        asked = [what for what in asked if "@ file://" not in what]
        allowed = ALLOWED.get(page.relative_to(REPOSITORY).as_posix())
        assert not asked or (allowed and allowed in line), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_extra_that_a_page_installs_exists(page: Path) -> None:
    for extras in re.findall(r"pip install (?:--?\S+ )*['\"](?:\.|plif)\[([\w,-]+)\]", page.read_text()):
        lost = {extra for extra in extras.split(",") if extra != "NAME"} - set(PROJECT["optional-dependencies"])
        assert not lost, lost


def test_the_page_on_installing_lists_every_extra() -> None:
    table = (REPOSITORY / "docs" / "install.md").read_text()
    rows = "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| "))
    assert set(re.findall(r"`([\w-]+)`", rows)) == set(PROJECT["optional-dependencies"])


def test_the_page_on_installing_and_the_package_name_the_pythons_that_were_run() -> None:
    page = (REPOSITORY / "docs" / "install.md").read_text()
    rows = re.findall(r"^\| (3\.\d+) \|", page, re.M)
    said = [line.rpartition(" :: ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert rows == said and PROJECT["requires-python"] == f">={said[0]}"
