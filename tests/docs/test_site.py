"""Links in the documentation lead somewhere, and the web site builds in strict mode."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs.commands import FENCE, PAGES

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings: small letters, blanks as hyphens, no punctuation."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_of_it(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("https://", "http://")):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(REPOSITORY), link
        if heading:
            assert heading in anchors(target), link


def test_the_list_of_pages_names_each_page() -> None:
    text = (REPOSITORY / "docs" / "README.md").read_text()
    lost = [page.name for page in PAGES if page.parent.name == "docs" and f"({page.name})" not in text]
    assert lost == ["README.md"]


@pytest.mark.parametrize("name", ("other-libraries", "event-engine", "live", "web", "c"))
def test_a_page_to_begin_with_is_read_in_five_minutes(name: str) -> None:
    """At 250 words a minute, tables counted and code not; what is longer goes to a page behind it."""
    assert len(FENCE.sub("", (REPOSITORY / "docs" / f"{name}.md").read_text()).split()) <= 5 * 250


def test_the_readme_fits_two_screens() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 100


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    commands = (tmp_path / "site" / "commands" / "index.html").read_text()
    assert "--exit-margin" in commands and "--help-recipe" in commands and "Not installed" not in commands
    reference = (tmp_path / "site" / "api" / "index.html").read_text()
    shown = ("plif.load", "plif.Model.verify", "runtime.load", "plif_export.export", "plif_train.train")
    assert all(f'id="{name}"' in reference for name in shown)
    assert "https://fonts" not in reference
