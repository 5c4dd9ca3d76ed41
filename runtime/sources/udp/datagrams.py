"""Events in datagrams: four formats of other programs, read and written. No format says how large the sensor is.

    t64    13 bytes an event, little-endian: t uint64 us | x uint16 | y uint16 | on uint8              faery, our default
    t32    8 bytes, little-endian: t uint32 us | x uint16 | y * 2 + on uint16                          faery
    spif   words of 4 bytes, little-endian: bit 31 no time follows | x 30-16 | on 15 | y 14-0, then
           (bit 31 clear) t uint32 us. Without times an event gets the time of its arrival             SpiNNaker, AEStream
    jaer   big-endian: sequence uint32, then address uint32 | t uint32 us; addresses of a DVS128       jAER's AEUnicast

uint32 times start again after 71.6 minutes: of the times that they may mean, the one nearest to the expected time is taken. A
datagram whose length does not fit the format is refused as a whole: its sender uses another format, and a part of an event
is no event.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from runtime.core.events.array import as_times, make_events, no_events
from runtime.core.events.formats.base import Losses
from runtime.core.events.formats.words import Decoder, Words

T64 = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "u1")])
T32 = np.dtype([("t", "<u4"), ("x", "<u2"), ("yon", "<u2")])
NO_TIME = 1 << 31


class NearestTime:
    """uint32 times [N] -> int64 [N], those nearest to the expected time: within 35 minutes of it they are right.

    `expected_us` is for whoever knows what time to expect: then no datagram, however wrong or late, changes what the next one
    means. Where it is None, it is the last time of the call before. (An unwrapper of files counts steps back instead.)
    """

    def __init__(self) -> None:
        self.expected_us: int | None = None
        self._last_us: int | None = None

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        if not len(raw):
            return np.zeros(0, np.int64)
        near_us = self._last_us if self.expected_us is None else self.expected_us
        if near_us is None:
            near_us = int(raw[0])
        t_us = near_us + ((raw.astype(np.int64) - near_us + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
        self._last_us = int(t_us[-1])
        return t_us


class DatagramDecoder:
    """Datagrams of one sender -> events. Invalid events are counted in the losses.

    `ends` says where the events of each datagram end in what `feed` gave last. `lost` counts the datagrams that are missing
    in the sequence, where the format has sequence numbers.
    """

    header = 0  # bytes before the events of each datagram
    unit = 1  # the rest is a multiple of this
    sensor: tuple[int, int] | None = None
    upright = "identity"

    def __init__(self, losses: Losses) -> None:
        self.losses = losses
        self.lost = 0
        self.ends: np.ndarray = np.zeros(0, np.int64)
        self.unwrap = NearestTime()

    def fits(self, size: int) -> bool:
        return size > self.header and (size - self.header) % self.unit == 0

    def feed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> np.ndarray:
        """Some datagrams, uint8 [bytes], one directly after the other -> events [N].

        `ends` says at which byte each datagram ends, `arrived_us` when it arrived, in microseconds.
        """
        raise NotImplementedError

    def _join(self, datagrams: list[np.ndarray]) -> np.ndarray:
        self.ends = np.cumsum([len(events) for events in datagrams])
        return np.concatenate([no_events(), *datagrams])


class T64Decoder(DatagramDecoder):
    unit = T64.itemsize

    def feed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> np.ndarray:
        """uint8 [bytes] -> events [N]; see DatagramDecoder.feed."""
        raw = data.view(T64)
        good = raw["on"] <= 1
        self.ends = np.asarray(ends) // self.unit
        if not good.all():
            self.ends = np.cumsum(good)[self.ends - 1]
            self.losses.add(int(len(good) - good.sum()), "with a polarity that is neither 0 nor 1")
            raw = raw[good]
        return make_events(as_times(raw["t"]), raw["x"], raw["y"], raw["on"])


class T32Decoder(DatagramDecoder):
    unit = T32.itemsize

    def feed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> np.ndarray:
        """uint8 [bytes] -> events [N]; see DatagramDecoder.feed."""
        raw = data.view(T32)
        self.ends = np.asarray(ends) // self.unit
        return make_events(self.unwrap(raw["t"]), raw["x"], raw["yon"] >> 1, (raw["yon"] & 1).astype(bool))


class SpifDecoder(DatagramDecoder):
    unit = 4

    def feed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> np.ndarray:
        """uint8 [bytes] -> events [N]; see DatagramDecoder.feed."""
        datagrams = zip(_split(data.view("<u4"), ends), arrived_us, strict=True)
        return self._join([self._datagram(words, now_us) for words, now_us in datagrams])

    def _datagram(self, words: np.ndarray, now_us: int) -> np.ndarray:
        timeless = words >= NO_TIME
        if timeless.all():
            t = np.full(len(words), now_us, np.int64)
        elif len(words) % 2 == 0 and not timeless[0::2].any():
            t, words = self.unwrap(words[1::2]), words[0::2]
        else:
            t, words = self._mixed(words, now_us)
        return make_events(t, (words >> 16) & 0x7FFF, words & 0x7FFF, ((words >> 15) & 1).astype(bool))

    def _mixed(self, words: np.ndarray, now_us: int) -> tuple[np.ndarray, np.ndarray]:
        """Times and words of a datagram that holds events with a time and events without.

        Where an event begins depends on all before it, so this loop is Python's; it does nothing else, since anybody may send
        16,000 words.
        """
        timeless = (words >= NO_TIME).tolist()
        begins, at = [], 0
        while at < len(words):
            begins.append(at)
            at += 1 if timeless[at] else 2
        if at > len(words):
            self.losses.add(1, "whose time is missing at the end of the datagram")
            begins.pop()
        found = words[begins]
        t_us, timed = np.full(len(found), now_us, np.int64), found < NO_TIME
        t_us[timed] = self.unwrap(words[np.array(begins, np.int64)[timed] + 1])
        return t_us, found


class JaerDecoder(DatagramDecoder):
    header, unit = 4, 8
    sensor = (128, 128)
    upright = "rotate180"

    def __init__(self, losses: Losses) -> None:
        super().__init__(losses)
        self._next: int | None = None
        self._words = Decoder(Words.AEDAT2)

    def feed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> np.ndarray:
        """uint8 [bytes] -> events [N]; see DatagramDecoder.feed."""
        datagrams = []
        for words in _split(data.view(">u4"), ends):
            sequence = int(words[0])
            if self._next is not None:
                ahead = (sequence - self._next) & 0xFFFFFFFF
                if ahead < 1 << 31:  # else a datagram came late, or its sender began again
                    self.lost += ahead
            self._next = (sequence + 1) & 0xFFFFFFFF
            datagrams.append(self._datagram(words[1:].reshape(-1, 2)))
        return self._join(datagrams)

    def _datagram(self, words: np.ndarray) -> np.ndarray:
        """Words of AEDAT 2.0, but for what its times mean: each gets its place for a time, and then the time that it has."""
        t_us, placed = self.unwrap(words[:, 1]), words.copy()
        placed[:, 1] = np.arange(len(words))
        events = self._words.feed(placed, self.losses)
        events["t"] = t_us[events["t"]]
        return events


def _split(words: np.ndarray, ends: list[int]) -> list[np.ndarray]:
    """The words of 4 bytes of each datagram; `ends` counts bytes."""
    return [words[begin // 4 : end // 4] for begin, end in itertools.pairwise((0, *ends))]


# --- sending --------------------------------------------------------------------------------------------------------


def _encode_t64(events: np.ndarray) -> np.ndarray:
    raw = np.empty(len(events), T64)
    raw["t"], raw["x"], raw["y"], raw["on"] = events["t"].astype(np.uint64), events["x"], events["y"], events["p"]
    return raw


def _encode_t32(events: np.ndarray) -> np.ndarray:
    raw = np.empty(len(events), T32)
    raw["t"], raw["x"] = events["t"] & 0xFFFFFFFF, events["x"]
    raw["yon"] = (events["y"] << 1) | events["p"]
    return raw


def _encode_spif(events: np.ndarray) -> np.ndarray:
    raw = np.empty((len(events), 2), "<u4")
    x, y = events["x"].astype(np.uint32) & 0x7FFF, events["y"].astype(np.uint32) & 0x7FFF
    raw[:, 0] = (x << 16) | (events["p"].astype(np.uint32) << 15) | y
    raw[:, 1] = events["t"] & 0xFFFFFFFF
    return raw


def _encode_jaer(events: np.ndarray) -> np.ndarray:
    raw = np.empty((len(events), 2), ">u4")
    off = (~events["p"]).astype(np.uint32)
    raw[:, 0] = (events["y"].astype(np.uint32) << 8) | (events["x"].astype(np.uint32) << 1) | off
    raw[:, 1] = events["t"] & 0xFFFFFFFF
    return raw


@dataclass(frozen=True)
class Wire:
    """One format: how to read it, how to write it (events [N] -> their bytes), and the largest (width, height) it can hold."""

    decoder: Callable[[Losses], DatagramDecoder]
    encode: Callable[[np.ndarray], np.ndarray]
    largest: tuple[int, int]


WIRES: dict[str, Wire] = {
    "t64": Wire(T64Decoder, _encode_t64, (65536, 65536)),
    "t32": Wire(T32Decoder, _encode_t32, (65536, 32768)),
    "spif": Wire(SpifDecoder, _encode_spif, (32768, 32768)),
    "jaer": Wire(JaerDecoder, _encode_jaer, (128, 128)),
}


def encode_datagrams(events: np.ndarray, form: str, each: int, sequence: int = 0) -> Iterator[bytes]:
    """Events [N] as datagrams of `each` events; `sequence` is the number of the first datagram (jaer)."""
    wire = WIRES[form]
    for number, begin in enumerate(range(0, len(events), each)):
        body = wire.encode(events[begin : begin + each]).tobytes()
        if form == "jaer":
            body = ((sequence + number) & 0xFFFFFFFF).to_bytes(4, "big") + body
        yield body
