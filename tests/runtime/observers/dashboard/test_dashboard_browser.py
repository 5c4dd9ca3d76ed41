"""The dashboard in a real browser: what a person sees and clicks. Skips where no Chromium is installed."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from plif_export import export
from tests.browser import Browser, find_axe, find_chromium
from tests.networks import digits_network

pytestmark = pytest.mark.machines
pytest.importorskip("websockets.sync.client", reason="the extra [dashboard] is not installed")
CHROMIUM = find_chromium()
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine (apt-get install chromium)", allow_module_level=True)

HOSTILE = "<img src=x onerror=document.title='taken'>"
ENDLESS = "sim:digits?seed=3&seconds=600"
# two names that begin alike, as those of DVS128 Gesture do
CLASSES = (HOSTILE, *(f"a clap with both hands high above the head, {way}" for way in ("fast", "slow")), *"3456789")


class Streaming:
    """`plif stream ... --dashboard 0` as a person starts it."""

    def __init__(self, folder: Path, *sources: str) -> None:
        program = "from runtime.core.cli.main import main; main()"
        command = [
            sys.executable,
            "-c",
            program,
            "stream",
            "m.onnx",
            *(sources or (ENDLESS,)),
            "--speed",
            "real",
            "--dashboard",
            "0",
        ]
        self.process = subprocess.Popen(
            [*command, "--json"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"(http://127\.0\.0\.1:(\d+)/), its token is in (\S+)", line)
        if not found:
            self.close()
        assert found, line
        self.port, self.token = int(found[2]), Path(found[3]).read_text().strip()
        self.address = f"{found[1]}?token={self.token}"

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    export(digits_network(classes=CLASSES), folder / "m.onnx")
    return folder


@pytest.fixture(scope="module")
def streaming(folder: Path) -> Iterator[Streaming]:
    running = Streaming(folder)
    yield running
    running.close()


@pytest.fixture
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None
    with Browser(CHROMIUM) as browser:
        yield browser


# A message is taken first and drawn in the next animation frame: ready is what has been drawn.
RUNNING = "document.getElementById('state').textContent === 'running'"
DRAWN = "document.getElementById('state').textContent !== 'connecting'"
READY = f"typeof last !== 'undefined' && last !== null && points.length > 10 && {DRAWN}"
COLOURS = """(() => {
const c = document.getElementById('ID'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, found = new Set();
for (let i = 0; i < d.length; i += 4) if (d[i + 3]) found.add(d[i] + ',' + d[i + 1] + ',' + d[i + 2]);
return found.size > 2; })()"""

# Between two points the smoothed votes fall to exp(-dt / 0.15 s) of what they were at the least, but for a reset.
RESTARTED = """(() => {
const sum = (votes) => votes.reduce((a, b) => a + b, 0);
return points.some((point, n) => n && sum(points[n - 1].votes) > 0.05 &&
  sum(point.votes) < 0.8 * Math.exp((points[n - 1].t - point.t) / 150000) * sum(points[n - 1].votes)); })()"""


def test_the_page_shows_the_stream_and_steers_it(streaming: Streaming, browser: Browser) -> None:
    browser.open(streaming.address)
    browser.until(READY)
    assert browser.run("location.href") == f"http://127.0.0.1:{streaming.port}/", "the token leaves the address at once"
    browser.until(RUNNING)
    assert browser.text("#model") == "m.onnx"
    for canvas in ("picture", "votes", "rates", "latency"):
        browser.until(COLOURS.replace("ID", canvas))
    step = browser.run("last.answer.step")
    browser.until(f"last.answer.step > {step + 10}")
    assert int(browser.text("#account div:nth-child(1) dd").replace(",", "")) > 100
    assert browser.run("document.querySelectorAll('#bars li').length") == 10
    assert "duration:20ms" in browser.text("#facts")

    browser.click("#startstop")
    browser.until("document.getElementById('state').textContent === 'stopped'")
    assert browser.text("#startstop") == "Start"
    stopped = browser.run("last.answer.step")
    assert browser.run("new Promise(done => setTimeout(() => done(last.answer.step), 500))") <= stopped + 1
    browser.click("#startstop")
    browser.until(f"{RUNNING} && last.answer.step > {stopped + 5}")
    assert not browser.run(RESTARTED)
    browser.click("#reset")
    browser.until(RESTARTED)
    assert browser.run("document.getElementById('banner').hidden"), "nobody had to be told of a failure"

    # how the test itself reads the canvases is what Chromium may advise about
    assert [line for line in browser.messages if not line.startswith("Canvas2D")] == [], "no error, no blocked resource"
    assert {url.split("/")[2] for url in browser.requested if url.startswith(("http", "ws"))} == {
        f"127.0.0.1:{streaming.port}"
    }


def test_a_class_keeps_its_colour_and_decisions_can_be_saved(streaming: Streaming, browser: Browser) -> None:
    browser.open(streaming.address)
    browser.until(READY)
    browser.until("document.querySelectorAll('#decisions tr').length === last.changes.length")
    # the weights of this network are random and it is never sure: three answers in their place
    shown = browser.run("""(() => {
        last.changes.push(...[3, 7, 0].map((i) => (
            { when: "2026-01-01T00:00:00Z", t_us: 5, step: 1, label: facts.classes[i], score: 1 })));
        drawDecisions();
        const rows = [...document.querySelectorAll('#decisions tr')];
        return rows.length > 3 && rows.every((row) => {
            const i = facts.classes.indexOf(row.children[2].textContent), dot = row.children[2].querySelector('i');
            const probe = document.createElement('i');
            if (i >= 0) probe.style.background = hue(i);
            return i < 0 ? !dot : dot.style.background === probe.style.background; }); })()""")
    assert shown and browser.run("new Set(facts.classes.map((name, i) => hue(i))).size") == len(CLASSES)
    browser.run(
        "(() => { window.saved = []; HTMLAnchorElement.prototype.click = function () { saved.push(this.download); }; })()"
    )
    for kind in ("csv", "json"):
        browser.click(f"#save-{kind}")
        browser.until(f"saved.includes('decisions.{kind}')")
    assert browser.run("document.getElementById('names').hidden")
    browser.resize(390, 900)
    browser.until("!document.getElementById('names').hidden && document.querySelectorAll('#names li').length > 0")


def test_no_class_name_is_cut_at_any_width(streaming: Streaming, browser: Browser) -> None:
    """Two that begin alike would read the same; and no name has two lines while there is room beside it."""
    browser.open(streaming.address)
    browser.until(READY)
    heard = browser.run("""(() => { window.written = []; const fillText = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (...words) {
            written.push(String(words[0])); fillText.apply(this, words); };
        return true; })()""")
    assert heard
    for width in (320, 860, 1366, 2560):
        browser.resize(width, 900)
        browser.until(f"innerWidth === {width}")
        names = browser.run(
            "(() => { draw(); return [...document.querySelectorAll('#bars li > span')].map((e) => ({ text: e.textContent,"
            " cut: e.scrollWidth > e.clientWidth + 1 || getComputedStyle(e).textOverflow !== 'clip', lines: e.clientHeight / 18,"
            " bar: e.nextSibling.clientWidth })); })()"
        )
        assert [name["text"] for name in names] == list(CLASSES)
        assert not [name for name in names if name["cut"]], width
        assert not [name for name in names if name["lines"] > 1.5 and name["bar"] > 90], (width, names)
    assert not [text for text in browser.run("written") if "…" in text and "clap" in text]


def test_the_dashboard_is_for_keyboards_and_screen_readers_too(streaming: Streaming, browser: Browser) -> None:
    axe = find_axe()
    if axe is None:
        pytest.skip("axe-core is not in .venv/bindings (make test fetches it)")
    browser.open(streaming.address)
    browser.until(f"{READY} && !document.getElementById('startstop').disabled")
    for width in (390, 1366):
        for dark in (False, True):
            browser.resize(width, 900)
            browser.set_dark(dark)
            browser.until(f"innerWidth === {width}")
            assert browser.barriers(axe) == [], (width, dark)
    assert browser.run("document.querySelectorAll('h1').length") == 1
    assert browser.run("document.getElementById('label').ariaLive") == "polite"
    assert {"startstop", "reset", "save-csv", "save-json"} <= set(browser.tab_order(8))


def test_class_names_are_text_and_never_code(streaming: Streaming, browser: Browser) -> None:
    browser.open(streaming.address)
    browser.until(READY)
    assert browser.text("#bars li:nth-child(1) span") == HOSTILE
    assert browser.run("document.title") == "m.onnx - plif" and browser.run("document.images.length") == 0


def test_reloading_goes_on_and_another_tab_needs_the_token(streaming: Streaming, browser: Browser) -> None:
    browser.open(streaming.address)
    browser.until(READY)
    browser.open(f"http://127.0.0.1:{streaming.port}/")
    browser.until(READY)
    browser.run("sessionStorage.clear()")
    browser.open(f"http://127.0.0.1:{streaming.port}/")
    browser.until("document.getElementById('token') !== null")
    browser.run(f"document.getElementById('token').value = '{streaming.token}'")
    browser.click("button")
    browser.until(READY)


class Blank(BaseHTTPRequestHandler):
    """A page of somebody else, without any policy."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>hostile</title>")

    def log_message(self, *_: object) -> None:
        pass


def test_a_page_on_another_port_of_this_machine_reaches_nothing(streaming: Streaming, browser: Browser) -> None:
    """Even one that knows the token: the browser's own Origin gives it away."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{other.server_port}/")
        there, token = f"127.0.0.1:{streaming.port}", streaming.token
        stop = "method: 'POST', body: JSON.stringify({do: 'stop'})"
        for attempt in (
            f"new Promise(done => {{ const s = new WebSocket('ws://{there}/feed', ['plif', '{token}']); "
            "s.onopen = () => done('in'); s.onerror = () => done('out'); })",
            f"fetch('http://{there}/control', {{{stop}, headers: {{Authorization: 'Bearer {token}'}}}})"
            ".then(() => 'in', () => 'out')",
            f"fetch('http://{there}/control', {{{stop}, mode: 'no-cors', credentials: 'include'}})"
            f".then(() => fetch('http://{there}/status')).then(() => 'in', () => 'out')",
        ):
            assert browser.run(attempt) == "out"
        other.shutdown()
    browser.open(streaming.address)
    browser.until(RUNNING)


def test_every_width_light_or_dark_holds_the_page_without_scrolling_sideways(
    streaming: Streaming, browser: Browser
) -> None:
    browser.open(streaming.address)
    browser.until(READY)
    for width in (320, 390, 768, 1280, 2560):
        for dark in (False, True):
            browser.resize(width, 900)
            browser.set_dark(dark)
            browser.until(f"innerWidth === {width}")
            assert browser.run("document.documentElement.scrollWidth") <= width
            ground = browser.run("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == dark


def test_several_cameras_have_a_list_to_choose_from(folder: Path, browser: Browser) -> None:
    running = Streaming(folder, ENDLESS, "sim:digits?seed=4&seconds=600")
    try:
        browser.open(running.address)
        browser.until(READY)
        assert not browser.run("document.getElementById('which').hidden")
        assert browser.text("#source") == ENDLESS
        browser.run(
            "(() => { const w = document.getElementById('which'); w.selectedIndex = 1; w.dispatchEvent(new Event('change')); })()"
        )
        browser.until(
            "document.getElementById('source').textContent === 'sim:digits?seed=4&seconds=600' && points.length > 5"
        )
        assert browser.run("points.every((point, n) => n === 0 || point.t >= points[n - 1].t)")
    finally:
        running.close()


def test_when_the_stream_ends_the_page_keeps_its_last_word(folder: Path, browser: Browser) -> None:
    running = Streaming(folder, "sim:digits?seed=3&seconds=4")
    try:
        browser.open(running.address)
        browser.until(READY)
        browser.until("document.getElementById('state').textContent === 'ended'", 20)
        assert "has ended" in browser.text("#banner") and browser.run("document.getElementById('startstop').disabled")
        assert running.process.wait(10) == 0
    finally:
        running.close()
