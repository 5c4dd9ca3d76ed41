"""What a recording is: `plif info RECORDING`, and whether it fits a network: `--for MODEL`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core.base.declared import SENSOR_FROM
from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from runtime.core.events.fit import UNLIKE, Fate, in_words, likeness
from runtime.core.events.frame import COLUMNS, ROWS, drawn
from runtime.core.events.framing import framing_of
from runtime.core.model.card import RANGES, read_card
from runtime.core.stream.source_framer import SourceFramer

TURNED = {
    "identity": "as stored",
    "rotate180": "turned by 180 degrees",
    "rotate90": "turned by 90 degrees",
    "rotate270": "turned by 270 degrees",
    "flip_y": "flipped",
}
UP_FROM = {"asked": "as you said", "format": "as its format has it; if heads are elsewhere in this picture: --up"}


@dataclass(frozen=True)
class Described:
    """What `plif info RECORDING --json` prints.

    events, events_lost, sensor, sensor_from, polarity   as in Fate (runtime/core/events/fit.py), whose duration_us is duration_s
    rate     events a second, None where all have one time
    upright  how the stored picture becomes upright, one of UPRIGHT; upright_from: "asked" or, as its format has it, "format"
    picture  all events, upright, as lines of text of which a character is twice as high as wide
    fit      as Fit gives it, of `model`, and beside its `trained_on` what is `seen` here in its framing, and which pixels are
             `shown`: "one pixel of 14", or "" for all; None without a model
    """

    recording: str
    format: str
    sensor: tuple[int, int]
    sensor_from: str
    events: int
    events_lost: int
    duration_s: float
    rate: float | None
    polarity: float | None
    upright: str
    upright_from: str
    picture: list[str]
    notes: list[str]
    fit: dict[str, Any] | None

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def describe(
    recording: str,
    model: Path | None = None,
    *,
    sensor: tuple[int, int] | None = None,
    csv: str | None = None,
    up: str | None = None,
) -> Described:
    """Reads a recording, or a simulated one that ends, from its beginning to its end.

    model            a model.pt or an artifact with which it is compared
    sensor, csv, up  what the recording does not say (runtime.core.events.open_source)
    Raises PlifError for what is no recording, for a live source, and for a model that takes no events.
    """
    card = None if model is None else read_card(model)
    trained = None if card is None or "sensor" not in card else (card["sensor"][0], card["sensor"][1])
    source = open_source(recording, asked=sensor, csv=csv, trained=trained, up=up)
    if source.live or source.endless:
        raise PlifError(
            f"{recording}: has no end, and info reads to the end; record it first: plif stream MODEL {recording} --record DIR"
        )
    width, height = source.sensor[:: -1 if source.upright in ("rotate90", "rotate270") else 1]
    columns = max(1, min(COLUMNS, width, round(2 * ROWS * width / height)))
    rows = max(1, min(ROWS, round(columns * height / width / 2)))
    whole = SourceFramer(source, "count:T=1,orientation=upright", (2, rows, columns))
    counts, duration_us = np.zeros((2, rows, columns)), 0
    for frame in whole:
        counts += frame.x
        duration_us = frame.t_end_us - frame.t_start_us
    events, lost = whole.account.events_in, whole.account.invalid + whole.account.late
    on = float(counts[1].sum() / counts.sum()) if counts.any() else None
    fit = None
    if card is not None:
        framing = framing_of(card)
        if framing is None:
            raise PlifError(f"{model}: takes still images, not events")
        seen = _seen(SourceFramer(source, framing, tuple(card["input"]["shape"])), lost, on, duration_us)
        judged, trained_on = likeness(card, framing), card.get("trained_on", {})
        if judged is None:
            raise PlifError(f"--for {model}: no part here compares recordings with what a network was trained on")
        judged.add(recording, seen)
        shape = card["input"]["shape"]
        numbers = {"size": list(seen.sensor), **seen.numbers(shape)}
        size = trained_on.get("size", card.get("sensor"))
        said = {"size": size, **{name: trained_on[name] for name in RANGES if name in trained_on}}
        shown = framing.shown(source.sensor, (shape[0], shape[1], shape[2]))
        fit = {"model": str(model), **judged.to_dict(), "seen": numbers, "trained_on": said, "shown": shown}
    return Described(
        recording=recording,
        format=source.format,
        sensor=source.sensor,
        sensor_from=source.sensor_from,
        events=events,
        events_lost=lost,
        duration_s=duration_us / 1e6,
        rate=1e6 * events / duration_us if duration_us > 0 else None,
        polarity=on,
        upright=source.upright,
        upright_from="asked" if source.up_said else "format",
        picture=drawn(counts.sum(0)),
        notes=whole.notes,
        fit=fit,
    )


def _seen(frames: SourceFramer, lost: int, on: float | None, duration_us: int) -> Fate:
    """All frames of a recording, of which the rest is known."""
    count = used = 0
    for frame in frames:
        count, used = count + frame.merged, used + frame.events
    source, account = frames.source, frames.account
    seen = (source.sensor, source.sensor_from, count, on, duration_us, account.not_shown)
    return Fate(account.events_in, used, lost, *seen)


def rows_of(found: Described) -> list[tuple[str, str]]:
    """A recording for reading: what it is, and whether it fits."""
    rows = [
        ("format", found.format),
        ("sensor", f"{found.sensor[0]}x{found.sensor[1]}, {SENSOR_FROM[found.sensor_from]}"),
        ("events", f"{found.events}, of which {found.events_lost} cannot be used"),
        ("duration", f"{found.duration_s:.6g} s"),
        ("rate", "-" if found.rate is None else in_words("rate", found.rate)),
        ("polarity", "-" if found.polarity is None else in_words("polarity", found.polarity)),
        ("upright", f"{TURNED[found.upright]}, {UP_FROM[found.upright_from]}"),
    ]
    if (fit := found.fit) is not None:
        said = fit["trained_on"]
        if fit["shown"]:
            rows.append(("for sensor", f"shown: {fit['shown']}"))
        for name in RANGES:
            if name in said:
                seen = in_words(name, fit["seen"][name]) if name in fit["seen"] else "-"
                rows.append((f"for {name}", f"{seen}; trained on {in_words(name, *said[name])}"))
        verdict = {
            True: "fits",
            False: f"{UNLIKE}: {'; '.join(fit['why'])}",
            None: "does not say what it was trained on",
        }
        rows.append(("fit", f"{fit['model']}: {verdict[fit['fits']]}"))
    return rows
