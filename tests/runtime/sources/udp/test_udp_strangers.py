"""A UDP stream among strangers: it belongs to the first host that sends, and no other costs it an event."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import make_events
from runtime.core.stream.source_framer import SourceFramer
from runtime.sources import udp
from runtime.sources.udp import UdpSource
from runtime.sources.udp.address import Address
from runtime.sources.udp.datagrams import encode_datagrams
from runtime.sources.udp.ownership import MAX_HOSTS, MAX_NAMED, Ownership, to_socket_address
from tests.live import until
from tests.runtime.sources.udp.conftest import Clock
from tests.runtime.sources.udp.test_timeline import Frames
from tests.runtime.sources.udp.test_udp import listen

CAMERA, OTHER = "127.0.0.1", "127.0.0.2"


def at(t_us: int, count: int = 1) -> bytes:
    """A datagram of so many events, the first at t_us, 100 us between two."""
    events = make_events(t_us + 100 * np.arange(count), np.full(count, 3), np.full(count, 4), np.ones(count))
    return next(encode_datagrams(events, "t64", count))


class Port:
    """A source that is read in a thread, hosts that send to it, and the time that it is told."""

    def __init__(self, clock: Clock, options: str = "", form: str = "t64") -> None:
        self.clock, self.sent, self.said = clock, 0, list[str]()
        self.source: UdpSource = listen(f"format={form}{options}", sensor="&sensor=34x34")
        self.source.say = lambda text: None if text.startswith("listens at") else self.said.append(text)
        self.frames = SourceFramer(self.source, "duration:10ms", (2, 34, 34))
        self.source.tick_s = None  # however slow this machine is, nobody is silent
        self._sockets: dict[object, socket.socket] = {}
        self.reading = Frames(self.frames)

    def send(self, body: bytes, host: str = CAMERA, after_us: int = 0, process: int = 0) -> None:
        """Each process of a host has a port of its own. Returns when the datagram was received."""
        self.clock.now_us += after_us
        if (host, process) not in self._sockets:
            sender = self._sockets[host, process] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.bind((host, 0))
            sender.connect(("127.0.0.1", self.source.port))
        self._sockets[host, process].send(body)
        self.sent += 1
        seen = self.source.datagrams
        until(lambda: seen["received"] + seen["foreign"] == self.sent, every_s=0)

    def lose(self, silent_us: int = 2_000_000) -> None:
        """Nothing comes from the owner for so long, which a datagram of another makes the source see."""
        self.send(b"no event", "127.0.0.9", after_us=silent_us)
        until(lambda: self.source.lost)

    def end(self) -> dict[str, int]:
        self.source.close()
        self.reading.end()
        for one in self._sockets.values():
            one.close()
        self.frames.account.close()
        assert self.frames.account.waiting == 0
        return self.source.datagrams


@pytest.fixture
def port(clock: Clock) -> Iterator[Callable[..., Port]]:
    made: list[Port] = []

    def make(options: str = "") -> Port:
        made.append(Port(clock, options))
        return made[0]

    yield make
    made[0].source.close()


class Owned(Ownership):
    """That of a stream with from=first, and what it said."""

    def __init__(self) -> None:
        self.said, self.datagrams = list[str](), dict.fromkeys(("foreign", "takeovers", "dropped_by_kernel"), 0)
        address = Address.parse("udp://127.0.0.1:7777", ("owner",), "")
        super().__init__(address, socket.AF_INET, 2.0, self.datagrams, self.said.append)


@pytest.fixture
def ownership() -> Owned:
    return Owned()


@pytest.mark.parametrize("every", (10, 1))
def test_a_liar_on_another_host_who_creeps_ahead_makes_no_event_late(port: Callable[..., Port], every: int) -> None:
    """Events 0.9 ms ahead of what is expected with the lie before, 100 and 1000 a second, beside 1000 honest datagrams."""
    there = port()
    for number in range(500):
        there.send(at(1000 * number, 10), after_us=1000)
        if number % every == 0:
            there.send(at(1000 * number + 900 + min(900 * (number // every + 1), 49_000)), OTHER)
    seen, account = there.end(), there.frames.account
    assert (account.late, account.invalid, account.used) == (0, 0, 5000) and seen["foreign"] == 500 // every


def test_datagrams_of_another_host_are_said_at_once_and_once_with_what_to_do(port: Callable[..., Port]) -> None:
    there = port()
    there.send(at(0), OTHER)  # a liar who is quicker than the camera
    for number in range(3):
        there.send(at(1000 * number), CAMERA, after_us=1000)
        assert there.said == [
            f"datagrams of {CAMERA} are not taken: this stream belongs to {OTHER}, the first that sent, until it is silent "
            f"for 60 s; from={CAMERA} names yours"
        ]
    assert there.end()["foreign"] == 3 and there.frames.account.used == 1
    assert any(f"3 datagrams of other hosts were not taken ({CAMERA} (3" in note for note in there.source.notes)


def test_a_host_that_sends_on_is_said_again_each_minute(ownership: Owned) -> None:
    ownership.change(CAMERA, 0)
    for now_us in range(0, 180_000_000, 1_000_000):
        ownership.refuse(OTHER, now_us)
    assert [re.findall(r"\d+ datagrams", line) for line in ownership.said] == [[], ["61 datagrams"], ["121 datagrams"]]


def test_refused_hosts_stand_in_the_status_with_what_to_type(port: Callable[..., Port]) -> None:
    there = port()
    assert there.source.status() | {"listens": 0} == {"listens": 0, "owner": None, "refused_hosts": []}
    there.send(at(0))
    for number in range(3):
        there.send(at(1000 * number), OTHER)
    there.clock.now_us += 5_000_000
    host = {"host": OTHER, "datagrams": 3, "last_s": 5.0, "accept": f"from={OTHER}"}
    assert there.source.status() | {"listens": 0} == {"listens": 0, "owner": CAMERA, "refused_hosts": [host]}
    there.end()


def test_ten_thousand_hosts_that_somebody_forges_hide_none_that_sends_on(ownership: Owned) -> None:
    ownership.change(CAMERA, 0)
    for number in range(10_000):
        ownership.refuse(f"10.0.{number >> 8}.{number & 255}", 1000 * number)
        if number % 3 == 0:
            ownership.refuse(OTHER, 1000 * number)
    assert len(ownership.said) == MAX_NAMED and ownership.datagrams["foreign"] == 13_334
    assert len(ownership.refused) == MAX_HOSTS and ownership.refused[OTHER][0] > 3000
    ownership.refuse("10.0.0.0", 80_000_000)
    assert f"datagrams of {OTHER} (" in ownership.said[-1] and f"from={OTHER} names yours" in ownership.said[-1]


def test_a_sender_that_restarts_with_another_port_and_another_clock_is_the_same_host(port: Callable[..., Port]) -> None:
    there = port()
    for number in range(20):
        there.send(at(50_000_000 + 1000 * number), after_us=1000)
    for number in range(20):
        there.send(at(1000 * number), after_us=1000, process=1)
    assert there.end()["foreign"] == 0 and there.frames.account.used == 40 and there.said == []


@pytest.mark.parametrize("still_s", (3, 59))
def test_a_camera_before_a_still_scene_keeps_its_stream_whoever_sends_meanwhile(
    port: Callable[..., Port], still_s: int
) -> None:
    there = port()
    there.send(at(0, 100))
    there.lose()
    for number in range(10):
        there.send(at(1000 * number), OTHER, after_us=100_000 * (still_s - 2))
    for number in range(311):
        there.send(at(1_000_000 * still_s + 10_000 * number, 100), after_us=10_000)
    seen = there.end()
    assert (seen["takeovers"], there.frames.account.used) == (0, 31_200) and there.source.returns == 1


def test_another_host_takes_over_when_the_first_was_silent_for_so_long_and_keeps_the_stream_when_that_one_returns(
    port: Callable[..., Port],
) -> None:
    there = port("&owner=10s")
    there.send(at(0))
    there.lose()
    there.send(at(1000), OTHER, after_us=7_999_999)  # a little less than ten seconds
    there.send(at(10_000_000), CAMERA)
    there.lose(10_000_000)
    there.send(at(70_000_000), OTHER, after_us=1000)  # it has a clock of its own
    there.send(at(20_000_000), CAMERA, after_us=1000)
    there.send(at(70_001_000), OTHER, after_us=1000)
    assert there.source.datagrams["takeovers"] == 1
    there.lose(10_000_000)
    there.send(at(30_000_000), CAMERA, after_us=1000)
    there.send(at(80_000_000), OTHER, after_us=1000)  # is said again
    assert there.end()["takeovers"] == 2 and there.frames.account.used == 5 and there.source.returns == 3
    assert any(f"no datagram of {CAMERA} for 2.0 s: lost" in line for line in there.said)
    assert f"nothing came from {CAMERA} for 10 s: the stream belongs to {OTHER} now" in there.said
    assert any(
        f"datagrams of {CAMERA} are not taken: this stream belongs to {OTHER}, the first" in line for line in there.said
    )
    assert [f"datagrams of {OTHER} are not taken" in line for line in there.said].count(True) == 2
    assert any("2 times another host took over" in note for note in there.source.notes)


def test_nobody_takes_over_from_a_host_that_is_named(port: Callable[..., Port]) -> None:
    there = port(f"&from={CAMERA}")
    there.send(at(0), OTHER)
    there.send(at(0))
    there.lose()
    there.send(at(70_000_000), OTHER, after_us=60_000_000)
    there.send(at(62_000_000))
    assert there.end()["takeovers"] == 0 and there.frames.account.used == 2


def test_nobody_takes_over_while_datagrams_that_may_be_the_owners_wait_or_are_dropped(ownership: Owned) -> None:
    ownership.change(CAMERA, 1_000_000)
    assert not ownership.may_change(90_000_000, 90_000_000, lost=False)
    assert not ownership.may_change(90_000_000, 60_999_999, lost=True), "what came later was not read yet"
    assert ownership.may_change(90_000_000, 61_000_000, lost=True)
    ownership.datagrams["dropped_by_kernel"] = 5
    assert not ownership.may_change(91_000_000, 91_000_000, lost=True)
    assert not ownership.may_change(150_999_999, 150_999_999, lost=True)
    assert ownership.may_change(151_000_000, 151_000_000, lost=True)


def test_an_owner_that_sends_what_is_no_event_is_not_silent(port: Callable[..., Port]) -> None:
    there = port()
    there.send(at(0))
    for _ in range(7):
        there.send(b"alive", after_us=10_000_000)
    there.send(at(0), OTHER)
    assert there.source.lost and there.end()["takeovers"] == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("&owner=1s", "owner=1s is shorter than lost=2s"),
        ("&owner=4s&lost=5s", "owner=4s is shorter than lost=5s"),
        ("&owner=60s&from=any", "with from=any the stream never changes its owner"),
        (f"&from={CAMERA}&owner=60s", f"with from={CAMERA} the stream never changes its owner"),
        ("&owner=never", "owner, 'never', is not a time"),
    ],
)
def test_a_time_of_silence_that_can_never_matter_is_refused_in_one_line(options: str, says: str) -> None:
    with pytest.raises(PlifError) as error:
        listen(f"format=t64{options}")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_longer_time_until_a_source_counts_as_lost_holds_for_its_owner_too(port: Callable[..., Port]) -> None:
    there = port("&lost=90s")
    there.send(at(0))
    there.send(at(0), OTHER, after_us=89_000_000)
    assert any("until it is silent for 90 s" in line for line in there.said) and there.end()["takeovers"] == 0


def test_what_is_no_event_makes_nobody_the_owner(port: Callable[..., Port]) -> None:
    there = port()
    for body in (b"", b"x", b"GET / HTTP/1.1\r\n\r\n", b"NOTIFY * HTTP", bytes(8) + b"\xff\xff" * 2 + b"\1"):
        there.send(body, OTHER)
    there.send(at(0) + bytes(12) + b"\7")  # an event, and what is none
    assert there.end()["malformed"] == 3 and (there.frames.account.used, there.frames.account.invalid) == (1, 6)
    assert there.source.status()["owner"] == CAMERA


def test_with_from_any_each_sender_has_a_clock_of_its_own_and_nobody_is_refused(port: Callable[..., Port]) -> None:
    there = port("&from=any")
    for number in range(50):
        there.send(at(1000 * number), after_us=1000)
        there.send(at(50_000_000_000 + 1000 * number), OTHER)
        there.send(at(90_000_000_000 + 1000 * number), OTHER, process=1)
    assert there.end()["foreign"] == 0
    assert there.frames.account.used == 150 and there.said == []


def test_with_from_any_the_datagrams_of_one_moment_keep_their_order_and_sequences_of_senders_do_not_mix() -> None:
    source = listen("format=jaer&from=any&reorder=off", sensor="")
    bodies = [
        next(encode_datagrams(make_events([t], [3], [4], [True]), "jaer", 1, sequence))
        for t, sequence in ((1, 7), (2, 100), (3, 101), (4, 8), (5, 103))
    ]
    ends = np.cumsum(list(map(len, bodies))).tolist()
    data = np.frombuffer(b"".join(bodies), np.uint8)
    packets = list(source._accept_datagrams(data, ends, [9] * 5, ["a", "b", "b", "a", "b"]))
    assert np.concatenate(packets)["t"].tolist() == [1, 2, 3, 4, 5] and source.datagrams["missing"] == 1
    source.close()


def test_ten_thousand_forged_senders_take_no_memory_and_what_waited_is_given() -> None:
    source = listen("format=t64&from=any")
    body = np.frombuffer(at(1000), np.uint8)
    later = np.frombuffer(at(900_000), np.uint8)
    assert len(list(source._accept_datagrams(body, [13], [0], ["camera"]))) == 1
    assert list(source._accept_datagrams(later, [13], [0], ["camera"])) == [] and source._due_us is not None
    given = [len(one) for number in range(10_000) for one in source._accept_datagrams(body, [13], [0], [number])]
    assert sum(given) == 10_001 and len(source._clocks) == udp.MAX_CLOCKS and source._due_us is None
    source.close()


@pytest.fixture
def ten_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many datagrams as are usual do not fit the socket of a user without privileges."""
    monkeypatch.setattr(udp, "MAX_PER_TURN", 10)


def test_a_flood_of_others_is_left_in_pieces_so_that_the_owner_does_not_wait(ten_a_turn: None) -> None:
    source = listen(f"format=t64&from={CAMERA}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((OTHER, 0))
        for _ in range(25):
            sender.sendto(at(0), ("127.0.0.1", source.port))
    view = memoryview(bytearray(1 << 17))
    for foreign in (10, 20, 25):
        assert source._receive_datagrams(view, 1 << 16)[0] == [] and source.datagrams["foreign"] == foreign
    source.close()


def test_a_flood_takes_nothing_over_while_datagrams_of_the_owner_may_wait_behind_it(
    ten_a_turn: None, clock: Clock
) -> None:
    """Nobody read for a minute: then what came first says nothing about the owner."""
    source = listen("format=t64")
    clock.now_us = 70_000_000
    source._ownership.change(CAMERA, 10_000_000)
    source.lost = True
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as camera,
    ):
        liar.bind((OTHER, 0))
        for sender in (*[liar] * 25, camera, liar):
            sender.sendto(at(0), ("127.0.0.1", source.port))
    view = memoryview(bytearray(1 << 17))
    assert [len(source._receive_datagrams(view, 1 << 16)[0]) for _ in range(3)] == [0, 0, 1]
    assert source.status()["owner"] == CAMERA and source.datagrams["foreign"] == 26
    source.close()


@pytest.mark.parametrize(
    ("host", "four", "six"),
    [
        ("192.168.1.7", "192.168.1.7", "::ffff:192.168.1.7"),
        ("::FFFF:192.168.1.7", "192.168.1.7", "::ffff:192.168.1.7"),
        ("FD00:0::7", None, "fd00::7"),
        ("camera.local", None, None),
        ("", None, None),
        ("192.168.1", None, None),
        ("127.0.0.1\0", None, None),
        ("0.0.0.0", None, None),  # every address to listen on, and nobody's to send from
        ("255.255.255.255", None, None),
        ("::", None, None),
    ],
)
def test_a_host_is_an_address_however_it_is_written(host: str, four: str | None, six: str | None) -> None:
    for family, written in ((socket.AF_INET, four), (socket.AF_INET6, six)):
        if written is None:
            with pytest.raises(PlifError, match="expected first, any, or one such as"):
                to_socket_address("udp://", host, family)
        else:
            assert to_socket_address("udp://", host, family) == written
