"""libplif decodes EVT 3.0 as the specification does: any words, in pieces of any size, and a real recording."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from runtime.events.formats import evt
from runtime.events.formats.base import Losses
from runtime.events.formats.evt3 import Decoder
from tests.specification import evt3


def same(pieces: Iterable[np.ndarray]) -> Losses:
    """Decodes the pieces both ways, and compares after each."""
    ours, theirs, losses = Decoder(), evt3.Decoder(), Losses()
    for piece in pieces:
        events = [tuple(event) for word in piece.tolist() for event in theirs.word(word)]
        assert [(e["t"], e["x"], e["y"], e["p"]) for e in ours.feed(piece, losses)] == events
        assert ours.unknown == theirs.unknown and losses.invalid == sum(theirs.lost.values())
    losses.close("it")
    said = (f"it: {n} {'event' if n == 1 else 'events'} {why}: not used" for why, n in sorted(theirs.lost.items()))
    assert losses.notes == list(said)
    return losses


@pytest.mark.parametrize("seed", range(12))
def test_any_words_are_the_events_and_losses_that_the_specification_says(seed: int) -> None:
    random = np.random.default_rng(seed)
    words = random.integers(0, 1 << 16, 5000).astype("<u2")
    if seed % 2:  # mostly vectors and times, as a camera sends
        kind = random.choice([0, 2, 3, 4, 5, 6, 8], 5000, p=[0.05, 0.2, 0.05, 0.3, 0.2, 0.15, 0.05])
        words = (kind << 12 | words & 0xFFF).astype("<u2")
    ends = np.sort(random.integers(0, 5000, 20))
    assert same(np.split(words, ends)).invalid > 0


def test_the_clock_wraps_and_steps_back_in_a_real_recording_as_the_specification_says(shared_data: Path) -> None:
    path = shared_data / "recordings" / "gen41_1280x720_evt3.raw"
    words = np.frombuffer(path.read_bytes()[evt.read_sensor(path)[1] :], "<u2")
    assert same([words[:60_000]]).invalid == 0
