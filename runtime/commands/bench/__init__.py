"""`plif bench`: how fast artifacts are, side by side; or how many live streams a Triton server holds.

In Python: runtime.commands.bench.table.bench and runtime.commands.bench.served.served.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from runtime.base.errors import PlifError
from runtime.base.options import Argument, flag_of, options_of
from runtime.base.progress import Progress
from runtime.base.text import say
from runtime.cli.output import Output
from runtime.commands.bench.options import BenchOptions, Load, ServedOptions

if TYPE_CHECKING:
    from runtime.commands.bench.served import Served
    from runtime.measure.results import Measurement


def command(
    artifacts: Annotated[list[Path], Argument("Artifacts in the step form, or a model.pt beside them.")],
    how: BenchOptions,
    asked: ServedOptions,
    output: Output,
) -> None:
    if asked.triton is not None:
        _served(artifacts, how, asked, output)
        return
    from runtime.commands.bench.table import FILES, bench

    rows = bench(artifacts, **vars(how), shown=True)
    for row in rows:
        if row.engine_reason:
            say(f"plif: {row.artifact}: engine {row.engine}: {row.engine_reason}", err=True)
    written = [f"wrote {how.out / name}" for name in FILES] if how.out is not None else []
    output.show([row.to_dict() for row in rows], lambda: [*_bench_lines(rows), *written])


def _served(artifacts: list[Path], how: BenchOptions, asked: ServedOptions, output: Output) -> None:
    from runtime.commands.bench.served import served

    if len(artifacts) > 1 or {*how.given()} - {flag_of(each) for each in options_of(Load)}:
        raise PlifError("--triton: takes one model_triton folder, with --streams, --p99, --every and --seconds")
    with Progress("loading") as progress:
        found = served(artifacts[0], **vars(asked), progress=progress.update)
    output.show(found.to_dict(), lambda: _served_lines(found))


def _served_lines(found: Served) -> Iterator[str]:
    yield f"{'streams':>7}  {'frames':>7}  {'p50 ms':>8}  {'p99 ms':>8}  {'client ms':>9}  held"
    for load in found.loads:
        times = [format(ms, ".3f") if ms is not None else "-" for ms in (load.p50_ms, load.p99_ms, load.late_p99_ms)]
        line = f"{load.streams:7}  {load.frames:7}  {times[0]:>8}  {times[1]:>8}  {times[2]:>9}  "
        yield line + ("yes" if load.held else f"no{': ' + load.problem if load.problem else ''}")
    yield (
        f"{found.server} holds {found.streams} of {found.most} streams of {found.model}: a frame every "
        f"{found.every_ms:g} ms each, 99 of 100 answered within {found.bar_p99_ms:g} ms"
    )


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
