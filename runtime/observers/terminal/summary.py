"""The summary of a stream, as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.core.base.declared import SENSOR_FROM
from runtime.core.base.text import say
from runtime.core.events.lines import StreamSummary


def print_summary(summary: StreamSummary, shown: Mapping[str, str]) -> None:
    """Print the summary of a stream: answer, events, frames, latency and notes.

    shown: the pixels of each source that the framing shows, as text.
    """
    for name, source in summary.get("sources", {}).items():
        size = f"{source['sensor'][0]}x{source['sensor'][1]} {SENSOR_FROM[source['sensor_from']]}{_format_shown(shown[name])}"
        say(f"{name}: {source['label'] or 'not sure'}, {_format_account(source)}, {source['frames']} frames, {size}")
    if "sources" not in summary:
        say(f"answer    {summary['label'] or 'not sure'}")
    say(f"events    {_format_account(summary)}")
    if "sensor" in summary:
        (pixels,) = shown.values()
        width, height = summary["sensor"]
        say(f"sensor    {width}x{height} ({SENSOR_FROM[summary['sensor_from']]}){_format_shown(pixels)}")
    say(f"frames    {summary['frames']} ({summary['framing']})")
    if summary.get("frames_merged") or summary.get("frames_dropped"):
        say(f"overload  {summary['frames_merged']} frames merged, {summary['frames_dropped']} dropped")
    latency, lag = summary["latency_ms"], summary["lag_ms"]
    if latency["p50"] is not None:
        say(f"latency   p50 {latency['p50']:.3g} ms, p99 {latency['p99']:.3g} ms a step")
    if lag["p50"] is not None:
        say(f"lag       p50 {lag['p50']:.3g} ms, p99 {lag['p99']:.3g} ms behind the feed")
    for note in summary["notes"]:
        say(f"note: {note}", err=True)


def _format_shown(pixels: str) -> str:
    return f"; shown: {pixels}" if pixels else ""


def _format_account(summary: Mapping[str, object]) -> str:
    hidden = f" ({summary['events_not_shown']} not shown)" if summary["events_not_shown"] else ""
    counts = ", ".join(
        f"{summary['events_' + key]} {key}{hidden if key == 'filtered' else ''}"
        for key in ("used", "filtered", "late", "invalid", "dropped")
    )
    return f"{summary['events_in']} = {counts}"
