"""`plif bench`: how fast artifacts are, side by side. In Python: runtime.commands.bench.table.bench."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from runtime.commands.bench.options import BenchOptions, InsteadOfBench
from runtime.core.base.options import Argument
from runtime.core.base.progress import Progress
from runtime.core.base.text import say
from runtime.core.cli.output import Output

if TYPE_CHECKING:
    from runtime.core.measure.results import Measurement


def command(
    artifacts: Annotated[list[Path], Argument("Artifacts in the step form, or a model.pt beside them.")],
    how: BenchOptions,
    instead: InsteadOfBench,
    output: Output,
) -> None:
    if work := instead.hear("instead of bench", artifacts, how.given(), how.streams, how.seconds):
        with Progress("loading") as progress:
            found, lines = work[0](progress.update)
        output.show(found, lambda: lines)
        return
    from runtime.commands.bench.table import FILES, bench

    rows = bench(artifacts, **vars(how), shown=True)
    for row in rows:
        if row.engine_reason:
            say(f"plif: {row.artifact}: engine {row.engine}: {row.engine_reason}", err=True)
    written = [f"wrote {how.out / name}" for name in FILES] if how.out is not None else []
    output.show([row.to_dict() for row in rows], lambda: [*_bench_lines(rows), *written])


def _bench_lines(rows: list[Measurement]) -> Iterator[str]:
    """A table: one line for each artifact and engine, under a line of headings."""
    from runtime.commands.bench.table import table

    names, lines = table(rows)
    widths = [max(len(line[i]) for line in (names, *lines)) for i in range(len(names))]
    for line in (names, *lines):
        texts = [
            text.ljust(width) if i < 3 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(texts).rstrip()
