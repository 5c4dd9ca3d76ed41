"""The options of `plif bench`, for Python and for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runtime.core.base.declared import ProcessOptions, SampleOptions
from runtime.core.base.options import option
from runtime.core.observers import ExtensibleOptions


def _parse_engines(flag: str, value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ("auto",))


class BenchOptions(ProcessOptions, SampleOptions):
    """The command-line options of a benchmark of artifacts side by side."""

    streams: int = option("Rows of the batch; of --triton, the most to try.", default=1, least=1)
    seconds: float = option("For each artifact and engine.", default=5.0, least=0.1)
    engine: tuple[str, ...] = option(
        "An engine; may be given several times.", default=None, parse=_parse_engines, typed=list[str] | None
    )
    data: str | None = option("NAME:DIR: also accuracy, changed decisions and synaptic operations.", default=None)
    out: Path | None = option("A folder for bench.md, bench.csv and bench.json.", default=None)


class BenchReplacementOptions(ExtensibleOptions, by="instead of bench"):
    """The command-line options of plug-in parts that replace the benchmark, such as --triton."""
