"""What became of a stream, for a person."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.core.base.declared import SENSOR_FROM
from runtime.core.base.text import say
from runtime.core.events.lines import StreamSummary


def print_summary(summary: StreamSummary, shown: Mapping[str, str]) -> None:
    """shown: of each source, which of its pixels are."""
    for name, one in summary.get("sources", {}).items():
        size = f"{one['sensor'][0]}x{one['sensor'][1]} {SENSOR_FROM[one['sensor_from']]}{_shown(shown[name])}"
        say(f"{name}: {one['label'] or 'not sure'}, {_account(one)}, {one['frames']} frames, {size}")
    if "sources" not in summary:
        say(f"answer    {summary['label'] or 'not sure'}")
    say(f"events    {_account(summary)}")
    if "sensor" in summary:
        (which,) = shown.values()
        say(
            f"sensor    {summary['sensor'][0]}x{summary['sensor'][1]} ({SENSOR_FROM[summary['sensor_from']]}){_shown(which)}"
        )
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


def _shown(which: str) -> str:
    return f"; shown: {which}" if which else ""


def _account(summary: Mapping[str, object]) -> str:
    hidden = f" ({summary['events_not_shown']} not shown)" if summary["events_not_shown"] else ""
    counts = ", ".join(
        f"{summary['events_' + key]} {key}{hidden if key == 'filtered' else ''}"
        for key in ("used", "filtered", "late", "invalid", "dropped")
    )
    return f"{summary['events_in']} = {counts}"
