"""Events of any kind that a datagram can hold come back as they were: drawn by chance."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from runtime.core.events.array import empty_events
from runtime.core.events.formats.base import Losses
from runtime.sources.udp.datagrams import DATAGRAM_FORMATS, encode_datagrams
from tests.runtime.core.test_round_trips import EXAMPLES, events_of


@pytest.mark.parametrize("name", sorted(DATAGRAM_FORMATS))
def test_what_datagrams_hold_comes_back_in_any_grouping(name: str) -> None:
    rng = Random(0)  # the same in every run: CI finds nothing by luck
    for _ in range(EXAMPLES):
        events, each, together = events_of(name, rng), rng.randint(1, 9), rng.randint(1, 5)
        sent = list(encode_datagrams(events, name, each, rng.randrange(2**32)))
        losses = Losses()
        decoder = DATAGRAM_FORMATS[name].decoder(losses)
        assert all(decoder.fits(len(one)) for one in sent)
        parts = [empty_events()]
        for i in range(0, len(sent), together):
            some = sent[i : i + together]
            ends = np.cumsum([len(one) for one in some]).tolist()
            parts.append(decoder.feed(np.frombuffer(b"".join(some), np.uint8), ends, [0] * len(some)))
        assert np.concatenate(parts).tolist() == events.tolist()
        assert (losses.invalid, decoder.lost) == (0, 0)
