"""The public interface: `load` opens an artifact as a Model, which makes sessions and streams.

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

from runtime.core.base.declared import EngineOptions, OpenOptions
from runtime.core.base.errors import PlifError
from runtime.core.base.files import hash_artifact
from runtime.core.base.options import with_fields
from runtime.core.engines.available import open_engine, preload_engine
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
def load(path: str | Path, engine: str = OpenOptions.engine, **options: Any) -> Model:
    """Open an artifact, or a model.pt with the torch engine, and return it as a Model.

    engine           auto: the fastest that opens the artifact unchanged (docs/engines.md; model.engine_choice
                     says why); or a name: event, onnxruntime, or another registered one
    options          threads=, device=, sha256=, flush_denormals=, rates=: the fields of EngineOptions

    EngineOptions is in runtime/core/base/declared.py. Raises PlifError with one line for a file that is no usable
    artifact, and for an artifact that was changed since its export (runtime/core/model/digest.py). An artifact
    without a digest is opened with a warning.
    """
    path, chosen = Path(path), EngineOptions(**options)
    if chosen.sha256 is not None:
        require_sha256(path, chosen.sha256)
    card = read_card(path)
    require_unchanged(path, card, meanwhile=lambda: preload_engine(engine, path))
    return open_unverified(path, card, engine, chosen)


def open_unverified(path: Path, card: Card, engine: str, options: EngineOptions) -> Model:
    """Open an artifact without checking the digest (hash of its contents) that its card holds.

    `plif verify` uses it, since it must judge changed artifacts, too.
    """
    opened, choice = open_engine(engine, path, card, options)
    return Model(path, opened.card, opened, options.rates and opened.counts_rates, choice, options)


def require_sha256(path: Path, expected: str) -> None:
    """Refuse a file with another SHA-256 than the expected one."""
    _, actual = hash_artifact(path)
    if actual != expected.lower():
        raise PlifError(f"{path}: SHA-256 is {actual}; expected {expected}: the file is another one, or was changed")


@dataclass(frozen=True, repr=False)
class Model(OpenModel):
    """An artifact that `runtime.load` opened; it has no state, so many sessions and streams may share it.

        model = runtime.load("gesture.onnx")
        session = model.session(streams=2)               # the state of two inputs, stepped together
        y = session.step(x)                              # x float32 [2, C, H, W] -> y float32 [2, classes]
        for decision in model.stream("recording.raw"):   # or step by step, from events to decisions
            print(decision.t_us, decision.label)

    path           the artifact
    card           its metadata: graph, classes, states, framing, precision, proof (docs, `plif info`)
    engine         the engine that runs it (runtime.engines)
    counts_rates   whether sessions count spikes: load(..., rates=True)
    engine_choice  the name of the engine, and the reason for the choice
    options        the options of `load`
    """

    options: EngineOptions = field(default_factory=EngineOptions)

    def session(self, streams: int = 1) -> Session:
        """Return a session of a model, from reset: the membranes of `streams` inputs, which are stepped together."""
        return open_session(self, streams)

    @with_fields(StreamOptions)
    def stream(
        self, source: str | Source | Sequence[str | Source], *, observers: Sequence[Observer] = (), **options: Any
    ) -> Run:
        """Return a run of a model: an iterator over the decisions about one source of events or several; use it once.

        source     a recording, a folder of --record, "-", udp://..., tcp://..., usb://..., sim:..., a Source,
                   or a list of these
        observers  objects that receive packets, frames, decisions and the summary (runtime.core.stream.observe)
        options    framing=, decide=, reset=, ...: the fields of StreamOptions (runtime/core/stream/options.py)
        """
        from runtime.core.stream.run import Run  # here: a program that only steps loads no sources

        return Run(self, source, StreamOptions(**options), observers)
