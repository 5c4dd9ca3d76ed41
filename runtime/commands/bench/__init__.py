"""`plif bench`: measure the speed of artifacts side by side.

The Python call is runtime.commands.bench.table.bench.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from runtime.commands.bench.options import BenchOptions, BenchReplacementOptions
from runtime.core.base.options import Argument
from runtime.core.base.progress import Progress
from runtime.core.base.text import say
from runtime.core.cli.output import Output

if TYPE_CHECKING:
    from runtime.core.measure.results import Measurement


def command(
    artifacts: Annotated[list[Path], Argument("Artifacts in the step form, or a model.pt beside them.")],
    options: BenchOptions,
    replacements: BenchReplacementOptions,
    output: Output,
) -> None:
    if benchmarks := replacements.call_observers(
        "instead of bench", artifacts, options.changed_flags(), options.streams, options.seconds
    ):
        with Progress("loading") as progress:
            document, lines = benchmarks[0](progress.update)
        output.show(document, lambda: lines)
        return
    from runtime.commands.bench.table import FILES, bench

    rows = bench(artifacts, **vars(options), shown=True)
    for row in rows:
        if row.engine_reason:
            say(f"plif: {row.artifact}: engine {row.engine}: {row.engine_reason}", err=True)
    written = [f"wrote {options.out / name}" for name in FILES] if options.out is not None else []
    output.show([row.to_dict() for row in rows], lambda: [*_bench_lines(rows), *written])


def _bench_lines(rows: list[Measurement]) -> Iterator[str]:
    """Yield the benchmark table as text: a line of headings, then one line per artifact and engine."""
    from runtime.commands.bench.table import format_table

    names, lines = format_table(rows)
    widths = [max(len(line[i]) for line in (names, *lines)) for i in range(len(names))]
    for line in (names, *lines):
        texts = [
            text.ljust(width) if i < 3 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(texts).rstrip()
