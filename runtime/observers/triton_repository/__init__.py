"""`plif bench MODEL_triton --triton HOST:PORT`: measure the number of live streams that a Triton server holds.

The Python call is runtime.observers.triton_repository.served.measure_capacity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError

if TYPE_CHECKING:
    from runtime.observers.triton_repository.served import ServerCapacity

Progress = Callable[[int, int], None]


def hear(
    artifacts: Sequence[Path],
    flags: Mapping[str, object],
    streams: int,
    seconds: float,
    triton: str | None,
    p99: int,
    every: int | None,
) -> list[Callable[[Progress], tuple[object, Iterator[str]]]]:
    """Return the function that measures how many streams a Triton server can serve, if --triton is given.

    flags are the options of the bench that the user gave.
    """
    if triton is None:
        return []
    if len(artifacts) > 1 or {*flags} - {"--streams", "--seconds"}:
        raise PlifError("--triton: takes one model_triton folder, with --streams, --p99, --every and --seconds")
    return [partial(_measure, artifacts[0], triton, streams, seconds, p99, every)]


def _measure(
    repository: Path, triton: str, streams: int, seconds: float, p99: int, every: int | None, progress: Progress
) -> tuple[object, Iterator[str]]:
    from runtime.observers.triton_repository.served import measure_capacity

    capacity = measure_capacity(
        repository, triton, streams=streams, seconds=seconds, p99=p99, every=every, progress=progress
    )
    return capacity.to_dict(), _lines(capacity)


def _lines(capacity: ServerCapacity) -> Iterator[str]:
    yield f"{'streams':>7}  {'frames':>7}  {'p50 ms':>8}  {'p99 ms':>8}  {'client ms':>9}  held"
    for load in capacity.loads:
        times = [format(ms, ".3f") if ms is not None else "-" for ms in (load.p50_ms, load.p99_ms, load.late_p99_ms)]
        line = f"{load.streams:7}  {load.frames:7}  {times[0]:>8}  {times[1]:>8}  {times[2]:>9}  "
        yield line + ("yes" if load.held else f"no{': ' + load.problem if load.problem else ''}")
    yield (
        f"{capacity.server} holds {capacity.streams} of {capacity.most} streams of {capacity.model}: a frame every "
        f"{capacity.every_ms:g} ms each, 99 of 100 answered within {capacity.bar_p99_ms:g} ms"
    )
