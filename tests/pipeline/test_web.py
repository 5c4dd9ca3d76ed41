"""The page of examples/web: the same C as WebAssembly, in a real browser, decides step by step as the engine does."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import runtime
from bench.edge_page import web_builder
from plif_export import export
from tests.browser import Browser, find_chromium

ROOT = Path(__file__).parents[2]
TOOLS = {"chromium": find_chromium(), "clang": shutil.which("clang"), "wasm-ld": shutil.which("wasm-ld")}
missing = [name for name, found in TOOLS.items() if found is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
MODELS = {"digits": "nmnist-digits.pt", "gesture": "gesture-sim.pt"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return web_builder()


@pytest.fixture(scope="module")
def page(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return script.build(tmp_path_factory.mktemp("web"), verify=False)


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Browser]:
    pytest.importorskip("websockets")
    with Browser(find_chromium() or "") as found:
        found.open(page.as_uri())  # from the disk: no server
        yield found


def test_the_page_is_one_file_of_5_MB_at_most_and_asks_for_nothing_else(page: Path, browser: Browser) -> None:
    modules = [base64.b64decode(text) for text in re.findall(r'"wasm": "([^"]+)"', page.read_text("utf-8"))]
    assert len(modules) == len(MODELS) and all(module[:4] == b"\0asm" for module in modules)
    assert 200_000 < max(map(len, modules)) <= 500_000
    assert page.stat().st_size <= 5_000_000 and [file.name for file in page.parent.iterdir()] == ["index.html"]
    browser.click("#sample")
    browser.until("document.getElementById('step').textContent === 'step 9'")
    assert browser.text("#label") != "none yet"
    assert [address for address in browser.requested if not address.startswith(("file:", "about:"))] == []
    assert browser.messages == []


@pytest.mark.parametrize(
    ("name", "recordings"),
    [("digits", "nmnist_small/Test/*/*.bin"), ("gesture", "dvs128_gesture_clips/*.bs2")],
)
def test_every_decision_in_the_browser_is_the_engines(
    name: str, recordings: str, browser: Browser, shared_data: Path, tmp_path: Path
) -> None:
    path = export(ROOT / "models" / MODELS[name], tmp_path / "m.onnx", precision="int8", verify=False).path
    model = runtime.load(path)
    files = sorted(shared_data.glob(recordings))[:: 25 if name == "digits" else 3]
    assert len(files) >= 2
    for file in files:
        native = [(d.step, d.label, list(d.votes)) for d in model.stream(str(file))]
        content = base64.b64encode(file.read_bytes()).decode()
        found = browser.run(f"plif.run('{name}', plif.unpack('{content}'), '{file.name}')")
        assert [(d["step"], d["label"], d["votes"]) for d in found] == native, file.name
        assert len(native) >= 10 and sum(native[-1][2]) > 20


def test_evt3_and_the_five_byte_format_are_read_as_the_runtime_reads_them(browser: Browser, shared_data: Path) -> None:
    from runtime.events.formats import Losses, open_recording

    for file in (
        shared_data / "recordings" / "gen41_1280x720_evt3.raw",
        next((shared_data / "nmnist_small").rglob("*.bin")),
    ):
        packets = list(open_recording(file).decode(Losses()))
        events = [int(sum(int(packet[key].sum()) for packet in packets)) for key in ("t", "x", "y", "p")]
        content = base64.b64encode(file.read_bytes()).decode()
        found = browser.run(
            f"(() => {{ const e = plif.readRecording(plif.unpack('{content}'), '{file.name}');"
            " return ['t', 'x', 'y', 'p'].map((k) => e[k].reduce((a, b) => a + b, 0)); })()"
        )
        assert found == events and sum(len(packet) for packet in packets) > 100


def test_a_digit_that_is_drawn_with_the_pointer_is_looked_at_and_recognised(browser: Browser) -> None:
    """A one: a stroke from top to bottom."""
    browser.run("plif.choose('digits')")
    box = browser.run(
        "(() => { const e = document.getElementById('pad'); e.scrollIntoView(); const r = e.getBoundingClientRect();"
        " return [r.x, r.y, r.width, r.height]; })()"
    )
    x, y, width, height = box
    points = [(x + width * (0.55 - 0.1 * k / 10), y + height * (0.15 + 0.7 * k / 10)) for k in range(11)]
    for kind, (px, py) in [
        ("mousePressed", points[0]),
        *(("mouseMoved", p) for p in points),
        ("mouseReleased", points[-1]),
    ]:
        browser.mouse(kind, px, py)
    browser.click("#look")
    browser.until("document.getElementById('step').textContent === 'step 9'")
    assert browser.text("#label") == "1"
    assert browser.messages == []


def test_a_file_that_is_no_recording_is_said_in_the_page(browser: Browser) -> None:
    browser.run(
        "document.dispatchEvent(new DragEvent('drop', {dataTransfer: (() => { const d = new DataTransfer();"
        " d.items.add(new File(['x'], 'notes.txt')); return d; })()}))"
    )
    browser.until("!document.getElementById('banner').hidden")
    assert "notes.txt: expected" in browser.text("#banner")
