"""What may be said of a bench, each option once: for Python and for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runtime.base.declared import SampleOptions, Threads
from runtime.base.options import OptionRecord, option


def _engines(where: str, value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ("auto",))


def _time_us(where: str, value: object) -> object:
    """ "20ms" -> 20000"""
    from runtime.events.framing import parse_time_us  # loads NumPy, as all of runtime.events does

    return parse_time_us(where, "the time", value) if isinstance(value, str) else value


class Load(OptionRecord):
    """How much is asked of an artifact."""

    streams: int = option("Rows of the batch; of --triton, the most to try.", default=1, least=1)
    seconds: float = option("For each artifact and engine.", default=5.0, least=0.1)


class BenchOptions(Load, Threads, SampleOptions):
    """What is measured of artifacts side by side."""

    engine: tuple[str, ...] = option(
        "An engine; may be given several times.", default=None, parse=_engines, typed=list[str] | None
    )
    data: str | None = option("NAME:DIR: also accuracy, changed decisions and synaptic operations.", default=None)
    out: Path | None = option("A folder for bench.md, bench.csv and bench.json.", default=None)


class ServedOptions(Load):
    """How many live streams a Triton server holds. Times are in microseconds, or texts such as 20ms."""

    triton: str | None = option(
        "How many live streams (at most --streams) does this server hold?", default=None, metavar="HOST:PORT"
    )
    p99: int = option("Of --triton: the latency that 99 of 100 frames keep.", default="20ms", parse=_time_us)
    every: int | None = option(
        "Of --triton: between two frames of a stream; the framing's if not given.", default=None, parse=_time_us
    )
