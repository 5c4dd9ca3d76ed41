"""A session of libplif with filters decides what `plif stream --filter` decides, however its events are cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.base.errors import PlifError
from runtime.core.events import make_events, write_nmnist
from tests.libplif import CRecording, CSession, Handle, Said
from tests.networks import digits_network

FILTERS = ("hot:40ms,refractory:2ms,background:20ms,flip:x", "roi:3:2:30:31,down:2", "swap,refractory:5ms")
FRAMINGS = ("duration:5ms", "duration:30ms,every=10ms", "events:n=40,max=9ms", "count:T=8", "time:T=7")


@pytest.fixture(scope="module")
def digits_plif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(digits_network(), tmp_path_factory.mktemp("plif") / "m.plif", to="plif", verify=False).path


def events_of(seed: int) -> np.ndarray:
    """Noise, a few pixels that fire all the time, a pause, and a step back."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 300_000, 4000))
    t[2000:] += 700_000
    t[3000] -= 2_000
    x, y = rng.integers(0, 34, (2, 4000))
    hot = rng.random(4000) < 0.3
    x[hot], y[hot] = rng.integers(8, 10, hot.sum()), 20
    return make_events(t, x, y, rng.random(4000) < 0.5)


def in_pieces(session: CSession, events: np.ndarray, rng: np.random.Generator) -> Iterator[Said]:
    for part in np.split(events, np.sort(rng.integers(0, len(events), 12))):
        yield from session.feed(part)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("filters", FILTERS)
def test_decisions_and_the_account_are_those_of_plif_stream(
    digits_plif: Path, tmp_path: Path, framing: str, filters: str
) -> None:
    rng, events, path = np.random.default_rng(7), events_of(len(framing)), tmp_path / "a.bin"
    write_nmnist(path, events)
    run = runtime.load(digits_plif).stream(str(path), framing=framing, filters=filters, sensor=(34, 34))
    expected = [(d.t_us, d.step, d.label, d.score, [float(v) for v in d.votes]) for d in run]
    handle, read = Handle(digits_plif), CRecording(path)
    extent, stored = read.describe(filters), read.events()
    options: dict[str, Any] = {name: getattr(extent, name) for name in ("total_events", "first_us", "last_us")}
    whole, parts = (CSession(handle, framing=framing, filter=filters, **options) for _ in range(2))
    assert [*whole.feed(stored), *whole.finish()] == expected and len(expected) > 4
    assert [*in_pieces(parts, stored, rng), *parts.finish()] == expected
    told = {name.removeprefix("events_"): n for name, n in run.summary().items() if name.startswith("events_")}
    assert whole.account() == parts.account() == {
        "events_in": told.pop("in"), **{k: told[k] for k in told if k != "dropped"}
    }  # fmt: skip
    assert told["filtered"] > 100


def test_another_session_goes_on_between_two_frames_of_one_call(digits_plif: Path) -> None:
    """Events that were filtered, and wait for the next frame, are in the snapshot: no filter sees them twice."""
    events, handle = events_of(3), Handle(digits_plif)
    options: dict[str, Any] = {"framing": "duration:5ms", "filter": FILTERS[0], "sensor_width": 34, "sensor_height": 34}
    whole, first, second = (CSession(handle, **options) for _ in range(3))
    expected = [*whole.feed(events), *whole.finish()]
    said, used = [], 0
    for decision in first.feed(events):
        said.append(decision)
        if len(said) == 5:
            break
    used = first.used
    second.restore(first.snapshot())
    said += [*second.feed(events[used:]), *second.finish()]
    assert said == expected and second.account() == whole.account()
    other = CSession(handle, **{**options, "filter": "swap"})
    with pytest.raises(PlifError, match=r"with other options|expected \d+ of version"):
        other.restore(first.snapshot())


def test_a_filter_that_is_none_is_refused_with_the_session(digits_plif: Path) -> None:
    with pytest.raises(PlifError, match="--filter warm: 'warm' is no filter"):
        CSession(Handle(digits_plif), framing="duration:5ms", filter="warm")
