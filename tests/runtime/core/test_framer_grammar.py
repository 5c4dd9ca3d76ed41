"""The one-line grammar of framing."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events.framing import Framing
from runtime.core.model.card import MAX_STEPS


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("count:T=20", "count:T=20"),
        ("count:T=20,value=count,polarity=stored,orientation=stored,resize=auto,shape=stretch", "count:T=20"),
        ("count:resize=sum,T=20", "count:T=20,resize=sum"),
        ("count:T=20,shape=square,resize=nearest", "count:T=20,resize=nearest,shape=square"),
        ("duration:10ms", "duration:10ms"),
        ("duration:10000us", "duration:10ms"),
        ("duration:0.5s", "duration:500ms"),
        ("duration:131.072ms,T=16,pad=repeat,value=binary", "duration:131072us,T=16,value=binary"),
        ("duration:2000ms,pad=zero,T=3", "duration:2s,T=3,pad=zero"),
        ("duration:40ms,every=10ms", "duration:40ms,every=10ms"),
        ("duration:40ms,T=9,value=binary,every=20000us", "duration:40ms,every=20ms,T=9,value=binary"),
        ("events:n=5000,max=20ms", "events:n=5000,max=20ms"),
        (" events:max=1s, n=1, resize=crop ,orientation=sj", "events:n=1,max=1s,orientation=sj,resize=crop"),
        ("count:polarity=swapped,T=1,orientation=paper", "count:T=1,polarity=swapped,orientation=paper"),
    ],
)
def test_text_is_read_and_printed_in_its_canonical_form(text: str, canonical: str) -> None:
    framing = Framing.parse(text)
    assert str(framing) == canonical
    assert Framing.parse(canonical) == framing


def test_whatever_is_printed_is_read_back_the_same() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        view = {
            "value": random.choice(["count", "binary"]),
            "polarity": random.choice(["stored", "swapped"]),
            "orientation": random.choice(["stored", "upright", "sj", "paper"]),
            "resize": random.choice(["auto", "nearest", "sum", "crop"]),
            "shape": random.choice(["stretch", "square"]),
        }
        view = {name: str(value) for name, value in view.items()}
        number, us = int(random.integers(1, 10**6)), int(random.integers(1, 10**7))
        T = int(random.integers(1, MAX_STEPS + 1))
        for framing in (
            Framing("count", T=T, **view),
            Framing("duration", duration_us=us, **view),
            Framing("duration", duration_us=2 * us, every_us=us, **view),
            Framing("duration", duration_us=us, T=T, pad=str(random.choice(["repeat", "zero"])), **view),
            Framing("events", n=number, max_us=us, **view),
        ):
            assert Framing.parse(str(framing)) == framing


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is no kind of framing"),
        (
            "frames:T=3",
            "'frames' is no kind of framing; expected count:T=20, duration:10ms, events:n=5000,max=20ms, time:T=16",
        ),
        ("count", "T= is missing"),
        ("count:", "T= is missing"),
        ("count:20", "'20' is no option of count"),
        ("count:T=0", "T='0' is not a whole number"),
        ("count:T=2.5", r"T='2.5' is not a whole number"),
        ("count:T=1099511627776", "T='1099511627776' is not a whole number from 1 to 4096"),
        ("duration:1us,T=4097", "T='4097' is not a whole number from 1 to 4096"),
        ("count:T=4,T=4", "'T' is given twice"),
        ("count:T=4,pad=zero", "'pad=zero' is no option of count"),
        ("count:T=4,value=rate", r"value='rate' is not known; expected value=count\|binary"),
        ("count:T=4,", "'' is no option of count"),
        ("duration", "the length of a frame must follow"),
        ("duration:T=4", "the length of a frame must follow"),
        ("duration:10", "'10', is not a time; expected a whole number of microseconds"),
        ("duration:10xs", "'10xs', is not a time"),
        ("duration:-1ms", "'-1ms', is not a time"),
        ("duration:0ms", "'0ms', is not a time"),
        ("duration:0.5us", "'0.5us', is not a time"),
        ("duration:10ms,pad=zero", "pad=zero needs T="),
        ("duration:10ms,every=3ms", "every= must divide the length of a frame into 2 to 100 parts"),
        ("duration:10ms,every=10ms", "every= must divide"),
        ("duration:10ms,every=20ms", "every= must divide"),
        ("duration:1010ms,every=10ms", "every= must divide"),
        ("duration:10ms,every=5", "every, '5', is not a time"),
        ("count:T=3,every=5ms", "'every=5ms' is no option of count"),
        ("events:n=5", "max= is missing"),
        ("events:max=5ms", "n= is missing"),
        ("events:n=5,max=5", "max, '5', is not a time"),
        ("events:n=5,max=5ms,T=3", "'T=3' is no option of events"),
    ],
)
def test_an_error_points_at_the_part_that_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(PlifError, match=reason) as caught:
        Framing.parse(text)
    assert repr(text) in str(caught.value) and "\n" not in str(caught.value)
