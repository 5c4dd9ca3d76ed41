"""`plif stream`: events to decisions.

In Python: Model.stream, whose observers record and show (runtime/observers).
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Annotated

from runtime.core.base.declared import Opening
from runtime.core.base.options import Argument
from runtime.core.cli.output import Output, load_pytorch, open_model, print_json, say_engine
from runtime.core.observers import HeardOptions, recorder_of
from runtime.core.parts import given_by_parts
from runtime.core.stream.options import StreamOptions


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
    from runtime.core.cli.signals import Ending
    from runtime.core.stream.observe import Observer

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
                elif print_summary := given_by_parts("observers", "print_summary"):
                    print_summary(summary, {stream.name: stream.frames.framer.shown for stream in running.streams})
    if ending.asked:
        raise KeyboardInterrupt
