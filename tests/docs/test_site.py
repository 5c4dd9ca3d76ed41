"""Links in the documentation lead somewhere, and the web site builds in strict mode."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import Browser, find_chromium
from tests.conftest import REPOSITORY, load_script
from tests.docs.commands import FENCE, HOW_TO, PAGES, menu_pages

TABLE = load_script(REPOSITORY / "docs" / "parts_table.py")
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
        if target in {REPOSITORY / "docs" / each for each in TABLE.pages_of_removed_parts()}:
            continue
        assert target.exists() and target.is_relative_to(REPOSITORY), link
        if heading:
            assert heading in anchors(target), link


@pytest.mark.parametrize("name", ("parts.md", "events.md"))
def test_a_table_of_parts_says_what_each_part_says_of_itself(name: str) -> None:
    """A removed part may still stand there."""
    text = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
    made = TABLE.page() if name == "parts.md" else TABLE.formats()
    lost = set(made.splitlines()) - set(text.splitlines())
    assert not lost, f"python docs/parts_table.py writes {lost}"
    folders = [folder for folder, _ in TABLE.ROW.findall(text)]
    assert len(folders) > 50 or name == "events.md"


def test_the_list_of_pages_names_each_page() -> None:
    text = (REPOSITORY / "docs" / "README.md").read_text()
    lost = [page.name for page in PAGES if page.parent.name == "docs" and f"({page.name})" not in text]
    assert lost == ["README.md"]


@pytest.mark.parametrize("name", ("other-libraries", "event-engine", "live", "web", "c"))
def test_a_page_to_begin_with_is_read_in_five_minutes(name: str) -> None:
    """At 250 words a minute, tables counted and code not; what is longer goes to a page behind it."""
    if f"{name}.md" in TABLE.pages_of_removed_parts():
        pytest.skip("the page of a part that was removed")
    assert len(FENCE.sub("", (REPOSITORY / "docs" / f"{name}.md").read_text()).split()) <= 5 * 250


def test_the_readme_fits_two_screens() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 100


def built(folder: Path, demo: Path) -> Path:
    """The site, in a folder of its own; demo: the page of `make web`, if it is there. With --quiet, --strict sees no warning."""
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PLIF_DEMO": str(demo)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a warning, and without a demo."""
    folder = tmp_path_factory.mktemp("site")
    return built(folder / "site", folder / "none.html")


def page(site: Path, name: str) -> str:
    return (site / f"{name}.html").read_text()


def test_the_site_builds_without_a_warning(site: Path) -> None:
    commands = page(site, "commands")
    assert "--exit-margin" in commands and "--help-recipe" in commands and "Not installed" not in commands
    reference = page(site, "api")
    shown = ("plif.load", "plif.Model.verify", "runtime.load", "plif_export.export", "plif_train.train")
    assert all(f'id="{name}"' in reference for name in shown)
    assert "https://fonts" not in reference


def test_lists_of_parameters_in_docstrings_are_tables(site: Path) -> None:
    reference = page(site, "api")
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th><td>(.*?)</td></tr>', reference, re.DOTALL)
    assert ("path", "the file") in rows and len(rows) > 60
    assert any(name == "engine" and "or a name: event" in text for name, text in rows)  # a row goes on below
    inputs = [text for name, text in rows if name == "inputs" and "non-zero start state" in text]
    assert len(inputs) == 1 and "options" not in inputs[0]  # `options steps=`, one blank after the name
    assert [name for name, _ in rows if name.startswith("first_d") or name == "layers"] == [
        "first_divergence",
        "layers",
    ]
    assert not re.findall(r"<p>\w+ {2,}\w[^<]*</p>", reference)


def test_the_notebook_is_a_page_with_its_outputs(site: Path) -> None:
    shown = page(site, "quickstart")
    assert "((4, 2, 34, 34), '3')" in html.unescape(re.sub("<[^>]*>", "", shown))
    assert 'src="quickstart-1.png"' in shown and (site / "quickstart-1.png").read_bytes()[:4] == b"\x89PNG"
    assert 'href="quickstart.html"' in page(site, "index") and 'href="quickstart.ipynb"' in shown


def test_the_first_page_says_what_plif_is_shows_it_and_installs_it_in_a_line(site: Path) -> None:
    shown = page(site, "index")
    assert "<title>plif</title>" in shown and 'src="dashboard.png"' in shown
    assert "pip<span" in shown and "<iframe" not in shown  # no demo was made


@pytest.fixture
def browser() -> Iterator[Browser]:
    pytest.importorskip("websockets")
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with Browser(program) as found:
        yield found


def test_the_site_is_searched_from_the_disk(site: Path, browser: Browser) -> None:
    """By a reader who types a word: on a page that is no server's, and asks nobody else."""
    links = "[...document.querySelectorAll('.md-search-result__link')]"
    for word, name in {"camera": "live", "quantise": "precision", "Jetson": "install"}.items():
        browser.open((site / "limits.html").as_uri())
        browser.click(".md-search__input")
        for letter in word:
            browser.press(letter)
        browser.until(f"{links}.some((link) => link.href.startsWith('{(site / name).as_uri()}.html'))")
    assert not [address for address in browser.requested if not address.startswith(("file:", "about:", "data:"))]


def test_every_link_of_the_site_leads_to_a_file_and_a_place_of_it_from_the_disk(site: Path, browser: Browser) -> None:
    """From page to page, as a reader does."""
    browser.run_scripts(False)  # a page is there sooner
    places: dict[str, set[str]] = {}
    wanted: set[tuple[str, str]] = set()
    pages = [(site / "index.html").as_uri()]
    for address in pages:
        browser.open(address)
        links = browser.run("[...document.links].map((link) => link.href)")
        places[address] = set(browser.run("[...document.querySelectorAll('[id]')].map((e) => e.id)"))
        for link in links:
            target, _, place = link.partition("#")
            if target.startswith("file:"):
                wanted.add((target, unquote(place)))
                if target.endswith(".html") and target not in pages:
                    pages.append(target)
    lost = [
        f"{target}#{place}"
        for target, place in sorted(wanted)
        if not Path(unquote(urlsplit(target).path)).is_file() or (place and place not in places.get(target, {place}))
    ]
    assert lost == [] and len(pages) > 55


@pytest.mark.parametrize("name", [path.stem for path in sorted((REPOSITORY / "docs" / "reports").glob("*.html"))])
def test_nothing_of_a_report_that_the_docs_show_is_cut(name: str, browser: Browser) -> None:
    """docs/report.md has the commands that make it anew."""
    browser.open((REPOSITORY / "docs" / "reports" / f"{name}.html").as_uri())
    cut = (
        "[...document.querySelectorAll('body *')].filter((e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth"
        " && getComputedStyle(e).overflowX !== 'visible').map((e) => e.textContent.trim().slice(0, 60))"
    )
    assert browser.run(cut) == []


def test_how_to_has_four_groups_each_with_three_pages_for_one_reader() -> None:
    text = (REPOSITORY / "docs" / "README.md").read_text()
    groups = re.findall(r"^## (.*)\n\n(?:(?!^## ).*\n)*?.*\*\*Your three pages:\*\*", text, re.MULTILINE)
    menu = (REPOSITORY / "mkdocs.yml").read_text()
    assert groups == list(HOW_TO) and all(f"  - {name}:\n" in menu for name in HOW_TO)
    pages = {name: len(menu_pages(name)) for name in HOW_TO}
    assert all(2 < n < 10 for n in pages.values()), pages
