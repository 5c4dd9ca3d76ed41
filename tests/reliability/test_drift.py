"""After half an hour without an end, a stream decides as well as in its first minute: the shipped model on drawn digits.

The same digits are shown at the beginning and at the end, and others in between, so that the two shares can differ by what the
stream has become and by nothing else. A digit counts as right when its label is shown longest while it is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.api import Model
from runtime.sources.sim.source import PERIOD_US, DigitSource
from tests.conftest import REPOSITORY
from tests.live import FedSource, balanced

FRAME_US = 30_000
# seconds in all, and in the first and the last part. A digit every 0.4 s, in 13 1/3 frames: parts are multiples of both.
LENGTHS = [pytest.param(60, 12, id="1min"), pytest.param(1800, 60, id="30min", marks=pytest.mark.large)]


class SameAtTheEnd(FedSource):
    """Digits; those of the last `part_s` seconds are those of the first."""

    waits = True  # it is read as fast as the network steps

    def __init__(self, seconds: int, part_s: int) -> None:
        super().__init__([])
        middle_s = seconds - 2 * part_s
        self.end_us = 1_000_000 * seconds
        self.parts = [(0, digits(17, part_s)), (part_s, digits(18, middle_s)), (part_s + middle_s, digits(17, part_s))]

    @property
    def truth(self) -> list[tuple[int, int, str]]:
        return [(s * 1_000_000 + a, s * 1_000_000 + b, label) for s, part in self.parts for a, b, label in part.truth]

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        self.begin(max_events)
        for start_s, part in self.parts:
            for packet in part.packets(max_events):
                moved = packet.copy()
                moved["t"] += 1_000_000 * start_s
                yield moved


def digits(seed: int, seconds: int) -> DigitSource:
    assert 1_000_000 * seconds % PERIOD_US == 0 and 1_000_000 * seconds % FRAME_US == 0
    return DigitSource(f"sim:digits?seed={seed}&seconds={seconds}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("drift") / "digits.onnx"
    return runtime.load(export(REPOSITORY / "models" / "nmnist-digits.pt", path, verify=False).path, threads=1)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("reset", ("never", "silence:80", "every:40/4"))
@pytest.mark.parametrize(("seconds", "part_s"), LENGTHS)
def test_the_last_digits_are_answered_as_well_as_the_first(
    model: Model, seconds: int, part_s: int, reset: str, record_property: Callable[[str, Any], None]
) -> None:
    source = SameAtTheEnd(seconds, part_s)
    running = model.stream(
        source, framing=f"duration:{FRAME_US // 1000}ms", decide="leak:120ms,margin=0.2", reset=reset
    )
    spans, shown = source.truth, [Counter[str]() for _ in source.truth]
    for decision in running:
        number = (decision.t_us - 1) // PERIOD_US
        if decision.label and number < len(spans) and decision.t_us <= spans[number][1]:
            shown[number][decision.label] += 1
    right = np.array([label in dict(c.most_common(1)) for (_, _, label), c in zip(spans, shown, strict=True)])
    n = 1_000_000 * part_s // PERIOD_US
    first, last = right[:n].mean(), right[-n:].mean()
    shares = [float(share) for share in (first, last, right.mean())]  # xdist sends plain numbers only
    record_property("right at first and at last", [n, *shares])
    assert first > 0.8 and abs(last - first) <= 0.01
    assert balanced(running.summary())
