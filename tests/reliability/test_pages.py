"""Every test that docs/reliability.md and SECURITY.md name is there, every promise names one, and each says how it stands."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.conftest import REPOSITORY
from tests.test_layout import is_of_a_removed_part

PAGES = ("docs/reliability.md", "SECURITY.md")
NAMED = re.compile(r"(tests/[\w/]+\.py)(?:::(test_\w+))?")


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((REPOSITORY / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_that_a_page_names_are_there(page: str) -> None:
    named = NAMED.findall((REPOSITORY / page).read_text())
    assert len(named) > 15
    for path, name in named:
        if is_of_a_removed_part(path):
            continue
        assert (REPOSITORY / path).is_file(), path
        assert names_in(path), path
        assert not name or name in names_in(path), f"{path}::{name}"


def test_every_one_of_the_seventeen_names_a_test_and_says_how_it_stands_and_every_promise_names_a_test() -> None:
    rows = re.findall(r"^\| (\d+) \| \*\*(.*)$", (REPOSITORY / PAGES[0]).read_text(), re.MULTILINE)
    assert [number for number, _ in rows] == [str(n) for n in range(1, 18)]
    for number, row in rows:
        assert NAMED.search(row), number
        *_, now = row.rstrip(" |").split(" | ")
        said = re.match(r"(passes|partly|fails), \d{4}-\d\d-\d\d(.*)", now)
        assert said, f"{number} says whether it passes, partly or fails, and when: {now}"
        assert said[1] == "passes" or len(said[2]) > 20, f"{number} says what is missing"
    promises = re.search(r"## Promises\n(.*?)\n## ", (REPOSITORY / PAGES[1]).read_text(), re.DOTALL)
    assert promises is not None
    items = re.split(r"^- ", promises[1], flags=re.MULTILINE)[1:]
    assert len(items) > 8
    for item in items:
        assert re.search(NAMED.pattern.replace(")?", ")"), item), item
