"""The options that several commands have, and those of what lies below them; `plif --help` loads them without NumPy.

The others lie beside what they are of: runtime/stream/options.py, runtime/measure/options.py, plif_export/options.py.
"""

from __future__ import annotations

from pathlib import Path

from runtime.base.grammar import parse_size
from runtime.base.options import OptionRecord, option

VIEWS = ("whole", "far", "cut", "near")  # of a simulated performer
LOOKS = ("usual", "faint", "lamps", "texture", "plain")  # of a simulated performer and camera


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


class SendOptions(ReadingOptions):
    """How a recording is sent as datagrams."""

    speed: str = option("real: paced by the events' own time; max; or events a second.", default="real")
    # 100 events are 1300 bytes of t64 and fit the usual 1500 of Ethernet; no datagram is longer than 65,507 bytes
    each: int = option("Events in one datagram.", default=100, least=1, most=5000)


class LimitOptions(OptionRecord):
    """How much of a data set."""

    limit: int | None = option("Only the first so many samples of a split.", default=None, least=1)


class SampleOptions(LimitOptions):
    """Which samples of a data set."""

    split: str = option("Of the data set: train or test.", default="test")


class MakingOptions(OptionRecord):
    """How any set is made."""

    seed: int = option("To make one: of everything random.", default=0, least=0)
    workers: int = option("To make one: processes.", default=2, least=1)


class LookOptions(MakingOptions):
    """How a set of simulated performers is made."""

    look: str | None = option(
        f"Of simulated people: {', '.join(LOOKS)}; mixed when not given.", default=None, choices=LOOKS
    )


class SimulationOptions(MakingOptions):
    """How a simulated data set is made; train and test are the set's own numbers when not given."""

    train: int | None = option("Recordings (20000) or performers (200) for training.", default=None, least=0)
    test: int | None = option("Recordings (2000) or held-out performers (20) for testing.", default=None, least=0)

    def counts(self, train: int, test: int) -> tuple[int, int]:
        """(train, test), the set's own where they were not given."""
        return train if self.train is None else self.train, test if self.test is None else self.test


class NmnistOptions(SimulationOptions):
    """How a simulated N-MNIST is made."""

    skip_train: int = option("nmnist-sim: leave out the first images.", default=0, least=0)
    skip_test: int = option("nmnist-sim: leave out the first images.", default=0, least=0)


class GestureOptions(SimulationOptions, LookOptions):
    """How a simulated DVS128 Gesture is made."""

    part: str = option(
        "gesture-sim: windows, varied, faint, sessions, everyday, things, moves or people.", default="windows"
    )
    laws: int = option(
        "gesture-sim: gestures of the set, 1, or in the ranges of people's own, 2.", default=1, least=1, most=2
    )
    view: str | None = option(
        f"gesture-sim: {', '.join(VIEWS)} or mixed; as in the set when not given.",
        default=None,
        choices=(*VIEWS, "mixed"),
    )
    motions: Path | None = option(
        "gesture-sim --part people: a file of motion capture, one or many motions.", default=None
    )


class MotionOptions(LookOptions):
    """How recordings are made of motion capture; what is not given is drawn for each of them."""

    bvh: Path | None = option("motion: a folder of motion capture, one folder a class in it.", default=None)
    views: int = option("motion: recordings of each motion.", default=4, least=1, most=1000)
    yaw: float = option(
        "motion: seen from so many degrees to either side of the front.", default=180.0, least=0, most=180
    )
    distance: float | None = option("motion: metres from the camera.", default=None, least=0.3, most=30)
    seconds: float | None = option(
        "motion: each so long; as long as the motion when not given.", default=None, least=0.1, most=3600
    )
    loops: int = option("motion: how often each is done.", default=1, least=1, most=1000)
