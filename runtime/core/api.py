"""The public face: an artifact -> Model, with sessions and streams.

model = runtime.load("model.onnx")
session = model.session(streams=1)
y = session.step(x)                              # x float32 [streams, C, H, W] -> y float32 [streams, classes]
for decision in model.stream("recording.raw"):
    print(decision.label)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.core.base.declared import EngineOptions, Opening
from runtime.core.base.errors import PlifError
from runtime.core.base.files import measure
from runtime.core.base.options import with_fields
from runtime.core.engines.available import load_code, open_engine
from runtime.core.engines.model import OpenModel
from runtime.core.engines.session import Session
from runtime.core.engines.unrolled import open_session
from runtime.core.model.card import Card, read_card
from runtime.core.model.digest import require_unchanged
from runtime.core.stream.options import StreamOptions

if TYPE_CHECKING:
    from runtime.core.events import Source
    from runtime.core.stream.observe import Observer
    from runtime.core.stream.run import Run


@with_fields(EngineOptions)
def load(path: str | Path, engine: str = Opening.engine, **options: Any) -> Model:
    """Opens an artifact (or, with the torch engine, a model.pt).

    engine           auto: the fastest that opens the artifact as it is (docs/engines.md; model.engine_choice says why);
                     or a name: event, onnxruntime, or another registered one
    options          threads=, device=, sha256=, flush_denormals=, rates=: the fields of EngineOptions
    (runtime/core/base/declared.py) Raises PlifError with one line for anything that is not a usable artifact, and for one that
    was changed since its export (runtime/core/model/digest.py). One without a digest is opened with a warning.
    """
    path, chosen = Path(path), EngineOptions(**options)
    if chosen.sha256 is not None:
        require_sha256(path, chosen.sha256)
    card = read_card(path)
    require_unchanged(path, card, meanwhile=lambda: load_code(engine, path))
    return open_as_it_is(path, card, engine, chosen)


def open_as_it_is(path: Path, card: Card, engine: str, options: EngineOptions) -> Model:
    """Opens an artifact whose digest was not compared: `plif verify` judges also what was changed since its export."""
    opened, choice = open_engine(engine, path, card, options)
    return Model(path, opened.card, opened, options.rates and opened.counts_rates, choice, options)


def require_sha256(path: Path, expected: str) -> None:
    """Raises PlifError where the file is another than the one that was verified."""
    _, found = measure(path)
    if found != expected.lower():
        raise PlifError(f"{path}: SHA-256 is {found}; expected {expected}. It is not the file that was verified")


@dataclass(frozen=True, repr=False)
class Model(OpenModel):
    """An artifact that `runtime.load` opened. It has no state: many sessions and streams may share it.

        model = runtime.load("gesture.onnx")
        session = model.session(streams=2)               # the state of two inputs, stepped side by side
        y = session.step(x)                              # x float32 [2, C, H, W] -> y float32 [2, classes]
        for decision in model.stream("recording.raw"):   # or step by step, from events to decisions
            print(decision.t_us, decision.label)

    path           the artifact
    card           what it is: graph, classes, states, framing, precision, proof (docs, `plif info`)
    engine         what runs it (runtime.engines)
    counts_rates   whether sessions count spikes: load(..., rates=True)
    engine_choice  which engine was taken, and why
    options        what it was opened with
    """

    options: EngineOptions = field(default_factory=EngineOptions)

    def session(self, streams: int = 1) -> Session:
        """A session of `streams` streams, from reset: their membranes, and step, run, reset, snapshot, restore."""
        return open_session(self, streams)

    @with_fields(StreamOptions)
    def stream(
        self, source: str | Source | Sequence[str | Source], *, observers: Sequence[Observer] = (), **options: Any
    ) -> Run:
        """Decisions about a source of events, or about several side by side; iterate over the result once.

        source     a recording, a folder of --record, "-", udp://..., tcp://..., usb://..., sim:..., a Source, or a list of these
        observers  who hears of packets, frames, decisions and the summary (runtime.core.stream.observe)
        options    framing=, decide=, reset=, ...: the fields of StreamOptions (runtime/core/stream/options.py)
        """
        from runtime.core.stream.run import Run  # here: a program that only steps loads no sources

        return Run(self, source, StreamOptions(**options), observers)
