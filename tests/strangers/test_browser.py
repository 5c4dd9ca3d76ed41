"""A stranger with a browser: reads the site, plays with the demo, makes a page of a network and opens it, by keyboard alone."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser import Browser, find_axe, find_chromium
from tests.conftest import REPOSITORY
from tests.recordings import nmnist_bytes, some_events

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine (apt-get install chromium)"),
]
SIZES = ((1366, 768), (390, 844))  # a small laptop, a phone
READ = ("index", "install", "quickstart", "live", "api", "commands", "performance")


@pytest.fixture(scope="module")
def axe() -> str:
    found = find_axe()
    if found is None:
        pytest.skip("axe-core is not in .venv/bindings (make test fetches it)")
    return found


@pytest.fixture
def browser() -> Iterator[Browser]:
    pytest.importorskip("websockets")
    with Browser(find_chromium() or "") as found:
        yield found


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the site, made as `make site` makes it."""
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    run(sys.executable, "examples/web/build.py", "--out", str(folder))
    build = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder / "site"))
    run(*build, PLIF_DEMO=str(folder / "index.html"), NO_MKDOCS_2_WARNING="1")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder / "site"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `plif export --to web` makes, proved."""
    made = tmp_path_factory.mktemp("made") / "digits.html"
    program = "from runtime.core.cli.main import main; main()"
    run(sys.executable, "-c", program, "export", "models/nmnist-digits.pt", "--to", "web", "-o", str(made))
    return made


def test_the_first_page_plays_the_demo_by_itself_and_asks_nobody_else(site: str, browser: Browser) -> None:
    browser.open(site)
    shown = "document.querySelector('iframe.demo').contentDocument"
    browser.until(f"{shown}.getElementById('label')?.textContent === 'right hand wave'", 30)
    assert browser.text("h1").startswith("plif") and "proves that every spike is kept" in browser.text("article p")
    assert "pip install" in browser.text("article pre") and browser.run("document.images[0].naturalWidth") > 1000
    assert {address.split("/")[2] for address in browser.requested if address.startswith("http")} == {
        site.split("/")[2]
    }
    assert browser.messages == []


def test_no_comment_is_cut_and_axe_finds_nothing_serious_on_the_site(site: str, axe: str, browser: Browser) -> None:
    cut = (
        "[...document.querySelectorAll('.language-sh code, .language-python code')]"
        ".filter((code) => code.scrollWidth > code.clientWidth + 1).map((code) => code.textContent.slice(0, 60))"
    )
    for width, height in SIZES:
        for dark in (False, True):
            browser.resize(width, height)
            browser.set_dark(dark)
            for name in READ:
                browser.open(f"{site}{name}.html")
                assert browser.run(cut) == [], (name, width)
                assert browser.run("document.documentElement.scrollWidth") <= width, (name, width)
                assert browser.barriers(axe) == [], (name, width, dark)


def test_the_menu_has_four_groups_of_how_to_and_the_notebook_shows_what_its_cells_gave(
    site: str, browser: Browser
) -> None:
    browser.open(f"{site}quickstart.html")
    menu = browser.run(
        "[...document.querySelectorAll('.md-nav--primary > ul > li > label')].map((e) => e.innerText.trim())"
    )
    assert menu[1:5] == ["You have a network", "You have a camera", "You have other hardware", "You accept or test it"]
    shown = browser.run("document.querySelector('article').innerText")
    assert "epoch 2: loss" in shown and "(True, " in shown
    assert browser.run("[...document.querySelectorAll('article img')].every((e) => e.naturalWidth > 300)")


def test_names_and_explanations_of_parameters_stand_in_two_columns(site: str, browser: Browser) -> None:
    browser.open(f"{site}api.html")
    columns = browser.run(
        "[...document.querySelectorAll('article table.columns')].map((table) => [...table.querySelectorAll('td')]"
        ".map((cell) => Math.round(cell.getBoundingClientRect().x)))"
    )
    assert len(columns) > 20 and all(len(set(left)) == 1 for left in columns)


def test_a_network_in_a_page_is_used_by_keyboard_alone_and_shows_its_proof(
    page: Path, axe: str, browser: Browser, tmp_path: Path
) -> None:
    browser.open(page.as_uri())  # from the disk: no server
    assert browser.run("document.querySelectorAll('h1').length") == 1
    assert browser.run("document.getElementById('label').ariaLive") == "polite"
    order = browser.tab_order(5)
    assert order == ["which", "file", "pad", "look", "clear"], order
    for digit in "17":  # its key draws it, Enter looks at it
        browser.run("document.getElementById('pad').focus()")
        browser.press(digit)
        browser.press("Enter")
        browser.until("document.getElementById('step').textContent === 'step 9'")
        assert browser.text("#label") in "0123456789"  # which one it takes this machine's letters for is the network's
        browser.run("document.getElementById('clear').click()")
    proof = browser.run("document.getElementById('proof').innerText")
    assert re.search(r"\n0 of [\d,]{6,} spikes differ from PyTorch \(0 excused\), over 20 steps\n", proof), proof
    made_from = hashlib.sha256((REPOSITORY / "models" / "nmnist-digits.pt").read_bytes()).hexdigest()
    assert f"SHA-256 {made_from}" in proof
    for width, height in SIZES:
        browser.resize(width, height)
        for dark in (False, True):
            browser.set_dark(dark)
            assert browser.barriers(axe) == [], (width, dark)
            assert browser.run("document.documentElement.scrollWidth") <= width
    recording = tmp_path / "some.bin"
    recording.write_bytes(nmnist_bytes(some_events(900, 1)))
    browser.give("#file", recording)
    browser.until("document.getElementById('step').textContent === 'step 9'")
    assert [address for address in browser.requested if not address.startswith(("file:", "about:", "data:"))] == []
    assert browser.messages == []


def test_a_printed_page_is_white_whatever_the_screen_is_and_without_buttons(page: Path, browser: Browser) -> None:
    browser.set_dark(True)
    browser.open(page.as_uri())
    on_screen = browser.run("getComputedStyle(document.documentElement).getPropertyValue('--card')")
    browser.set_dark(True, paper=True)
    assert browser.run("getComputedStyle(document.documentElement).getPropertyValue('--card')") != on_screen
    assert browser.run("[...document.querySelectorAll('button, select, .file')].every((e) => !e.offsetParent)")
    assert browser.run("document.getElementById('proof').offsetParent !== null")


def test_names_that_begin_alike_are_told_apart_wherever_they_stand(browser: Browser, tmp_path: Path) -> None:
    made = tmp_path / "gesture.html"
    program = "from runtime.core.cli.main import main; main()"
    run(
        sys.executable,
        "-c",
        program,
        "export",
        "models/gesture-people.pt",
        "--to",
        "web",
        "-o",
        str(made),
        "--no-verify",
    )
    browser.open(made.as_uri())
    for width in (320, 700, 1366):
        browser.resize(width, 900)
        names = browser.run(
            "[...document.querySelectorAll('#bars li > span')].map((e) => [e.innerText, e.scrollWidth - e.clientWidth])"
        )
        assert len({name for name, _ in names}) == 11 and all(over <= 1 for _, over in names), width
    assert "not run" in browser.text("#proof")
