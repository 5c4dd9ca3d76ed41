"""The command `plif stream`: from events to decisions.

In Python: Model.stream, with observers that record and show (runtime/observers).
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Annotated

from runtime.core.base.declared import OpenOptions
from runtime.core.base.options import Argument
from runtime.core.cli.output import Output, import_pytorch, open_model, print_engine_choice, print_json
from runtime.core.observers import ExtensibleOptions, find_recorder
from runtime.core.parts import load_from_parts
from runtime.core.stream.options import StreamOptions


class WatchOptions(ExtensibleOptions, by="stream"):
    """The options of the observers that watch a stream."""


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
    options: StreamOptions,
    watch_options: WatchOptions,
    opening: OpenOptions,
    output: Output,
) -> None:
    """Stream events step by step and print decisions."""
    from runtime.core.cli.signals import StreamSignals
    from runtime.core.stream.observe import Observer

    import_pytorch(artifact, opening)
    with StreamSignals() as signals, ExitStack() as stack:
        observers: list[Observer] = []
        # each observer is closed if the next one cannot be created
        for part, values in watch_options.select_observers("stream"):
            for observer in part.load("hear")(output.as_json, **values):
                stack.callback(observer.close)
                observers.append(observer)
        recorder = find_recorder(*sources) if len(sources) == 1 else None
        resumed_engine = None if recorder is None else recorder.load("replay:recorded_engine")(*sources)
        model = open_model(artifact, opening, resumed_engine, rates=any(entry.rates for entry in observers))
        running = model.stream(sources, **vars(options), observers=observers)
        print_engine_choice(model)
        several = len(running.names) > 1
        signals.end_gracefully(running.controls.end)
        try:
            for decision in running:
                if output.as_json:
                    print_json(decision.to_dict(source=several), compact=True)
        except OSError:
            if not signals.stop_requested:  # SIGHUP: the output is gone
                raise
        finally:
            signals.ignore()
            running.close()
            with suppress(OSError) if signals.stop_requested else nullcontext():  # the terminal may be closed
                summary = running.summary()
                if output.as_json:
                    print_json({"summary": summary}, compact=True)
                elif print_summary := load_from_parts("observers", "print_summary"):
                    print_summary(
                        summary, {stream.name: stream.frames.framer.sampling_note for stream in running.streams}
                    )
    if signals.stop_requested:
        raise KeyboardInterrupt
