"""Events in datagrams: four third-party formats, read and written. No format tells the size of the sensor.

    t64    13 bytes an event, little-endian: t uint64 us | x uint16 | y uint16 | on uint8              faery, our default
    t32    8 bytes, little-endian: t uint32 us | x uint16 | y * 2 + on uint16                          faery
    spif   words of 4 bytes, little-endian: bit 31 no time follows | x 30-16 | on 15 | y 14-0, then
           (bit 31 clear) t uint32 us. Without times an event gets the time of its arrival             SpiNNaker, AEStream
    jaer   big-endian: sequence uint32, then address uint32 | t uint32 us; addresses of a DVS128       jAER's AEUnicast

uint32 times wrap after 71.6 minutes. Of the times that they may mean, the decoder takes the nearest to the expected time. A
datagram with a length that does not fit the format is refused as a whole: its sender uses another format, and a part of an
event is no event.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from runtime.core.events.array import cast_times, empty_events, make_events
from runtime.core.events.formats.base import Losses
from runtime.core.events.formats.words import Decoder, Words

T64 = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "u1")])
T32 = np.dtype([("t", "<u4"), ("x", "<u2"), ("yon", "<u2")])
NO_TIME = 1 << 31


class TimeUnwrapper:
    """A converter of wrapping 32-bit event times [N] to int64 [N], by the time that is expected next.

    Times are right within 35 minutes of the expected one. The caller may set `expected_us`: then no wrong or late
    datagram changes the meaning of the next. Where it is None, the last time of the call before is expected. (The
    unwrapper of files counts steps back instead.)
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
    """A decoder of the UDP datagrams of one sender into events; invalid events are counted in the losses.

    After `feed`, `ends` holds the end of each datagram's events in the returned array. `lost` counts the datagrams
    that are missing in the sequence, where the format has sequence numbers.
    """

    header = 0  # bytes before the events of each datagram
    unit = 1  # bytes of the events are a multiple of this
    sensor: tuple[int, int] | None = None
    upright = "identity"

    def __init__(self, losses: Losses) -> None:
        self.losses = losses
        self.lost = 0
        self.ends: np.ndarray = np.zeros(0, np.int64)
        self.unwrap = TimeUnwrapper()

    def fits(self, size: int) -> bool:
        return size > self.header and (size - self.header) % self.unit == 0

    def feed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> np.ndarray:
        """Decode consecutive UDP datagrams, uint8 [bytes], to events [N].

        `ends` is the byte offset of each datagram's end, `arrived_us` its time of arrival in microseconds.
        """
        raise NotImplementedError

    def _join_datagrams(self, datagrams: list[np.ndarray]) -> np.ndarray:
        self.ends = np.cumsum([len(events) for events in datagrams])
        return np.concatenate([empty_events(), *datagrams])


class T64Decoder(DatagramDecoder):
    unit = T64.itemsize

    def feed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> np.ndarray:
        """Decode UDP datagrams of the format t64 (64-bit event times), uint8 [bytes], to events [N]."""
        raw = data.view(T64)
        good = raw["on"] <= 1
        self.ends = np.asarray(ends) // self.unit
        if not good.all():
            self.ends = np.cumsum(good)[self.ends - 1]
            self.losses.add(int(len(good) - good.sum()), "with a polarity that is neither 0 nor 1")
            raw = raw[good]
        return make_events(cast_times(raw["t"]), raw["x"], raw["y"], raw["on"])


class T32Decoder(DatagramDecoder):
    unit = T32.itemsize

    def feed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> np.ndarray:
        """Decode UDP datagrams of the format t32 (32-bit event times), uint8 [bytes], to events [N]."""
        raw = data.view(T32)
        self.ends = np.asarray(ends) // self.unit
        return make_events(self.unwrap(raw["t"]), raw["x"], raw["yon"] >> 1, (raw["yon"] & 1).astype(bool))


class SpifDecoder(DatagramDecoder):
    unit = 4

    def feed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> np.ndarray:
        """Decode UDP datagrams of the SpiNNaker format spif, uint8 [bytes], to events [N]."""
        datagrams = zip(_split_words(data.view("<u4"), ends), arrived_us, strict=True)
        return self._join_datagrams([self._decode_words(words, now_us) for words, now_us in datagrams])

    def _decode_words(self, words: np.ndarray, now_us: int) -> np.ndarray:
        timeless = words >= NO_TIME
        if timeless.all():
            t = np.full(len(words), now_us, np.int64)
        elif len(words) % 2 == 0 and not timeless[0::2].any():
            t, words = self.unwrap(words[1::2]), words[0::2]
        else:
            t, words = self._decode_mixed(words, now_us)
        return make_events(t, (words >> 16) & 0x7FFF, words & 0x7FFF, ((words >> 15) & 1).astype(bool))

    def _decode_mixed(self, words: np.ndarray, now_us: int) -> tuple[np.ndarray, np.ndarray]:
        """Decode a spif datagram that mixes events with and without a time: times int64 [N], event words [N].

        The start of an event depends on all before it, so this loop is in Python. It does nothing else, since anybody
        may send 16,000 words.
        """
        timeless = (words >= NO_TIME).tolist()
        begins, position = [], 0
        while position < len(words):
            begins.append(position)
            position += 1 if timeless[position] else 2
        if position > len(words):
            self.losses.add(1, "whose time is missing at the end of the datagram")
            begins.pop()
        event_words = words[begins]
        t_us, timed = np.full(len(event_words), now_us, np.int64), event_words < NO_TIME
        t_us[timed] = self.unwrap(words[np.array(begins, np.int64)[timed] + 1])
        return t_us, event_words


class JaerDecoder(DatagramDecoder):
    header, unit = 4, 8
    sensor = (128, 128)
    upright = "rotate180"

    def __init__(self, losses: Losses) -> None:
        super().__init__(losses)
        self._next: int | None = None
        self._words = Decoder(Words.AEDAT2)

    def feed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> np.ndarray:
        """Decode UDP datagrams of the program jAER, uint8 [bytes], to events [N]."""
        datagrams = []
        for words in _split_words(data.view(">u4"), ends):
            sequence = int(words[0])
            if self._next is not None:
                ahead = (sequence - self._next) & 0xFFFFFFFF
                if ahead < 1 << 31:  # otherwise a datagram came late, or its sender restarted
                    self.lost += ahead
            self._next = (sequence + 1) & 0xFFFFFFFF
            datagrams.append(self._decode_words(words[1:].reshape(-1, 2)))
        return self._join_datagrams(datagrams)

    def _decode_words(self, words: np.ndarray) -> np.ndarray:
        """Decode the words [N, 2] of one datagram of the program jAER to events [N].

        The decoder of AEDAT 2.0 gets the index of each event as its time; the real times are put in afterwards.
        """
        t_us, indexed = self.unwrap(words[:, 1]), words.copy()
        indexed[:, 1] = np.arange(len(words))
        events = self._words.feed(indexed, self.losses)
        events["t"] = t_us[events["t"]]
        return events


def _split_words(words: np.ndarray, ends: list[int]) -> list[np.ndarray]:
    """Split an array of 4-byte words into the words of each datagram; `ends` counts bytes."""
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
class DatagramFormat:
    """A format of UDP datagrams with events: its decoder, its encoder, and the largest sensor (width, height)."""

    decoder: Callable[[Losses], DatagramDecoder]
    encode: Callable[[np.ndarray], np.ndarray]
    largest: tuple[int, int]
    key: tuple[int, int, str]


DATAGRAM_FORMATS: dict[str, DatagramFormat] = {
    "t64": DatagramFormat(T64Decoder, _encode_t64, (65536, 65536), (0, 8, "little")),
    "t32": DatagramFormat(T32Decoder, _encode_t32, (65536, 32768), (0, 4, "little")),
    "spif": DatagramFormat(SpifDecoder, _encode_spif, (32768, 32768), (4, 4, "little")),
    "jaer": DatagramFormat(JaerDecoder, _encode_jaer, (128, 128), (0, 4, "big")),
}


def encode_datagrams(events: np.ndarray, form: str, count: int, sequence: int = 0) -> Iterator[bytes]:
    """Encode events [N] as UDP datagrams of `count` events each, in the format `form`.

    `sequence` is the number of the first datagram (jaer).
    """
    wire = DATAGRAM_FORMATS[form]
    for number, begin in enumerate(range(0, len(events), count)):
        body = wire.encode(events[begin : begin + count]).tobytes()
        if form == "jaer":
            body = ((sequence + number) & 0xFFFFFFFF).to_bytes(4, "big") + body
        yield body
