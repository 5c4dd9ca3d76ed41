"""Option records that several commands share; `plif --help` loads them without NumPy.

Other option records are next to the code that they configure: runtime/core/stream/options.py,
runtime/core/measure/options.py, plif_export/core/options.py.
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


def _parse_sensor_size(flag: str, value: object) -> object:
    """Parse the text of a sensor size: "346x260" becomes (346, 260); a value that is no text is returned unchanged."""
    return parse_size(f"{flag} {value}", value) if isinstance(value, str) else value


class ProcessOptions(OptionRecord):
    """The options of the process that an engine runs in: its CPU threads, and whether it gives up its rights."""

    threads: int | None = option("CPU threads; all when not given.", default=None, least=1)
    confined: str = option(
        "auto, on or off: read the graph in a process without rights.", default="auto", choices=("auto", "on", "off")
    )


class EngineOptions(ProcessOptions):
    """The options with which an engine opens an artifact.

    confined         auto: a graph is read in a process without rights unless `sha256` is given, or plif wrote the file
                     for this user. ONNX Runtime and OpenVINO on the CPU; the event engine reads no graph
    sha256           the SHA-256 that `plif export` printed, of a file or a folder. A TensorRT engine is opened only
                     with it, or with the report of its export next to it
    flush_denormals  the engine replaces subnormal membranes by zero; None: as the card says. True is refused where
                     the card says that this changes the spikes
    rates            also count spikes, which is slower: session.rates then holds each layer's firing rate of the last
                     step
    """

    device: str | None = option("cpu, cuda or cuda:N; what the engine is for when not given.", default=None)
    sha256: str | None = option("Refuse the artifact when its SHA-256 is another. An engine needs it.", default=None)
    flush_denormals: bool | None = None
    rates: bool = False


class OpenOptions(EngineOptions):
    """The options that choose the engine of an artifact and configure it."""

    engine: str = option(
        "auto (the fastest here), or one that plif info lists: event, onnxruntime, openvino, torch, ...", default="auto"
    )


class ReadingOptions(OptionRecord):
    """The options that describe a recording where its file does not: sensor size and CSV columns."""

    sensor: tuple[int, int] | None = option(
        "WIDTHxHEIGHT, for sources that do not say.", default=None, parse=_parse_sensor_size
    )
    csv: str | None = option(
        "Columns of CSV where its first lines do not tell: t=s,x,y,p (t=s|ms|us|ns, - for other columns).", default=None
    )


class ViewOptions(ReadingOptions):
    """The option that gives the orientation of the camera."""

    up: str | None = option(
        "Which side of the stored picture people's heads are on, whatever the format says; of one source SOURCE?up=SIDE.",
        default=None,
        choices=("top", "left", "right", "bottom"),
    )


class LimitOptions(OptionRecord):
    """The option that limits the number of samples of a data set."""

    limit: int | None = option("Only the first so many samples of a split.", default=None, least=1)


class SampleOptions(LimitOptions):
    """The options that select the samples of a data set: split and limit."""

    split: str = option("Of the data set: train or test.", default="test")
