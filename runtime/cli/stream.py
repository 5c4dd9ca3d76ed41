"""`plif stream`: events to decisions.

In Python: Model.stream, whose observers record and show (runtime/observers).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from runtime.base.declared import SENSOR_FROM, Opening
from runtime.base.options import Argument
from runtime.base.text import say
from runtime.cli.output import Output, load_pytorch, open_model, print_json, say_engine
from runtime.core.observers import HeardOptions, recorder_of
from runtime.stream.options import StreamOptions

if TYPE_CHECKING:
    from runtime.events.lines import StreamSummary


class WatchOptions(HeardOptions, by="stream"):
    """Who watches a stream: in Python, observers."""


def stream(
    artifact: Annotated[Path, Argument("An exported artifact in the step form.")],
    sources: Annotated[
        list[str],
        Argument(
            "A recording, a folder of --record, - (CSV on stdin), "
            "udp://HOST:PORT?format=t64|t32|spif|jaer&sensor=WxH, tcp://HOST:PORT, "
            "usb://[SERIAL] or sim:digits?seed=1. Several run side by side on one engine."
        ),
    ],
    how: StreamOptions,
    watched: WatchOptions,
    opening: Opening,
    output: Output,
) -> None:
    """Streams events step by step and prints decisions."""
    from runtime.cli.signals import Ending
    from runtime.stream.observe import Observer

    load_pytorch(artifact, opening)
    with Ending() as ending, ExitStack() as stack:
        observers: list[Observer] = []
        for part, own in watched.hearers("stream"):  # one at a time: each is closed, where the next one cannot be made
            for observer in part.load("hear")(output.as_json, **own):
                stack.callback(observer.close)
                observers.append(observer)
        recorder = recorder_of(*sources) if len(sources) == 1 else None
        begun = None if recorder is None else recorder.load("replay:recorded_engine")(*sources)
        model = open_model(artifact, opening, begun, rates=any(each.rates for each in observers))
        running = model.stream(sources, **vars(how), observers=observers)
        say_engine(model)
        several = len(running.names) > 1
        ending.gently(running.controls.end)
        try:
            for decision in running:
                if output.as_json:
                    print_json(decision.to_dict(source=several), compact=True)
        except OSError:
            if not ending.asked:  # SIGHUP: nothing can be printed any more
                raise
        finally:
            ending.closing()
            running.close()
            with suppress(OSError) if ending.asked else nullcontext():  # the terminal that was closed
                summary = running.summary()
                if output.as_json:
                    print_json({"summary": summary}, compact=True)
                else:
                    _print_summary(summary, {stream.name: stream.frames.framer.shown for stream in running.streams})
    if ending.asked:
        raise KeyboardInterrupt


def _print_summary(summary: StreamSummary, shown: Mapping[str, str]) -> None:
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
