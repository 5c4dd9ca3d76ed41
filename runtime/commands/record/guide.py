"""Recording of one's own gestures: which one to make is said, and each is written as soon as it was made.

    OUT/train/CLASS/001.aedat, ..., OUT/test/CLASS/008.aedat, ...       what `folder:OUT` reads

Every round has each class once, in an order of its own. The last quarter of the rounds is the test: it comes later than what
trains, so a network that learned the light of the first minutes does worse there. A feed is timed by this machine's clock, a
recording or simulation by the times of its events. A gesture in which hardly a pixel fired is not kept, and made again once.
What was written stays: the same call goes on where it ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from runtime.commands.record.options import RecordingOptions
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.base.files import atomic_write, make_folder
from runtime.core.base.options import with_fields
from runtime.core.events.sources import Source, open_source
from runtime.formats.aedat31 import make_header, write_packets

LEAST_EVENTS_S = 200  # below, nobody moves before the camera
TEST_SHARE = 0.25
TICK_S = 0.02
ORDER_SEED = 0


class Take(NamedTuple):
    """One gesture to make: number (from 0) of all, class, round (from 1), and whether it is of the test."""

    number: int
    of: int
    label: str
    round: int
    split: str

    def path(self, out: Path) -> Path:
        return out / self.split / self.label / f"{self.round:03d}.aedat"


class Prompt(NamedTuple):
    """A prompt for the person: the gesture to make, and its phase.

    phase   "get ready", "go", "kept" or "too quiet";  events: of a gesture that ended
    """

    take: Take
    phase: str
    events: int = 0


def list_takes(classes: Sequence[str], rounds: int) -> list[Take]:
    """Return all gestures to make, in order."""
    rng, test_from = np.random.default_rng(ORDER_SEED), rounds - max(1, round(TEST_SHARE * rounds))
    order = [(turn, classes[k]) for turn in range(rounds) for k in rng.permutation(len(classes))]
    return [
        Take(number, len(order), label, turn + 1, "test" if turn >= test_from else "train")
        for number, (turn, label) in enumerate(order)
    ]


@with_fields(RecordingOptions)
def record(
    source: str | Source, *, tell: Callable[[Prompt], None] = lambda prompt: None, **options: Any
) -> dict[str, object]:
    """Record gestures that a person makes as `tell` asks for them, into folders by class; return what is there now.

    source     an address, a recording or an open Source
    tell       called when a gesture is to be made soon, now, and when it was kept or was too quiet
    options    out=, classes=, rounds=, seconds=, pause=, up=, sensor=, csv=: the fields of RecordingOptions (options.py)

    Raises PlifError where the source cannot be read or ends before the last gesture, CheckFailed where gestures were too
    quiet twice; what was recorded stays.
    """
    settings = RecordingOptions(**options)
    if not settings.classes:
        raise PlifError("--classes: expected the gestures to record, as in wave,clap,other")
    takes, out = list_takes(settings.classes, settings.rounds), settings.out
    missing = [take for take in takes if not take.path(out).exists()]
    quiet: list[Take] = []
    if missing:
        feed = open_source(source, user_sensor=settings.sensor, csv=settings.csv) if isinstance(source, str) else source
        if settings.up is not None:
            feed.set_orientation(settings.up)
        feed.tick_s = TICK_S
        try:
            quiet = _record_all(_TimedFeed(feed), missing, settings, tell)
        finally:
            feed.close()
    if quiet:
        first = quiet[0]
        raise CheckFailed(
            f"{out}: {len(quiet)} of {len(takes)} gestures had under {LEAST_EVENTS_S} events a second twice, first {first.label} "
            f"in round {first.round}: is the lens free, and somebody before it? The same command records them again"
        )
    return {
        "out": str(out),
        "classes": list(settings.classes),
        "train": sum(take.split == "train" for take in takes),
        "test": sum(take.split == "test" for take in takes),
        "recorded": len(missing),
    }


class _TimedFeed:
    """A source's packets with the time at which each is read, in seconds: of this machine, or of a recording's events."""

    def __init__(self, source: Source) -> None:
        self.source, self.now_s = source, 0.0
        self._packets = self._read()

    def _read(self) -> Iterator[np.ndarray]:
        for packet in self.source.packets():
            if self.source.live:
                self.now_s = time.monotonic()
            elif len(packet):
                self.now_s = int(packet["t"][-1]) / 1e6
            yield packet

    def read_for(self, seconds: float) -> tuple[list[np.ndarray], bool]:
        """Read so many seconds; return the packets, and whether the source went on for as long."""
        kept, until_s = list[np.ndarray](), None
        for packet in self._packets:
            until_s = self.now_s + seconds if until_s is None else until_s
            if len(packet):
                kept.append(packet.copy())
            if self.now_s >= until_s:
                return kept, True
        return kept, False


def _record_all(
    feed: _TimedFeed, takes: Sequence[Take], settings: RecordingOptions, tell: Callable[[Prompt], None]
) -> list[Take]:
    """Record takes in order, each that is too quiet again; return those that were too quiet twice."""
    quiet: list[Take] = []
    least = LEAST_EVENTS_S * settings.seconds
    for take in takes:
        for again in (False, True):
            tell(Prompt(take, "get ready"))
            _, goes_on = feed.read_for(settings.pause)
            if goes_on:
                tell(Prompt(take, "go"))
                packets, goes_on = feed.read_for(settings.seconds)
            if not goes_on:
                raise PlifError(
                    f"{feed.source.name}: ended before gesture {take.number + 1} of {take.of}, {take.label} in round "
                    f"{take.round}; what was recorded stays, and the same command goes on"
                )
            events = np.concatenate(packets) if packets else np.zeros(0)
            if len(events) >= least:
                _write(take, events, feed.source, settings.out)
                tell(Prompt(take, "kept", len(events)))
                break
            tell(Prompt(take, "too quiet", len(events)))
            if again:
                quiet.append(take)
    return quiet


def _write(take: Take, events: np.ndarray, source: Source, out: Path) -> None:
    """Write one gesture, its times from 0 on."""
    events = events[np.argsort(events["t"], kind="stable")]
    events["t"] -= events["t"][0]
    path = take.path(out)
    make_folder(path.parent)
    with atomic_write(path) as (part,), open(part, "wb") as file:
        file.write(make_header(source.sensor, source.upright))
        write_packets(file, events)
