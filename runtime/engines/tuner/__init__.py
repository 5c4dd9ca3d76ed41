"""What is the fastest here? One rule for all that is chosen by its time (docs/engines.md has what that is, and the numbers).

measure  candidates take turns, and of each its best round counts, since other programs can only make one slower
choose   the first candidate, unless a later one takes less than 1 - MARGIN of its time: noise does not choose
keep     under a key of all that the answer depends on: in this process, or in the user's cache folder, too
forget   what is kept, where calls have become slower than they were measured

The threads of a call are chosen by the same rule in C, within the call (runtime/native/engine/threads.c).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from runtime.core.base.errors import PlifError
from runtime.core.base.files import cache_folder, make_folder, whole_or_nothing

K = TypeVar("K")  # a candidate
# candidate -> the time of each of its parts; and for how many seconds threads waited for a processor, per second meanwhile
Measurement = tuple[dict[K, tuple[float, ...]], float]

NO_CALIBRATION = "PLIF_NO_CALIBRATION"  # nothing is measured, and the first candidate is taken
MARGIN = 0.10  # so what is chosen takes at most 11 % longer than the fastest
ROUNDS = 5
BUDGET_S = 0.3  # no further round begins after so much time
BUSY = 0.10  # seconds that threads waited for a processor, per second, from which the cache folder keeps nothing
FILE_LIMIT = 1 << 16  # bytes


@dataclass(frozen=True)
class Found(Generic[K]):
    """What was chosen: `best`, after {candidate: {part: time}}; no times where nothing was measured.

    note  where the times come from, half a sentence
    key   of what the answer depends on, and the file that keeps it; empty and None where it is kept nowhere
    """

    best: K
    note: str
    times: dict[K, dict[str, float]] = field(default_factory=dict)
    key: str = ""
    file: Path | None = None


kept: dict[str, Found[Any]] = {}  # by key, in this process


def tune(
    candidates: Sequence[K],
    measure: Callable[[Sequence[K]], Measurement[K]],
    *,
    parts: Sequence[str] = ("time",),
    depends_on: Callable[[], object] | None = None,
    folder: str = "",
) -> Found[K]:
    """The fastest of the candidates, which stand in order of preference. Raises nothing: it says what it could not do.

    measure     times them, as `in_turns`. It may raise PlifError: then the first one is taken, and nothing is kept
    parts       what the times of a candidate are of; their sum counts
    depends_on  gives all that the answer depends on, in types of JSON; None: the answer is kept nowhere
    folder      of the user's cache folder, where the answer is kept, too; the candidates are then text
    """
    if not measuring():
        return Found(candidates[0], f"not measured ({NO_CALIBRATION} is set)")
    depends = depends_on() if depends_on is not None else None
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest() if depends_on is not None else ""
    if key in kept:
        return kept[key]
    place = cache_folder() if folder else None
    file = place / folder / f"{key}.json" if place else None
    times, note = _read(file, candidates, parts) if file else None, "measured before"
    if times is None:
        try:
            measured, waited = measure(candidates)
        except PlifError as error:
            return Found(candidates[0], f"not measured ({error})")
        times, note = {one: dict(zip(parts, took, strict=True)) for one, took in measured.items()}, "measured now"
        if folder and waited > BUSY:
            note += ", for this process only: other programs kept the processors busy"
        elif folder and not (file and _write(file, {"measured_ms": times, "depends_on": depends})):
            note += ", for this process only: no cache folder to write to"
    best = fastest({one: sum(took.values()) for one, took in times.items()}) if times else candidates[0]
    found = Found(best, note, times, key, file)
    if key:
        kept[key] = found
    return found


def measuring() -> bool:
    """Whether anything may be measured here."""
    return os.environ.get(NO_CALIBRATION, "0") in ("", "0")


def fastest(times: Mapping[K, float], margin: float = MARGIN) -> K:
    """The first, unless a later one takes less than 1 - margin of its time; and so on from that one."""
    best = next(iter(times))
    for one in times:
        if times[one] < (1 - margin) * times[best]:
            best = one
    return best


def in_turns(
    run: Callable[[K], Sequence[float] | None],
    candidates: Iterable[K],
    rounds: int = ROUNDS,
    budget_s: float = BUDGET_S,
    clear: float = math.inf,
) -> Measurement[K]:
    """Times the candidates: in a round each runs once, and the best of each part counts.

    run    gives the time of each part; None: there is no time left for this one, nor for those behind it
    clear  no further round where the fastest is faster than all others by more than this factor
    """
    best: dict[K, tuple[float, ...]] = {}
    began, before_s = time.perf_counter(), waited_s()
    for _ in range(rounds):
        for one in tuple(best) or candidates:
            if (took := run(one)) is None:
                break
            best[one] = tuple(map(min, took, best.get(one, took)))
        totals = sorted(map(sum, best.values()))
        if time.perf_counter() - began > budget_s or (len(totals) > 1 and totals[1] > clear * totals[0]):
            break
    return best, (waited_s() - before_s) / (time.perf_counter() - began)


def waited_s() -> float:
    """For how long the threads of this process have been ready to run without a processor, s. Only Linux says; elsewhere 0."""
    total_ns = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # a thread may end; a kernel may not count
            total_ns += int(file.read_text().split()[1])
    return 1e-9 * total_ns


def forget(key: str) -> None:
    """Removes what is kept, here and in the cache folder: whoever asks next measures again."""
    found = kept.pop(key, None)
    if found is not None and found.file is not None:
        with suppress(OSError):
            found.file.unlink()


def _read(file: Path, candidates: Sequence[K], parts: Sequence[str]) -> dict[K, dict[str, float]] | None:
    """The times in a file; None where there are none or the file is not one of ours."""
    try:
        with open(file, "rb") as opened:
            found = json.loads(opened.read(FILE_LIMIT))["measured_ms"]
        times = {one: {part: float(found[one][part]) for part in parts} for one in candidates}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return times if all(0 < took < 1e9 for of in times.values() for took in of.values()) else None


def _write(file: Path, content: dict[str, object]) -> bool:
    """Whether it could be written; where it could not, the next process measures again."""
    with suppress(PlifError):
        make_folder(file.parent)
        with whole_or_nothing(file) as (part,):
            part.write_text(json.dumps(content, indent=2) + "\n")
        return True
    return False
