"""The tuner: one rule for every choice by time (docs/engines.md lists the choices, and the numbers).

measure  candidates take turns, and the best round of each counts, since other programs can only make one slower
choose   the first candidate, unless a later one takes less than 1 - MARGIN of its time: noise does not choose
keep     under a key of everything that the answer depends on: in this process, or in the user's cache folder, too
forget   a stored choice, where calls have become slower than measured

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
from runtime.core.base.files import atomic_write, find_cache_folder, make_folder

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
class TuningResult(Generic[K]):
    """The result of a choice by measured time: `best`, and the times {candidate: {part: time}}.

    There are no times without a measurement.

    note  the origin of the times, half a sentence
    key   identifies everything that the answer depends on; file: where it is stored; empty and None if it is not stored
    """

    best: K
    note: str
    times: dict[K, dict[str, float]] = field(default_factory=dict)
    key: str = ""
    file: Path | None = None


choices: dict[str, TuningResult[Any]] = {}  # by key, in this process


def tune(
    candidates: Sequence[K],
    measure: Callable[[Sequence[K]], Measurement[K]],
    *,
    parts: Sequence[str] = ("time",),
    depends_on: Callable[[], object] | None = None,
    folder: str = "",
) -> TuningResult[K]:
    """Choose the fastest of some candidates, given in order of preference, by measured time. It raises nothing.

    The result says why a measurement was not possible.

    measure     times them, as `in_turns`. It may raise PlifError: then the first one is chosen, and nothing is stored
    parts       the names of the times of a candidate; their sum counts
    depends_on  returns everything that the answer depends on, in types of JSON; None: the answer is not stored
    folder      of the user's cache folder, to store the answer there, too; the candidates are then text
    """
    if not may_measure():
        return TuningResult(candidates[0], f"not measured ({NO_CALIBRATION} is set)")
    depends = depends_on() if depends_on is not None else None
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest() if depends_on is not None else ""
    if key in choices:
        return choices[key]
    place = find_cache_folder() if folder else None
    file = place / folder / f"{key}.json" if place else None
    times, note = _read_times(file, candidates, parts) if file else None, "measured earlier"
    if times is None:
        try:
            measured, waited = measure(candidates)
        except PlifError as error:
            return TuningResult(candidates[0], f"not measured ({error})")
        times, note = (
            {candidate: dict(zip(parts, durations, strict=True)) for candidate, durations in measured.items()},
            "measured now",
        )
        if folder and waited > BUSY:
            note += ", for this process only: other programs kept the processors busy"
        elif folder and not (file and _write_times(file, {"measured_ms": times, "depends_on": depends})):
            note += ", for this process only: no cache folder to write to"
    best = (
        fastest({candidate: sum(durations.values()) for candidate, durations in times.items()})
        if times
        else candidates[0]
    )
    outcome = TuningResult(best, note, times, key, file)
    if key:
        choices[key] = outcome
    return outcome


def may_measure() -> bool:
    """Return whether measurements of speed are allowed (PLIF_NO_CALIBRATION is not set)."""
    return os.environ.get(NO_CALIBRATION, "0") in ("", "0")


def fastest(times: Mapping[K, float], margin: float = MARGIN) -> K:
    """Choose the fastest candidate; a later one must take less than 1 - margin of the chosen one's time."""
    best = next(iter(times))
    for candidate in times:
        if times[candidate] < (1 - margin) * times[best]:
            best = candidate
    return best


def in_turns(
    run: Callable[[K], Sequence[float] | None],
    candidates: Iterable[K],
    rounds: int = ROUNDS,
    budget_s: float = BUDGET_S,
    clear: float = math.inf,
) -> Measurement[K]:
    """Time some candidates in rounds: each runs once a round, and its best time of each part counts.

    run    returns the time of each part; None: no time is left for this candidate, nor for those after it
    clear  no further round where the fastest is faster than all others by more than this factor
    """
    best: dict[K, tuple[float, ...]] = {}
    began, before_s = time.perf_counter(), waited_s()
    for _ in range(rounds):
        for candidate in tuple(best) or candidates:
            if (durations := run(candidate)) is None:
                break
            best[candidate] = tuple(map(min, durations, best.get(candidate, durations)))
        totals = sorted(map(sum, best.values()))
        if time.perf_counter() - began > budget_s or (len(totals) > 1 and totals[1] > clear * totals[0]):
            break
    return best, (waited_s() - before_s) / (time.perf_counter() - began)


def waited_s() -> float:
    """Return the seconds that this process's threads were ready to run without a processor.

    Only Linux has the number; elsewhere it is 0.
    """
    total_ns = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # a thread may end; a kernel may not count
            total_ns += int(file.read_text().split()[1])
    return 1e-9 * total_ns


def forget(key: str) -> None:
    """Remove a stored choice, here and in the cache folder, so that the next caller measures again."""
    choice = choices.pop(key, None)
    if choice is not None and choice.file is not None:
        with suppress(OSError):
            choice.file.unlink()


def _read_times(file: Path, candidates: Sequence[K], parts: Sequence[str]) -> dict[K, dict[str, float]] | None:
    """Read the measured times in a file; None where there are none, or where the file is not one of ours."""
    try:
        with open(file, "rb") as opened:
            stored = json.loads(opened.read(FILE_LIMIT))["measured_ms"]
        times = {candidate: {part: float(stored[candidate][part]) for part in parts} for candidate in candidates}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (
        times
        if all(0 < duration < 1e9 for candidate_times in times.values() for duration in candidate_times.values())
        else None
    )


def _write_times(file: Path, content: dict[str, object]) -> bool:
    """Write measured times to a file; return False if that fails: the next process measures again."""
    with suppress(PlifError):
        make_folder(file.parent)
        with atomic_write(file) as (part,):
            part.write_text(json.dumps(content, indent=2) + "\n")
        return True
    return False
