"""An evaluation in shards that survive a crash: a plan, and a file for each shard of consecutive samples.

    DIR/shards/plan.json     the evaluation and its division; a run is resumed only with the same plan
    DIR/shards/000017.jsonl  samples 17 n to 18 n - 1: a line of statistics, then a line for each sample

A shard's file is written atomically, so a kill costs only the unfinished shards. The file does not depend on the
worker and on the time, except for its timings. Shards begin at multiples of the batch: the batches are the same in
every run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from runtime.core.base.errors import PARSE_ERRORS, PlifError
from runtime.core.base.files import atomic_write, make_folder, read_regular
from runtime.core.base.version import __version__
from runtime.core.measure.evaluate.batches import Trace
from runtime.core.measure.evaluate.loop import Outcome
from runtime.core.measure.evaluate.predictions import Prediction

PLAN = "plan.json"
MIN_SAMPLES = 64  # of a shard: a twentieth of a second of work, against a file to write
MAX_BYTES = 1 << 30  # of a shard's file; a sample takes 20 bytes a class
MAX_SHARDS = 4096  # of a large set, so that a folder of them can be listed

_FIELDS = {**get_type_hints(Prediction), "scores": list, "sensor": list | None}  # types of a prediction in JSON


@dataclass(frozen=True)
class ShardPlan:
    """The plan of an evaluation: the facts that determine its predictions, and its division into shards of samples.

    Two runs with equal plans give the same bytes.

    data     as the user named it, and its split
    samples  their number, the first of the split
    list     SHA-256 of the samples' paths and classes
    batch    rows of the session
    shard    samples of a shard, a multiple of batch
    exit_margin  of an early exit; None: each sample runs all its steps
    min_margin   the least lead of a label, a share of all possible votes
    """

    artifact_sha256: str
    data: str
    samples: int
    list: str
    engine: str
    device: str | None
    batch: int
    shard: int
    exit_margin: float | None = None
    min_margin: float = 0.0
    plif: str = __version__

    @property
    def count(self) -> int:
        """The number of shards into which an evaluation's samples are divided."""
        return -(-self.samples // self.shard)

    def sample_range(self, k: int) -> range:
        """Return the numbers of the samples in shard k of an evaluation."""
        return range(k * self.shard, min((k + 1) * self.shard, self.samples))


def choose_shard_size(samples: int, batch: int) -> int:
    """Choose the samples per shard of an evaluation: a multiple of the batch, with a moderate number of shards."""
    return batch * -(-max(MIN_SAMPLES, -(-samples // MAX_SHARDS)) // batch)


class Shards:
    """The folder with the results of an evaluation, one file for each shard (group of samples)."""

    def __init__(self, folder: Path, plan: ShardPlan) -> None:
        self.folder, self.plan = folder, plan

    def path(self, k: int) -> Path:
        return self.folder / f"{k:06d}.jsonl"

    def begin(self, resume: bool) -> list[int]:
        """Write the evaluation's plan into its shard folder if it is new; return the shards that are not evaluated yet.

        Raises PlifError if resume is set and the folder holds another plan, and if it is not set and the folder holds
        an unfinished one.
        """
        old_plan = read_plan(self.folder)
        if old_plan is not None and resume:
            old, new = asdict(old_plan), asdict(self.plan)
            for key in old:
                if old[key] != new[key]:
                    raise PlifError(
                        f"{self.folder}: holds an evaluation with {key} {old[key]}, not {new[key]}; "
                        "resume with what it was begun with, or evaluate into another folder"
                    )
            return [k for k in range(self.plan.count) if not self._is_whole(k)]
        if old_plan is not None:
            old_shards = Shards(self.folder, old_plan)
            if not all(old_shards.path(k).is_file() for k in range(old_plan.count)):
                raise PlifError(
                    f"{self.folder}: holds an evaluation that is not finished; go on with --resume, or remove this folder"
                )
        make_folder(self.folder)
        for path in self.folder.glob("[0-9]*.jsonl"):
            path.unlink()  # of another evaluation, whose plan may be gone if its removal was interrupted
        with atomic_write(self.folder / PLAN) as (part,):
            part.write_text(json.dumps(asdict(self.plan), indent=1) + "\n", encoding="utf-8")
        return list(range(self.plan.count))

    def remove_empty_plan(self) -> None:
        """Remove the evaluation's plan from its folder if no shard is finished, since there is nothing to resume."""
        if not any(self.path(k).is_file() for k in range(self.plan.count)):
            (self.folder / PLAN).unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()

    def write(self, k: int, outcome: Outcome) -> None:
        """Write the outcome of an evaluation's shard k to its file, completely or not at all."""
        head = {
            "first": self.plan.sample_range(k).start,
            "count": len(outcome.predictions),
            "rates": outcome.rates,
            "calls": outcome.calls.counts(),
            "notes": outcome.notes,
            "traces": [
                (
                    entry.sample,
                    entry.truth,
                    entry.votes.tolist(),
                    None if entry.events is None else entry.events.tolist(),
                )
                for entry in outcome.traces
            ],
        }
        with atomic_write(self.path(k)) as (part,), part.open("w", encoding="ascii") as file:
            file.write(json.dumps(head) + "\n")
            for entry in outcome.predictions:
                file.write(json.dumps(list(vars(entry).values())) + "\n")

    def read(self, k: int) -> Outcome:
        """Read the outcome of an evaluation's shard k from its file.

        Raises PlifError if its file is damaged.
        """
        try:
            decoder = json.JSONDecoder(parse_float=_parse_number, parse_constant=_parse_number)
            head, *rows = [decoder.decode(line) for line in _read_shard(self.path(k)).decode().splitlines()]
            outcome = Outcome([_parse_prediction(row) for row in rows], notes=[str(note) for note in head["notes"]])
            _check_numbers(outcome.predictions, self.plan.sample_range(k), head["rates"], head["calls"])
            outcome.add_rates(head["rates"])
            outcome.calls.add_counts({int(place): int(count) for place, count in head["calls"].items()})
            outcome.traces = [_parse_trace(*row) for row in head["traces"]]
        except PARSE_ERRORS:
            raise PlifError(f"{self.path(k)}: is damaged; remove it and go on with --resume") from None
        return outcome

    def _is_whole(self, k: int) -> bool:
        try:
            self.read(k)
        except PlifError:
            return False
        return True


def _read_shard(path: Path) -> bytes:
    """Read a shard's file, which another machine may have written; raise ValueError for one that is too large."""
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise ValueError
    return read_regular(path, "a shard")


def _parse_number(text: str) -> float:
    """Parse a number of JSON that is not whole; raise ValueError for one that is not finite."""
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number


def _check_numbers(
    predictions: Sequence[Prediction], samples: range, rates: Mapping[str, Sequence[float]], calls: Mapping[str, int]
) -> None:
    """Raise ValueError if a shard's results are not those of its samples, or not as many scores for each of them.

    rates, calls  as in its file: {layer: (sum of firing rates, their number)}, {bin: number of calls}
    """
    if [prediction.sample for prediction in predictions] != list(samples):
        raise ValueError
    if len({len(prediction.scores) for prediction in predictions} - {0}) > 1:
        raise ValueError
    if any(count < 1 for _, count in rates.values()) or any(count < 0 for count in calls.values()):
        raise ValueError


def _parse_prediction(row: list[Any]) -> Prediction:
    values = dict(zip(Prediction.__dataclass_fields__, row, strict=True))
    size = values["sensor"]
    for name, kind in _FIELDS.items():
        if not isinstance(values[name], kind):
            raise TypeError
    if any(type(number) not in (int, float) for number in (*values["scores"], *(size or ()))):
        raise TypeError
    return Prediction(**{**values, "scores": tuple(values["scores"]), "sensor": None if size is None else tuple(size)})


def _parse_trace(sample: int, truth: int, votes: list[list[float]], events: list[float] | None) -> Trace:
    """Create the trace of a sample (its votes after each step) from lists: votes [T, classes], events [T]."""
    trace = Trace(sample, truth, np.array(votes, np.float64), None if events is None else np.array(events, np.float64))
    if (
        type(sample) is not int
        or trace.votes.ndim != 2
        or (trace.events is not None and trace.events.shape != (len(votes),))
    ):
        raise ValueError
    return trace


def read_plan(folder: Path) -> ShardPlan | None:
    """Read the plan of an evaluation from its folder of shard files, or return None if there is none.

    Raises PlifError if the file is not a plan of this version.
    """
    path = folder / PLAN
    if not path.is_file():
        return None
    try:
        return ShardPlan(**json.loads(read_regular(path)))
    except PARSE_ERRORS:
        raise PlifError(f"{path}: is not the plan of an evaluation; evaluate into another folder") from None
