"""The page of examples/web, in a real browser: libplif as WebAssembly decides there, bit for bit, as `plif stream` does."""

from __future__ import annotations

import base64
import json
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from examples.web.build import build
from plif_export import export
from plif_export.targets.web_page import PageNetwork, write_page
from runtime.artifacts.plif_file import file as plif_file
from runtime.artifacts.plif_file.facts import encode_exit
from runtime.artifacts.plif_file.program import hash_contents
from runtime.artifacts.web_page.page import find_blocks, read_plif_bytes
from runtime.core.events.formats import Losses, open_recording
from runtime.core.model.card import encode_card
from runtime.core.model.digest import write_digest
from tests.browser import Browser, find_chromium
from tests.recorded import real_or_shipped
from tests.recordings import AEDAT31_HEADER, WRITERS, aedat31_packet, some_events

ROOT = Path(__file__).parents[4]
pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine (apt-get install chromium)"),
]
MODELS = {"digits": "nmnist-digits.pt", "gesture": "gesture-people.pt"}
FORMATS = ("nmnist", "evt2", "evt21", "evt3", "dat", "aedat2", "aedat31")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("web"), verify=False)


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Browser]:
    pytest.importorskip("websockets")
    with Browser(find_chromium() or "") as found:
        found.open(page.as_uri())  # from the disk: no server
        yield found


def unpacked(content: bytes) -> str:
    """Bytes, for scripts."""
    return f"plif.unpack('{base64.b64encode(content).decode()}')"


def decisions(browser: Browser, name: str, file: Path, **rules: str) -> list[Any]:
    found = browser.run(f"plif.run('{name}', {unpacked(file.read_bytes())}, '{file.name}', {json.dumps(rules)})")
    return [(d["t_us"], d["step"], d["label"], d["why"], d["soft"], d["score"], d["votes"]) for d in found]


def streamed(model: runtime.Model, file: Path, **rules: str) -> list[Any]:
    return [(d.t_us, d.step, d.label, d.why, d.soft, d.score, [*d.votes]) for d in model.stream(str(file), **rules)]


def drop(browser: Browser, name: str, content: bytes) -> None:
    """A person drops a file on the page."""
    browser.run(
        "document.dispatchEvent(new DragEvent('drop', {dataTransfer: (() => { const d = new DataTransfer();"
        f" d.items.add(new File([{unpacked(content)}], {json.dumps(name)})); return d; }})()}}))"
    )


def test_the_page_is_one_file_of_5_MB_at_most_and_may_ask_for_nothing_else(page: Path, browser: Browser) -> None:
    (library,) = find_blocks(page.read_bytes(), "application/wasm")  # one for all networks
    assert library[1][:4] == b"\0asm" and len(library[1]) <= 256 * 1024
    assert page.stat().st_size <= 5_000_000 and [file.name for file in page.parent.iterdir()] == ["index.html"]
    browser.until("document.getElementById('step').textContent === 'step 9'")  # nobody clicked: it plays by itself
    assert browser.text("#label") == "7" and browser.run(
        "[...document.querySelectorAll('main')].every((e) => !e.hidden)"
    )
    assert [address for address in browser.requested if not address.startswith(("file:", "about:"))] == []
    assert browser.messages == []
    assert browser.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    assert "Content Security Policy" in browser.messages.pop(0)
    browser.messages.clear()


@pytest.mark.parametrize(
    ("name", "folder", "recordings"),
    [("digits", "nmnist", "Test/*/*.bin"), ("gesture", "clips", "*.bs2")],
)
def test_every_decision_in_the_browser_is_that_of_plif_stream(
    name: str, folder: str, recordings: str, browser: Browser, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = export(ROOT / "models" / MODELS[name], tmp_path / "m.onnx", precision="int8", verify=False).path
    model = runtime.load(path)
    files = sorted(request.getfixturevalue(folder).glob(recordings))[:: 25 if name == "digits" else 3]
    assert len(files) >= 2
    for file in files:
        native = streamed(model, file)
        assert decisions(browser, name, file) == native, file.name
        assert len(native) >= 10 and sum(native[-1][-1]) > 20
    if name == "gesture":
        for rules in (
            {
                "decide": "leak:120ms,margin=0.2,idle=auto",
                "reset": "silence:1000",
                "framing": "duration:20ms,value=binary",
            },
            {"decide": "own", "reset": "never", "framing": "events:n=2000,max=20ms"},
            {"decide": "kofn:3/5", "reset": "every:16/2", "framing": "duration:40ms,every=10ms"},
        ):
            found, native = decisions(browser, name, files[0], **rules), streamed(model, files[0], **rules)
            assert len(native) > 50 and [d[:5] + d[6:] for d in found] == [d[:5] + d[6:] for d in native], rules
            assert [d[5] for d in found] == pytest.approx(
                [d[5] for d in native], rel=1e-12
            )  # exp is another C library's


def test_a_page_shows_the_pixels_of_a_larger_sensor_that_plif_stream_shows(browser: Browser, tmp_path: Path) -> None:
    """By the card's words, and where none is given by the same rule."""
    for name, rules in (("gesture", ("duration:20ms,value=binary", "duration:20ms")), ("digits", ("duration:20ms",))):
        path = export(ROOT / "models" / MODELS[name], tmp_path / f"{name}.onnx", precision="int8", verify=False).path
        model, file, hidden = runtime.load(path), tmp_path / "a.raw", []
        file.write_bytes(WRITERS["evt3"][0](some_events(9000, width=1280, height=720)))
        for rule in ({}, *({"framing": framing} for framing in rules)):
            assert decisions(browser, name, file, **rule) == streamed(model, file, **rule), (name, rule)
            running = model.stream(str(file), **rule)
            deque(running, 0)
            hidden.append(running.summary()["events_not_shown"] > 0)
        assert hidden == ([True, True, False] if name == "gesture" else [False, False])


def test_every_format_that_libplif_reads_is_read_in_the_browser(browser: Browser, tmp_path: Path) -> None:
    files = [real_or_shipped("gen41_1280x720_evt3.raw", "evt3.raw")]
    for name in FORMATS:
        write, suffix = WRITERS[name]
        files.append(tmp_path / f"{name}{suffix}")
        files[-1].write_bytes(write(some_events(900, 1)))
    for file in files:
        packets = list(open_recording(file).decode(Losses()))
        events = [np.concatenate([packet[key] for packet in packets]).astype(int).tolist() for key in "txyp"]
        found = browser.run(f"plif.readRecording({unpacked(file.read_bytes())}, '{file.name}')")
        assert [found[key] for key in "txyp"] == events and len(events[0]) > 100, file.name


def box_of(browser: Browser, element: str) -> list[float]:
    box: list[float] = browser.run(
        f"(() => {{ const e = document.getElementById('{element}'); e.scrollIntoView(); const r = e.getBoundingClientRect();"
        " return [r.x, r.y, r.width, r.height]; })()"
    )
    return box


def test_a_digit_that_is_drawn_with_the_pointer_is_looked_at_and_recognised(browser: Browser) -> None:
    """A one: a stroke from top to bottom."""
    browser.run("plif.choose('digits')")
    x, y, width, height = box_of(browser, "pad")
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


def test_before_anybody_moves_it_the_ball_is_seen_on_an_empty_pad(browser: Browser) -> None:
    drawn = (
        "(() => { const pad = document.getElementById('pad'), size = pad.width * pad.height;"
        " const { data } = pad.getContext('2d').getImageData(0, 0, pad.width, pad.height);"
        " return data.filter((value, i) => i % 4 === 3 && value).length / size; })()"
    )
    browser.run("plif.choose('gesture')")
    assert 0.04 < browser.run(drawn) < 0.06
    browser.run("plif.choose('digits')")
    assert browser.run(drawn) == 0


def test_a_ball_before_the_live_camera_makes_events_and_decisions(browser: Browser) -> None:
    browser.run("plif.choose('gesture')")
    x, y, width, height = box_of(browser, "pad")
    browser.mouse("mousePressed", x + width / 4, y + height / 2)
    for k in range(40):
        browser.mouse("mouseMoved", x + width * (0.25 + 0.5 * (k % 20) / 20), y + height / 2)
    seen = "[...document.getElementById('picture').getContext('2d').getImageData(0, 0, 128, 128).data].some((v) => v)"
    browser.until(f"/step [1-9]/.test(document.getElementById('step').textContent) && {seen}")
    browser.mouse("mouseReleased", x + width / 4, y + height / 2)
    browser.click("#clear")
    assert browser.run("document.getElementById('banner').hidden") and browser.messages == []


def endless_aedat() -> bytes:
    """A packet whose size leads a 32-bit number back to the packet itself."""
    packet = bytearray(aedat31_packet(some_events(1), kind=2))
    struct.pack_into("<i", packet, 4, 4)  # bytes of an event
    struct.pack_into("<i", packet, 16, (2**32 - 28) // 4)  # events that it has room for
    return AEDAT31_HEADER + bytes(packet)


def test_what_is_wrong_with_a_file_is_one_line_in_the_page_and_the_page_goes_on(
    browser: Browser, tmp_path: Path
) -> None:
    plif = export(ROOT / "models" / MODELS["digits"], tmp_path / "m.plif", to="plif", verify=False).path.read_bytes()
    flipped = bytearray(plif)
    flipped[len(plif) // 2] ^= 1
    browser.run("plif.choose('digits')")
    for name, content, why in (
        ("notes.txt", b"x", "notes.txt: no recording that this library reads"),
        ("a.bin", b"", "a.bin: the file is empty"),
        ("b.raw", b"% evt 4.0\n% end\nxxxx", "b.raw: EVT 4.0; this library reads"),
        ("c.raw", b"\0" * 64, "c.raw: there is no event in it"),
        ("d.aedat", endless_aedat(), "d.aedat: there is no event in it"),
        ("e.plif", plif[:5000], "e.plif: the file has 5000 bytes and says"),
        ("f.plif", bytes(flipped), "f.plif: the file is not as it was written"),
        ("g.plif", b"", "g.plif: "),
        ("<img src=x onerror=document.title=1>.plif", b"none", "<img src=x"),
    ):
        browser.run("document.getElementById('banner').hidden = true")
        drop(browser, name, content)
        browser.until("!document.getElementById('banner').hidden")
        said = browser.text("#banner")
        assert said.startswith(why) and "\n" not in said, (name, said)
    with pytest.raises(AssertionError, match="expected sum, leak"):
        browser.run(f"plif.run('digits', {unpacked(b'12345' * 9)}, 'a.bin', {{decide: 'best'}})")
    drop(browser, "m.plif", plif)
    browser.until("document.getElementById('about').textContent.includes('fp32')")
    browser.run("plif.choose('digits')")
    browser.click("#sample")
    browser.until("document.getElementById('step').textContent === 'step 9'")
    assert browser.text("#label") == "7" and browser.messages == [] and browser.run("document.title") != "1"


def test_a_plif_file_that_is_dropped_decides_as_plif_stream_does(
    browser: Browser, nmnist: Path, tmp_path: Path
) -> None:
    made = export(ROOT / "models" / MODELS["digits"], tmp_path / "dropped.plif", to="plif", verify=False).path
    drop(browser, made.name, made.read_bytes())
    browser.until("document.getElementById('which').value === 'dropped.plif'")
    file = sorted(nmnist.glob("Test/3/*.bin"))[0]
    assert decisions(browser, "dropped.plif", file) == streamed(runtime.load(made), file)


def test_a_network_of_other_neurons_and_operations_decides_in_the_page_as_in_plif_stream(
    browser: Browser, nmnist: Path, tmp_path: Path
) -> None:
    """A convolution with dilation, neurons that are programs, and attention among tokens."""
    import torch
    from spikingjelly.activation_based import neuron
    from torch import Tensor, nn

    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.see, self.fire = nn.Conv2d(2, 8, 5, stride=4, padding=4, dilation=2), neuron.KLIFNode()
            self.mix, self.head = nn.Linear(8, 8), nn.Linear(8, 10)
            self.decide = neuron.IzhikevichNode()

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.fire(3 * self.see(x)).flatten(2).transpose(1, 2)
            seen = (self.mix(tokens) @ tokens.transpose(1, 2)).softmax(-1) @ tokens
            made: Tensor = self.decide(40 * self.head(seen.mean(1)).abs())
            return made

    torch.manual_seed(0)
    given = {"framing": "duration:10ms", "to": "plif"}
    made = export(Other().eval(), tmp_path / "other.plif", torch.zeros(1, 2, 34, 34), **given)
    assert made.verify is not None and made.verify.passed
    drop(browser, made.path.name, made.path.read_bytes())
    browser.until("document.getElementById('which').value === 'other.plif'")
    file = sorted(nmnist.glob("Test/3/*.bin"))[0]
    native = streamed(runtime.load(made.path), file)
    assert decisions(browser, "other.plif", file) == native and sum(native[-1][-1]) > 20


def test_a_page_filters_as_plif_stream_does(browser: Browser, nmnist: Path, tmp_path: Path) -> None:
    file = sorted(nmnist.glob("Test/3/*.bin"))[0]
    made = export(
        ROOT / "models" / MODELS["digits"], tmp_path / "m.plif", to="plif", precision="int8", verify=False
    ).path
    for filters in ("refractory:5ms,background:9ms", "hot:30ms,flip:x"):
        native = streamed(runtime.load(made), file, filters=filters)
        assert decisions(browser, "digits", file, filter=filters) == native != streamed(runtime.load(made), file)


def test_a_page_of_one_network_takes_the_early_exit_that_its_card_holds(nmnist: Path, tmp_path: Path) -> None:
    pytest.importorskip("websockets")
    made = export(ROOT / "models" / MODELS["digits"], tmp_path / "net.html", to="web", verify=False).path
    sections, facts = plif_file.split_file(made, read_plif_bytes(made))
    card = json.loads(sections.pop("card"))
    card["exit"] = {"margin": 0.1}
    facts = tuple({**dict(zip(plif_file.FACTS, facts, strict=True)), "exit": encode_exit(card)}.values())
    write_digest(card, hash_contents(made, sections, facts))
    made.write_text(write_page([PageNetwork("net", "net", plif_file.pack_file(encode_card(card), sections, facts))]))
    file = sorted(nmnist.glob("Test/3/*.bin"))[0]
    with Browser(find_chromium() or "") as other:
        other.open(made.as_uri())
        assert other.run("plif.networks.join()") == "net" and other.run("document.getElementById('sample').hidden")
        native = streamed(runtime.load(made), file)
        assert decisions(other, "net", file) == native and len(native) < 10
        assert other.messages == []
