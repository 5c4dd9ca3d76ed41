"""UDP: what is sent arrives, once, in order; what is not ours is counted and refused; nothing waits and nothing polls."""

from __future__ import annotations

import json
import socket
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.commands.send.recording import send
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.cli.main import run
from runtime.core.events import EVENT_DTYPE, events_sha256, make_events, open_source
from runtime.core.events.formats.base import Losses
from runtime.core.stream.source_framer import SourceFramer
from runtime.sources.udp import UdpSource
from runtime.sources.udp import address as udp_address
from runtime.sources.udp.datagrams import DATAGRAM_FORMATS, encode_datagrams
from tests.live import free_port, until

SIM = "sim:digits?seed=5&seconds=1"


def some_events(n: int = 1000, width: int = 128, height: int = 128, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.integers(0, 90, n)) + 5
    return make_events(t, rng.integers(0, width, n), rng.integers(0, height, n), rng.random(n) < 0.5)


def listen(options: str, sensor: str = "&sensor=128x128") -> UdpSource:
    source = open_source(f"udp://127.0.0.1:{free_port()}?{options}{sensor}")
    assert isinstance(source, UdpSource)
    return source


class ReaderThread:
    """Collects the packets of a source in a thread until it ends."""

    def __init__(self, source: UdpSource) -> None:
        self.source, self.packets = source, [np.empty(0, EVENT_DTYPE)]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for packet in self.source.packets():
            self.packets.append(packet.copy())

    def events(self, count: int | None = None) -> np.ndarray:
        """All events, once `count` have come or, without a count, once the source has ended by itself."""
        if count is not None:
            until(lambda: sum(map(len, self.packets)) >= count)
            self.source.close()
        self.thread.join(timeout=60)
        assert not self.thread.is_alive()
        return np.concatenate(self.packets)


def send_bodies(source: UdpSource, bodies: list[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", source.port))
        for body in bodies:
            sender.send(body)


@pytest.mark.parametrize("form", DATAGRAM_FORMATS)
@pytest.mark.parametrize("each", (1, 7, 100))
def test_what_is_written_in_a_format_is_read_back(form: str, each: int) -> None:
    events = some_events()
    decoder = DATAGRAM_FORMATS[form].decoder(Losses())
    bodies = list(encode_datagrams(events, form, each))
    assert all(decoder.fits(len(body)) for body in bodies)
    ends = np.cumsum([len(body) for body in bodies]).tolist()
    read = decoder.feed(np.frombuffer(b"".join(bodies), np.uint8), ends, [0] * len(ends))
    assert events_sha256(read) == events_sha256(events) and decoder.lost == 0


@pytest.mark.parametrize("form", DATAGRAM_FORMATS)
def test_a_recording_sent_over_the_loopback_arrives_whole(form: str) -> None:
    source = listen(f"format={form}")
    reading = ReaderThread(source)
    sent = send(SIM, f"udp://127.0.0.1:{source.port}?format={form}", speed="400000")
    events = reading.events(sent)
    expected = np.concatenate(list(open_source(SIM).packets()))
    assert sent == len(expected) == len(events) and events_sha256(events) == events_sha256(expected)
    assert source.invalid == 0 and source.notes == [] and source.datagrams["dropped_by_kernel"] == 0


@pytest.mark.parametrize("form", ("t32", "spif", "jaer"))
def test_times_of_32_bits_go_on_after_they_start_again(form: str) -> None:
    events = some_events()
    events["t"] += 2**32 - int(events["t"][500])
    events = events[events["t"] > 2**31]
    decoder = DATAGRAM_FORMATS[form].decoder(Losses())
    bodies = list(encode_datagrams(events, form, 10))
    ends = np.cumsum([len(body) for body in bodies]).tolist()
    read = decoder.feed(np.frombuffer(b"".join(bodies), np.uint8), ends, [0] * len(ends))
    np.testing.assert_array_equal(np.diff(read["t"]), np.diff(events["t"]))


def test_the_bytes_are_those_that_other_programs_send() -> None:
    """Written out by hand: faery's two formats, SPIF with and without time, jAER's."""
    one = make_events([0x01020304], [5], [6], [True])
    assert next(encode_datagrams(one, "t64", 1)) == bytes.fromhex("0403020100000000 0500 0600 01")
    assert next(encode_datagrams(one, "t32", 1)) == bytes.fromhex("04030201 0500 0d00")
    assert next(encode_datagrams(one, "spif", 1)) == bytes.fromhex("06800500 04030201")
    assert next(encode_datagrams(one, "jaer", 1, 9)) == bytes.fromhex("00000009 0000060a 01020304")
    timeless = (
        DATAGRAM_FORMATS["spif"].decoder(Losses()).feed(np.frombuffer(bytes.fromhex("06800580"), np.uint8), [4], [77])
    )
    assert timeless.tolist() == [(77, 5, 6, True)]


def test_events_with_and_without_time_may_share_a_datagram() -> None:
    losses = Losses()
    data = np.frombuffer(bytes.fromhex("06800580 06800500 04030201 07000580 06800500"), np.uint8)
    read = DATAGRAM_FORMATS["spif"].decoder(losses).feed(data, [20], [77])
    assert read.tolist() == [(77, 5, 6, True), (0x01020304, 5, 6, True), (77, 5, 7, False)]
    assert losses.invalid == 1  # the last one's time was cut off


def test_what_does_not_fit_the_format_is_refused_and_counted() -> None:
    source = listen("format=t64&end=300ms")
    good = list(encode_datagrams(some_events(10), "t64", 10))
    on_is_seven = bytes(12) + b"\x07"
    far = (2**63 - 1).to_bytes(8, "little") + bytes(5)
    outside = (3).to_bytes(8, "little") + (500).to_bytes(2, "little") + bytes(3)
    send_bodies(
        source, [b"", b"x", b"GET / HTTP/1.1\r\n\r\n", good[0][:-1], on_is_seven, far, outside, bytes(65000), *good]
    )
    events = ReaderThread(source).events()
    assert len(events) == 10 + 65000 // 13
    assert source.datagrams["received"] == 9 and source.datagrams["malformed"] == 4
    assert source.invalid == 1 + 1 + 1 + 9 + 3
    assert any("not t64" in note for note in source.notes)


def test_random_bytes_end_in_counts_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for form, wire in DATAGRAM_FORMATS.items():
        decoder, losses = wire.decoder(losses := Losses()), losses
        for _ in range(200):
            body = rng.bytes(int(rng.integers(1, 200)))
            if decoder.fits(len(body)):
                events = decoder.feed(np.frombuffer(body, np.uint8), [len(body)], [0])
                assert events.dtype == EVENT_DTYPE, form


def test_a_gap_in_the_sequence_of_jaer_is_counted() -> None:
    source = listen("format=jaer", sensor="")
    assert source.sensor == (128, 128) and source.upright == "rotate180"
    reading = ReaderThread(source)
    bodies = list(encode_datagrams(some_events(100), "jaer", 10))
    send_bodies(source, [*bodies[:3], *bodies[6:8], *bodies[9:]])
    assert len(reading.events(60)) == 60 and source.datagrams["missing"] == 4
    assert any("4 datagrams are missing" in note for note in source.notes)


def test_datagrams_of_others_are_left_alone_when_a_sender_is_named() -> None:
    source = listen("format=t64&from=127.0.0.2")
    reading = ReaderThread(source)
    send_bodies(source, list(encode_datagrams(some_events(20), "t64", 10)))
    until(lambda: source.datagrams["foreign"] == 2)
    assert len(reading.events(0)) == 0 and source.invalid == 0


def test_a_receiver_that_waits_costs_no_time_and_ends_at_once_when_closed() -> None:
    source = listen("format=t64")
    reading = ReaderThread(source)
    time.sleep(0.05)
    spent_s, began_s = time.process_time(), time.perf_counter()
    time.sleep(0.4)
    assert time.process_time() - spent_s < 0.05  # a thread that polls every millisecond spends more
    source.close()
    reading.thread.join(timeout=5)
    assert not reading.thread.is_alive() and time.perf_counter() - began_s < 2


def test_a_sender_that_falls_silent_is_lost_and_comes_back_and_both_are_said() -> None:
    source = listen("format=t64&lost=100ms")
    said: list[str] = []
    source.say = said.append
    reading = ReaderThread(source)
    bodies = list(encode_datagrams(some_events(40), "t64", 10))
    send_bodies(source, bodies[:2])
    until(lambda: source.datagrams["received"] == 2 and source.lost)
    send_bodies(source, bodies[2:])
    assert len(reading.events(40)) == 40 and source.returns == 1
    assert "lost" in said[1] and "back after" in said[2]


@pytest.mark.parametrize(
    ("options", "whose"),
    [
        ("", "of the first host that sends"),
        ("&from=any", "of every host"),
        ("&from=127.0.0.1", "of 127.0.0.1 alone"),
    ],
)
def test_a_port_says_when_it_listens_and_nothing_that_is_sent_from_then_on_is_lost(options: str, whose: str) -> None:
    source = listen(f"format=t64{options}&end=10s")
    said: list[str] = []
    source.say = said.append
    assert source.status()["listens"] is None
    reading = ReaderThread(source)
    until(lambda: said)
    assert said == [f"listens at 127.0.0.1:{source.port} (t64, 128x128), takes datagrams {whose}"]
    assert source.status()["listens"] == f"127.0.0.1:{source.port}"
    bodies = list(encode_datagrams(some_events(10_000), "t64", 100))
    send_bodies(source, bodies)
    assert len(reading.events(10_000)) == 10_000 and source.status()["listens"] is None


@pytest.mark.parametrize(("wanted", "granted"), [(1 << 16, True), (1 << 29, False)])
def test_what_the_kernel_drops_is_counted_and_said(wanted: int, granted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads while more comes than the socket holds; one more datagram tells how many were dropped before it. A larger
    buffer is advised where the socket got less than was asked for: without privileges, more than the system's maximum."""
    monkeypatch.setattr(udp_address, "WANTED_BUFFER", wanted)
    monkeypatch.setattr(udp_address, "RCVBUFFORCE", socket.SO_RCVBUF)
    source = listen("format=t64&reorder=off")  # equal datagrams are no duplicates then
    body = bytes(13 * 4000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", source.port))
        count = 2 * source.buffer_bytes // len(body)
        for _ in range(count):
            sender.send(body)
        reading = ReaderThread(source)
        until(lambda: source.datagrams["received"] and source.lost)
        sender.send(body)
        until(lambda: source.datagrams["dropped_by_kernel"])
        source.close()
        events = reading.events()
    lost = source.datagrams["dropped_by_kernel"]
    assert lost > 0 and source.datagrams["received"] + lost == count + 1
    assert len(events) == 4000 * source.datagrams["received"]
    (said,) = [note for note in source.notes if "the kernel dropped" in note]
    assert ("as large as we ask for" if granted else f"sysctl -w net.core.rmem_max={wanted}") in said


def test_the_frames_of_a_feed_are_those_of_the_recording() -> None:
    source = listen("format=t64", sensor="&sensor=34x34")
    frames: list[Any] = []
    framer = SourceFramer(source, "duration:10ms", (2, 34, 34))
    source.tick_s = None  # however slow this machine is, the sender is not silent
    thread = threading.Thread(target=lambda: frames.extend(framer))
    thread.start()
    sent = send(SIM, f"udp://127.0.0.1:{source.port}?format=t64", speed="300000", each=37)
    until(lambda: framer.account.events_in == sent)
    source.close()
    thread.join(timeout=60)
    recording = list(SourceFramer(open_source(SIM), "duration:10ms", (2, 34, 34)))
    assert len(frames) == len(recording)
    assert all((a.x == b.x).all() for a, b in zip(frames, recording, strict=True))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("udp://127.0.0.1", "expected a host and a port"),
        ("udp://127.0.0.1:99999", "expected a host and a port"),
        ("udp://:7777", "expected a host and a port"),
        ("udp://127.0.0.1:7777", "do not contain the sensor size"),
        ("udp://127.0.0.1:7777?format=aedat&sensor=3x3", "format=aedat is not known; expected t64, t32, spif, jaer"),
        ("udp://127.0.0.1:7777?sensor=big", "expected WIDTHxHEIGHT"),
        ("udp://127.0.0.1:7777?sensor=²x3", "sensor=²x3: expected WIDTHxHEIGHT"),
        ("udp://127.0.0.1:7777?sensor=3x3&colour=red", "'colour' is not understood"),
        ("udp://127.0.0.1:7777?sensor=3x3&sensor=4x4", "is not understood"),
        ("udp://127.0.0.1:7777?sensor=3x3&end=soon", "is not a time"),
        ("udp://127.0.0.1:7777/x?sensor=3x3", "'/x"),
        ("udp://no.such.host.invalid:7777?sensor=3x3", "is not known"),
        ("udp://203.0.113.7:7777?sensor=3x3", "no address of this machine"),
    ],
)
def test_an_address_that_cannot_be_is_refused_in_one_line(spec: str, says: str) -> None:
    with pytest.raises(PlifError) as error:
        open_source(spec)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_port_that_is_taken_is_refused() -> None:
    source = listen("format=t64")
    with pytest.raises(PlifError, match="another program listens there"):
        open_source(f"udp://127.0.0.1:{source.port}?sensor=3x3")
    with pytest.raises(PlifError, match="live source"):
        source.count()
    source.close()
    open_source(source.name).close()  # what was never read gives its port back, too


def test_plif_send_is_the_other_end_of_plif_stream(capsys: Any) -> None:
    source = listen("format=t32&end=400ms", sensor="&sensor=34x34")
    assert run(["send", SIM, f"udp://127.0.0.1:{source.port}?format=t32", "--speed", "300000", "--json"]) == 0
    reading = ReaderThread(source)  # only now: a slow start of the sender would be the silence that ends the stream
    assert json.loads(capsys.readouterr().out)["events"] == len(reading.events()) > 1000
    assert run(["send", "missing.raw", "udp://127.0.0.1:7"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("each", (100, 5000), ids=("many datagrams", "one datagram"))
def test_a_sender_says_once_that_nobody_listens_and_sends_on(each: int, capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("t,x,y,p\n" + "".join(f"{t},3,4,1\n" for t in range(2000)))
    command = ["send", str(tmp_path / "e.csv"), f"udp://127.0.0.1:{free_port()}", "--speed", "max", "--each", str(each)]
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "nobody listens there" in err and "2000" in out
    source = listen("format=t64&end=300ms", sensor="&sensor=34x34")
    reading = ReaderThread(source)
    assert run([*command[:2], f"udp://127.0.0.1:{source.port}", *command[3:]]) == 0
    assert capsys.readouterr().err == "" and len(reading.events()) == 2000


def test_a_sender_says_that_nobody_listens_while_it_sends(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("t,x,y,p\n" + "".join(f"{t},3,4,1\n" for t in range(300)))
    finished: list[int] = []
    with warnings.catch_warnings(), pytest.raises(PlifWarning, match="nobody listens there"):
        warnings.simplefilter("error")
        target = f"udp://127.0.0.1:{free_port()}"
        send(str(tmp_path / "e.csv"), target, speed="max", sensor="34x34", progress=finished.append)
    assert finished == []


def test_a_sender_that_cannot_be_is_refused_in_one_line() -> None:
    for source, target, options, says in [
        (SIM, "tcp://127.0.0.1:7", {}, "expected udp://"),
        (SIM, "udp://127.0.0.1:7?format=x", {}, "expected udp://"),
        (SIM, "udp://127.0.0.1:7", {"speed": "fast"}, "--speed fast"),
        (SIM, "udp://127.0.0.1:7", {"each": 5001}, "--each 5001"),
        ("missing.raw", "udp://127.0.0.1:7", {}, "missing.raw"),
    ]:
        with pytest.raises(PlifError, match=says):
            send(source, target, **options)  # type: ignore[arg-type]
