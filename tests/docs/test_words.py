"""The documentation stays short and plain: limits of words, a first sentence for the reader, links to the glossary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, load_script
from tests.docs.commands import HOW_TO, PAGES, menu_pages

DOCS = REPOSITORY / "docs"
EXEMPT = {"refusals.md", "limits.md", "stability.md", "schemas.md"}  # reference that must be complete
BESIDES = [REPOSITORY / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "models/README.md")]
GENERATED = {"targets.md"}  # a table that a script writes


def count_words(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").split())


def how_to_pages() -> list[Path]:
    names = [name for group in HOW_TO for name in menu_pages(group)]
    places = (DOCS / name if (DOCS / name).is_file() else REPOSITORY / name for name in names)
    return [path for path in places if path.is_file() and path.name not in GENERATED]


def test_the_readme_is_read_in_two_minutes() -> None:
    assert count_words(REPOSITORY / "README.md") <= 600


def test_the_documentation_has_at_most_60000_words() -> None:
    pages = [*BESIDES, *(path for path in DOCS.glob("*.md") if path.name not in EXEMPT)]
    assert sum(map(count_words, pages)) <= 60_000


@pytest.mark.parametrize("page", how_to_pages(), ids=lambda page: page.name)
def test_a_how_to_page_has_at_most_900_words(page: Path) -> None:
    assert count_words(page) <= 900


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(DOCS)], ids=lambda page: page.name)
def test_a_page_says_first_who_should_read_it(page: Path) -> None:
    _, *lines = page.read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if line.strip())
    assert first.startswith("Read this"), first


def test_the_first_use_of_a_glossary_term_links_there() -> None:
    links = load_script(DOCS / "glossary_links.py")
    assert len(re.findall(r"^### ", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)) == 40
    lacking = [path.name for path in links.find_pages() if links.link_page(path) != path.read_text(encoding="utf-8")]
    assert not lacking, "python docs/glossary_links.py links them"
