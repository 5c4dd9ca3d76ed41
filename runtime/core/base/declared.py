"""The options that several commands have, and those of what lies below them; `plif --help` loads them without NumPy.

The others lie beside what they are of: runtime/core/stream/options.py, runtime/core/measure/options.py,
plif_export/core/options.py.
"""

from __future__ import annotations

from runtime.core.base.grammar import parse_size
from runtime.core.base.options import OptionRecord, option

SENSOR_FROM = {  # who says how large a sensor is, for a person
    "source": "as the source says",
    "recording": "as the recording says",
    "asked": "as you said",
    "model": "as in the network's training",
    "guess": "a guess",
}


def _size(where: str, value: object) -> object:
    """ "346x260" -> (346, 260)"""
    return parse_size(f"{where} {value}", value) if isinstance(value, str) else value


class Threads(OptionRecord):
    """What one engine may take of the processor."""

    threads: int | None = option("CPU threads; all when not given.", default=None, least=1)


class EngineOptions(Threads):
    """What an engine is opened with.

    sha256           of a folder what `plif export` said. A TensorRT engine is opened only with it, or with the report of its
                     export beside it
    flush_denormals  subnormal membranes become zero, in the engine alone; as the card says when not given. True is refused
                     where it says that the network notices
    rates            also count spikes, which is slower: session.rates then holds each layer's firing rate of the last step
    """

    device: str | None = option("cpu, cuda or cuda:N; what the engine is for when not given.", default=None)
    sha256: str | None = option("Refuse the artifact when its SHA-256 is another. An engine needs it.", default=None)
    flush_denormals: bool | None = None
    rates: bool = False


class Opening(EngineOptions):
    """The engine of an artifact, and what it is opened with."""

    engine: str = option(
        "auto (the fastest here), or one that plif info lists: event, onnxruntime, openvino, torch, ...", default="auto"
    )


class ReadingOptions(OptionRecord):
    """What a recording is that does not say it itself."""

    sensor: tuple[int, int] | None = option("WIDTHxHEIGHT, for sources that do not say.", default=None, parse=_size)
    csv: str | None = option(
        "Columns of CSV where its first lines do not tell: t=s,x,y,p (t=s|ms|us|ns, - for other columns).", default=None
    )


class ViewOptions(ReadingOptions):
    """How a camera stood."""

    up: str | None = option(
        "Which side of the stored picture people's heads are on, whatever the format says; of one source SOURCE?up=SIDE.",
        default=None,
        choices=("top", "left", "right", "bottom"),
    )


class LimitOptions(OptionRecord):
    """How much of a data set."""

    limit: int | None = option("Only the first so many samples of a split.", default=None, least=1)


class SampleOptions(LimitOptions):
    """Which samples of a data set."""

    split: str = option("Of the data set: train or test.", default="test")
