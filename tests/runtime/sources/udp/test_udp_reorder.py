"""Datagrams that a network puts out of order, doubles or loses."""

from __future__ import annotations

import time

import numpy as np
import pytest

from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from runtime.sources.udp.datagrams import DATAGRAM_FORMATS, encode_datagrams
from runtime.sources.udp.reorder import CALM_US, Reorder
from tests.live import StreamThread, free_port, until
from tests.runtime.core.test_stream_live import artifact, model
from tests.runtime.sources.udp.test_udp import ReaderThread, listen, send_bodies, some_events

__all__ = ["artifact", "model"]  # fixtures
FORMS = ("t64", "t32", "spif", "jaer")


def disturb(bodies: list[bytes], back: int, lost: float, doubled: float, seed: int = 0) -> list[bytes]:
    """As a network may deliver them: each up to `back` places later, a share of them lost, another twice."""
    rng = np.random.default_rng(seed)
    places = np.arange(len(bodies)) + rng.integers(0, back + 1, len(bodies)) * (rng.random(len(bodies)) < 0.3)
    moved = [bodies[i] for i in np.argsort(places, kind="stable") if rng.random() >= lost]
    return [body for one in moved for body in ([one, one] if rng.random() < doubled else [one])]


def make_order(form: str, window_us: int = 2000) -> tuple[Reorder, dict[str, int]]:
    counts = {"duplicates": 0, "reordered": 0}
    return Reorder(DATAGRAM_FORMATS[form].key, form == "jaer", counts, window_us), counts


def arrange(order: Reorder, bodies: list[bytes], arrived_us: list[int]) -> list[bytes]:
    """Give datagrams one by one; return them as they are released, those held at the end included."""
    released: list[bytes] = []

    def take(found: tuple[np.ndarray, list[int], list[int]]) -> None:
        data, ends, _ = found
        released.extend(data[begin:end].tobytes() for begin, end in zip([0, *ends], ends, strict=False))

    for body, now_us in zip(bodies, arrived_us, strict=True):
        take(order.arrange(np.frombuffer(body, np.uint8), [len(body)], [now_us]))
    take(order.release(arrived_us[-1], end=True))
    return released


@pytest.mark.parametrize("form", FORMS)
def test_in_order_nothing_waits_and_nothing_is_copied(form: str) -> None:
    order, counts = make_order(form)
    bodies = list(encode_datagrams(some_events(2000), form, 10))
    arrange(order, bodies[:1], [0])
    data, ends = np.frombuffer(b"".join(bodies[1:]), np.uint8), np.cumsum([len(b) for b in bodies[1:]]).tolist()
    found = order.arrange(data, ends, [5] * len(ends))
    assert found[0] is data and found[1] is ends and order.due_us is None and not any(counts.values())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_what_came_out_of_order_is_put_back(form: str, seed: int) -> None:
    order, counts = make_order(form)
    bodies = list(encode_datagrams(some_events(4000, seed=seed), form, 10))
    sent = disturb(bodies, 3, 0, 0.02, seed)
    released = arrange(order, sent, [100 * i for i in range(len(sent))])
    assert sorted(released) == sorted(bodies) and counts["duplicates"] == len(sent) - len(bodies) > 0
    wrong = sum(a != b for a, b in zip(released, bodies, strict=True))
    before = sum(a != b for a, b in zip(disturb(bodies, 3, 0, 0, seed), bodies, strict=True))
    # with times the first one that comes too late is seen only then
    assert counts["reordered"] > 20 and (wrong == 0 if form == "jaer" else wrong <= 0.1 * before)


@pytest.mark.parametrize("form", FORMS)
def test_a_lost_datagram_delays_by_the_window_and_no_longer(form: str) -> None:
    order, _ = make_order(form)
    bodies = list(encode_datagrams(some_events(1000), form, 10))
    for body in bodies[:10]:
        order.arrange(np.frombuffer(body, np.uint8), [len(body)], [0])
    found = order.arrange(np.frombuffer(bodies[11], np.uint8), [len(bodies[11])], [1000])
    if form == "jaer":  # the gap in the numbers is seen at once
        assert not found[1] and order.due_us == 3000 and not order.release(2999)[1]
        assert order.release(3000)[0].tobytes() == bodies[11] and order.due_us is None
    else:
        assert found[0].tobytes() == bodies[11]


@pytest.mark.parametrize("form", ("t64", "t32", "spif"))
def test_times_are_believed_again_after_ten_seconds_without_disorder(form: str) -> None:
    order, _ = make_order(form)
    bodies = list(encode_datagrams(some_events(1000), form, 10))
    for body in (bodies[0], bodies[2], bodies[1]):
        order.arrange(np.frombuffer(body, np.uint8), [len(body)], [0])
    held = order.arrange(np.frombuffer(bodies[3], np.uint8), [len(bodies[3])], [1000])
    assert not held[1] and order.due_us == 3000
    order.release(3000)
    late = CALM_US + 1
    assert order.arrange(np.frombuffer(bodies[4], np.uint8), [len(bodies[4])], [late])[0].tobytes() == bodies[4]


def test_the_same_recording_sent_again_is_no_duplicate() -> None:
    order, counts = make_order("t64")
    bodies = list(encode_datagrams(some_events(300), "t64", 10))
    sent = [*bodies, *bodies]
    assert arrange(order, sent, [10 * i + 200_000 * (i >= len(bodies)) for i in range(len(sent))]) == sent
    assert counts["duplicates"] == 0


def test_numbers_start_again_and_jump_without_a_wait() -> None:
    order, _ = make_order("jaer")
    events = some_events(300)
    first, wrapped, restarted = (
        list(encode_datagrams(events, "jaer", 10, start)) for start in (2**32 - 15, 2**32 - 15 + 30, 0)
    )
    sent = [*first, *wrapped[:5], *restarted]
    assert arrange(order, sent, [10 * i for i in range(len(sent))]) == sent


@pytest.mark.parametrize("form", FORMS)
def test_garbage_holds_back_a_bounded_number(form: str) -> None:
    order, _ = make_order(form)
    rng = np.random.default_rng(0)
    bodies = list(encode_datagrams(some_events(2000), form, 10))
    given = 0
    for i, body in enumerate(bodies):
        for one in (body, rng.bytes(len(body))):
            given += len(one)
            found = order.arrange(np.frombuffer(one, np.uint8), [len(one)], [i])
            given -= len(found[0])
            assert given <= 64 * 1024
    assert len(order.release(1 << 40)[0]) == given


@pytest.mark.parametrize("form", FORMS)
def test_over_a_real_socket_hardly_an_event_is_late_that_a_network_moved(model: Model, form: str) -> None:
    """Three places back and 1 % lost: events used, with the window and without."""
    events = np.concatenate(list(open_source("sim:digits?seed=6&seconds=2").packets()))
    bodies = disturb(list(encode_datagrams(events, form, 20)), 3, 0.01, 0, 1)
    used = {}
    for reorder in ("200ms", "off"):  # a busy machine stops for longer than the usual 2 ms
        spec = f"udp://127.0.0.1:{free_port()}?format={form}&end=500ms&reorder={reorder}"
        running = model.stream(spec if form == "jaer" else f"{spec}&sensor=34x34", framing="duration:1ms")
        there = StreamThread(running)
        until(lambda: running.streams[0].source.status()["listens"] or there.error)  # noqa: B023
        for at in range(0, len(bodies), 20):
            send_bodies(running.streams[0].source, bodies[at : at + 20])
            time.sleep(0.002)
        there.thread.join(60)
        assert there.error is None
        summary = running.summary()
        used[reorder] = summary["events_late"]
        assert reorder == "off" or running.streams[0].source.datagrams["reordered"] > 0
    assert used["200ms"] <= 0.5 * used["off"]


def test_spif_without_times_has_no_order() -> None:
    source = listen("format=spif")
    reading = ReaderThread(source)
    words = (np.arange(200, dtype="<u4") // 2 | (1 << 31)).reshape(20, 10)
    send_bodies(source, [row.tobytes() for row in words[::-1]])
    events = reading.events(200)
    assert events["y"].tolist() == (words[::-1] & 0x7FFF).ravel().tolist() and source.datagrams["reordered"] == 0


@pytest.mark.parametrize("text", ("2", "0ms", "5s", "never"))
def test_a_window_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(PlifError, match="reorder"):
        listen(f"format=t64&reorder={text}")
