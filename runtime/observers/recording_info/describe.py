"""The description of a recording for `plif info RECORDING`, and its comparison with a network: `--for MODEL`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core.base.declared import SENSOR_FROM
from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from runtime.core.events.fit import UNLIKE_TRAINING, EventOutcome, format_statistic, load_domain_monitor
from runtime.core.events.frame import COLUMNS, ROWS, render_text
from runtime.core.events.framing import resolve_framing
from runtime.core.model.card import RANGES, read_card
from runtime.core.stream.source_framer import SourceFramer

ORIENTATION_TEXTS = {
    "identity": "as stored",
    "rotate180": "turned by 180 degrees",
    "rotate90": "turned by 90 degrees",
    "rotate270": "turned by 270 degrees",
    "flip_y": "flipped",
}
ORIENTATION_SOURCES = {
    "asked": "as you said",
    "format": "as its format has it; if heads are elsewhere in this picture: --up",
}


@dataclass(frozen=True)
class RecordingInfo:
    """The description of a recording of events: the content of `plif info RECORDING --json`.

    events, events_lost, sensor, sensor_from, polarity   as in runtime/core/events/fit.py; its duration_us is
                                                         duration_s here
    rate     events a second, None if all events have the same time
    upright  the orientation of the stored picture, one of UPRIGHT; upright_from: "asked" or, by its format, "format"
    picture  all events, upright, as lines of text; a character is twice as high as wide
    fit      the result of DomainCheck for `model`, with its `trained_on`, the values `seen` here in its framing, and
             the pixels `shown`: "one pixel of 14", or "" for all; None without a model
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


def describe_recording(
    recording: str,
    model: Path | None = None,
    *,
    sensor: tuple[int, int] | None = None,
    csv: str | None = None,
    up: str | None = None,
) -> RecordingInfo:
    """Read a recording of events, or a simulated one that ends, completely, and return its description.

    model            a model.pt or an artifact to compare with
    sensor, csv, up  facts that the recording lacks (runtime.core.events.open_source)

    Raises PlifError for a file that is no recording, for a live source, and for a model that takes no events.
    """
    card = None if model is None else read_card(model)
    trained = None if card is None or "sensor" not in card else (card["sensor"][0], card["sensor"][1])
    source = open_source(recording, user_sensor=sensor, csv=csv, trained=trained, up=up)
    if source.live or source.endless:
        raise PlifError(
            f"{recording}: has no end, and info reads to the end; record it first: plif stream MODEL {recording} --record DIR"
        )
    width, height = source.sensor[:: -1 if source.upright in ("rotate90", "rotate270") else 1]
    columns = max(1, min(COLUMNS, width, round(2 * ROWS * width / height)))
    rows = max(1, min(ROWS, round(columns * height / width / 2)))
    frames = SourceFramer(source, "count:T=1,orientation=upright", (2, rows, columns))
    counts, duration_us = np.zeros((2, rows, columns)), 0
    for frame in frames:
        counts += frame.x
        duration_us = frame.t_end_us - frame.t_start_us
    events, lost = frames.account.events_in, frames.account.invalid + frames.account.late
    on = float(counts[1].sum() / counts.sum()) if counts.any() else None
    fit = None
    if card is not None:
        framing = resolve_framing(card)
        if framing is None:
            raise PlifError(f"{model}: takes still images, not events")
        outcome = _count_events(SourceFramer(source, framing, tuple(card["input"]["shape"])), lost, on, duration_us)
        check, trained_on = load_domain_monitor(card, framing), card.get("trained_on", {})
        if check is None:
            raise PlifError(f"--for {model}: no part here compares recordings with what a network was trained on")
        check.add(recording, outcome)
        shape = card["input"]["shape"]
        numbers = {"size": list(outcome.sensor), **outcome.compute_statistics(shape)}
        size = trained_on.get("size", card.get("sensor"))
        reference = {"size": size, **{name: trained_on[name] for name in RANGES if name in trained_on}}
        shown = framing.describe_sampling(source.sensor, (shape[0], shape[1], shape[2]))
        fit = {"model": str(model), **check.to_dict(), "seen": numbers, "trained_on": reference, "shown": shown}
    return RecordingInfo(
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
        upright_from="asked" if source.has_user_orientation else "format",
        picture=render_text(counts.sum(0)),
        notes=frames.notes,
        fit=fit,
    )


def _count_events(frames: SourceFramer, lost: int, on: float | None, duration_us: int) -> EventOutcome:
    """Count the frames and events of a recording, and return how many events were used or lost."""
    count = used = 0
    for frame in frames:
        count, used = count + frame.merged, used + frame.events
    source, account = frames.source, frames.account
    facts = (source.sensor, source.sensor_from, count, on, duration_us, account.not_shown)
    return EventOutcome(account.events_in, used, lost, *facts)


def info_rows(info: RecordingInfo) -> list[tuple[str, str]]:
    """Return the description of a recording as (name, text) rows for the terminal."""
    rows = [
        ("format", info.format),
        ("sensor", f"{info.sensor[0]}x{info.sensor[1]}, {SENSOR_FROM[info.sensor_from]}"),
        ("events", f"{info.events}, of which {info.events_lost} cannot be used"),
        ("duration", f"{info.duration_s:.6g} s"),
        ("rate", "-" if info.rate is None else format_statistic("rate", info.rate)),
        ("polarity", "-" if info.polarity is None else format_statistic("polarity", info.polarity)),
        ("upright", f"{ORIENTATION_TEXTS[info.upright]}, {ORIENTATION_SOURCES[info.upright_from]}"),
    ]
    if (fit := info.fit) is not None:
        reference = fit["trained_on"]
        if fit["shown"]:
            rows.append(("for sensor", f"shown: {fit['shown']}"))
        for name in RANGES:
            if name in reference:
                value = format_statistic(name, fit["seen"][name]) if name in fit["seen"] else "-"
                rows.append((f"for {name}", f"{value}; trained on {format_statistic(name, *reference[name])}"))
        verdict = {
            True: "fits",
            False: f"{UNLIKE_TRAINING}: {'; '.join(fit['why'])}",
            None: "does not say what it was trained on",
        }
        rows.append(("fit", f"{fit['model']}: {verdict[fit['fits']]}"))
    return rows
