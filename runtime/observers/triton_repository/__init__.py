"""`plif bench MODEL_triton --triton HOST:PORT`: how many live streams a Triton server holds (served.py).

In Python: runtime.observers.triton_repository.served.served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError

if TYPE_CHECKING:
    from runtime.observers.triton_repository.served import Served

Tell = Callable[[int, int], None]


def hear(
    artifacts: Sequence[Path],
    given: Mapping[str, object],
    streams: int,
    seconds: float,
    triton: str | None,
    p99: int,
    every: int | None,
) -> list[Callable[[Tell], tuple[object, Iterator[str]]]]:
    """Who asks the server; given: the options of the bench that were given."""
    if triton is None:
        return []
    if len(artifacts) > 1 or {*given} - {"--streams", "--seconds"}:
        raise PlifError("--triton: takes one model_triton folder, with --streams, --p99, --every and --seconds")
    return [partial(_ask, artifacts[0], triton, streams, seconds, p99, every)]


def _ask(
    repository: Path, triton: str, streams: int, seconds: float, p99: int, every: int | None, tell: Tell
) -> tuple[object, Iterator[str]]:
    from runtime.observers.triton_repository.served import served

    found = served(repository, triton, streams=streams, seconds=seconds, p99=p99, every=every, progress=tell)
    return found.to_dict(), _lines(found)


def _lines(found: Served) -> Iterator[str]:
    yield f"{'streams':>7}  {'frames':>7}  {'p50 ms':>8}  {'p99 ms':>8}  {'client ms':>9}  held"
    for load in found.loads:
        times = [format(ms, ".3f") if ms is not None else "-" for ms in (load.p50_ms, load.p99_ms, load.late_p99_ms)]
        line = f"{load.streams:7}  {load.frames:7}  {times[0]:>8}  {times[1]:>8}  {times[2]:>9}  "
        yield line + ("yes" if load.held else f"no{': ' + load.problem if load.problem else ''}")
    yield (
        f"{found.server} holds {found.streams} of {found.most} streams of {found.model}: a frame every "
        f"{found.every_ms:g} ms each, 99 of 100 answered within {found.bar_p99_ms:g} ms"
    )
