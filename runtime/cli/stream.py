"""`plif stream` and `plif send`: events to decisions, and a recording as datagrams.

In Python: Model.stream, with runtime.stream.options.StreamOptions, and runtime.events.send.send.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.base.text import say
from runtime.cli.output import Device, EngineName, Json, Sha256, Threads, print_json, say_engine, say_unnamed, show
from runtime.stream.options import StreamOptions, help_of

SENSOR_FROM = {
    "source": "as the source says",
    "recording": "as the recording says",
    "asked": "as you said",
    "model": "as in the network's training",
    "guess": "a guess",
}


def _option(name: str, *flags: str) -> Any:
    return typer.Option(*flags, help=help_of(name))


def stream(
    artifact: Annotated[Path, typer.Argument(help="An exported artifact in the step form.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            help="A recording, a folder of --record, - (CSV on stdin), "
            "udp://HOST:PORT?format=t64|t32|spif|jaer&sensor=WxH, tcp://HOST:PORT, "
            "usb://[SERIAL] or sim:digits?seed=1. Several run side by side on one engine."
        ),
    ],
    framing: Annotated[str | None, _option("framing")] = None,
    decide: Annotated[str | None, _option("decide")] = None,
    reset: Annotated[str | None, _option("reset")] = None,
    speed: Annotated[str, _option("speed")] = "max",
    filters: Annotated[str | None, _option("filters", "--filter")] = None,
    overload: Annotated[str | None, _option("overload")] = None,
    on_return: Annotated[str | None, _option("on_return")] = None,
    dashboard: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="A page in the browser that shows and steers it."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A new folder for events, decisions and metrics; naming it as SOURCE replays it."
        ),
    ] = None,
    state: Annotated[Path | None, _option("state")] = None,
    sensor: Annotated[str | None, _option("sensor")] = None,
    csv: Annotated[str | None, _option("csv")] = None,
    engine: EngineName = "auto",
    device: Device = None,
    sha256: Sha256 = None,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Streams events step by step and prints decisions."""
    from runtime.api import load
    from runtime.cli.signals import Ending
    from runtime.show.systemd import Systemd
    from runtime.show.terminal import Notes, Terminal
    from runtime.stream.observe import Observer
    from runtime.stream.replay import recorded_engine

    with Ending() as ending, ExitStack() as stack:
        shown = Notes() if as_json else Terminal()
        stack.callback(shown.close)
        observers: list[Observer] = [shown]
        if record is not None:
            from runtime.stream.record import Recorder

            observers.append(stack.enter_context(Recorder(record)))
        if dashboard is not None:
            from runtime.show.dashboard import Dashboard

            page = stack.enter_context(Dashboard(dashboard))
            observers.append(page)
        if engine == "auto":
            engine = recorded_engine(sources) or engine
        model = load(artifact, engine, threads=threads, device=device, rates=dashboard is not None, sha256=sha256)
        say_unnamed(model.card)
        options = StreamOptions(
            framing,
            decide,
            reset,
            speed,
            parse_sensor(sensor),
            filters,
            overload=overload,
            on_return=on_return,
            csv=csv,
            state=None if state is None else str(state),
        )
        if (service := Systemd.find()) is not None:
            observers.append(service)
        running = model.stream(sources, options, observers=observers)
        if dashboard is not None:
            if page.warning:
                say(f"plif: warning: {page.warning}", err=True)
            say(f"plif: dashboard at {page.address}", err=True)
        say_engine(model)
        several = len(running.names) > 1
        ending.gently(running.controls.end)
        try:
            for decision in running:
                if as_json:
                    print_json(decision.to_dict(source=several), compact=True)
        except OSError:
            if not ending.asked:  # SIGHUP: nothing can be printed any more
                raise
        finally:
            ending.closing()
            running.close()
            with suppress(OSError) if ending.asked else nullcontext():  # the terminal that was closed
                shown.close()
                summary = running.summary()
                if as_json:
                    print_json({"summary": summary}, compact=True)
                else:
                    _print_summary(summary)
    if ending.asked:
        raise KeyboardInterrupt


def send(
    source: Annotated[str, typer.Argument(help="A recording, or sim:digits?seed=1.")],
    target: Annotated[str, typer.Argument(help="udp://HOST:PORT?format=t64|t32|spif|jaer")],
    speed: Annotated[str, typer.Option(help="real: paced by the events' own time; max; or events a second.")] = "real",
    each: Annotated[int, typer.Option(min=1, help="Events in one datagram.")] = 100,
    sensor: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, for recordings that do not say.")] = None,
    csv: Annotated[str | None, _option("csv")] = None,
    as_json: Json = False,
) -> None:
    """Sends a recording as UDP datagrams: a camera for trying plif stream."""
    from runtime.events.send import send as run

    sent = run(source, target, speed=speed, each=each, sensor=parse_sensor(sensor), csv=csv)
    show({"events": sent}, lambda _: [f"sent {sent} events"], as_json)


def _print_summary(summary: dict[str, Any]) -> None:
    for name, one in summary.get("sources", {}).items():
        size = f"{one['sensor'][0]}x{one['sensor'][1]} {SENSOR_FROM[one['sensor_from']]}"
        say(f"{name}: {one['label'] or 'not sure'}, {_account(one)}, {one['frames']} frames, {size}")
    if "sources" not in summary:
        say(f"answer    {summary['label'] or 'not sure'}")
    say(f"events    {_account(summary)}")
    if "sensor" in summary:
        say(f"sensor    {summary['sensor'][0]}x{summary['sensor'][1]} ({SENSOR_FROM[summary['sensor_from']]})")
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


def _account(summary: dict[str, Any]) -> str:
    counts = ", ".join(
        f"{summary['events_' + key]} {key}" for key in ("used", "filtered", "late", "invalid", "dropped")
    )
    return f"{summary['events_in']} = {counts}"


def parse_sensor(text: str | None) -> tuple[int, int] | None:
    from runtime.events.size import parse_size

    return None if text is None else parse_size(f"--sensor {text}", text)
