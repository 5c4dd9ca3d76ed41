"""An evaluation in pieces that survive: a plan, and a file for each shard of consecutive samples.

    DIR/shards/plan.json     what is evaluated and how it is cut; a run is resumed only where this is the same
    DIR/shards/000017.jsonl  samples 17 n to 18 n - 1: a line of statistics, then a line for each sample

A shard's file appears whole, so whatever is killed costs the shards that were in work. Which worker did a shard, and when,
leaves no trace in it but the times. Shards begin at multiples of the batch: the batches are the same ones in every run.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.files import make_folder, read_regular, whole_or_nothing
from runtime.core.base.version import __version__
from runtime.core.measure.evaluate.batches import Trace
from runtime.core.measure.evaluate.loop import Outcome
from runtime.core.measure.evaluate.predictions import Prediction

PLAN = "plan.json"
LEAST_SAMPLES = 64  # of a shard: a twentieth of a second of work, against a file to write
MOST_SHARDS = 4096  # of a large set, so that a folder of them can be listed


@dataclass(frozen=True)
class ShardPlan:
    """What decides the predictions, and how they are cut. Two runs with equal plans give the same bytes.

    data     as the user named it, and its split
    samples  how many, the first of the split
    list     SHA-256 of the samples' paths and classes
    batch    rows of the session
    shard    samples of a shard, a multiple of batch
    exit_margin  of an early exit; None: every sample takes all its steps
    min_margin   with which a label must lead, a share of all possible votes
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
        """How many shards there are."""
        return -(-self.samples // self.shard)

    def range_of(self, k: int) -> range:
        """The samples of shard k."""
        return range(k * self.shard, min((k + 1) * self.shard, self.samples))


def shard_size(samples: int, batch: int) -> int:
    """Samples of a shard: the least multiple of the batch that is neither too small nor makes too many shards."""
    return batch * -(-max(LEAST_SAMPLES, -(-samples // MOST_SHARDS)) // batch)


class Shards:
    """The folder of a plan's shards."""

    def __init__(self, folder: Path, plan: ShardPlan) -> None:
        self.folder, self.plan = folder, plan

    def path(self, k: int) -> Path:
        return self.folder / f"{k:06d}.jsonl"

    def begin(self, resume: bool) -> list[int]:
        """Writes the plan where it is not there yet; returns the shards that are to be done.

        Raises PlifError where the folder holds another plan that is to be resumed, or one that is not finished and shall not.
        """
        found = read_plan(self.folder)
        if found is not None and resume:
            was, now = asdict(found), asdict(self.plan)
            for key in was:
                if was[key] != now[key]:
                    raise PlifError(
                        f"{self.folder}: holds an evaluation with {key} {was[key]}, not {now[key]}; "
                        "resume with what it was begun with, or evaluate into another folder"
                    )
            return [k for k in range(self.plan.count) if not self._is_whole(k)]
        if found is not None:
            there = Shards(self.folder, found)
            if not all(there.path(k).is_file() for k in range(found.count)):
                raise PlifError(
                    f"{self.folder}: holds an evaluation that is not finished; go on with --resume, or remove this folder"
                )
            for k in range(found.count):
                there.path(k).unlink(missing_ok=True)
        make_folder(self.folder)
        with whole_or_nothing(self.folder / PLAN) as (part,):
            part.write_text(json.dumps(asdict(self.plan), indent=1) + "\n", encoding="utf-8")
        return list(range(self.plan.count))

    def give_up(self) -> None:
        """Removes the plan where no shard is done: there is nothing to go on with."""
        if not any(self.path(k).is_file() for k in range(self.plan.count)):
            (self.folder / PLAN).unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()

    def write(self, k: int, answers: Outcome) -> None:
        """Writes shard k, whole or not at all."""
        head = {
            "first": self.plan.range_of(k).start,
            "count": len(answers.predictions),
            "rates": answers.rates,
            "calls": answers.calls.counts(),
            "notes": answers.notes,
            "traces": [
                (one.sample, one.truth, one.votes.tolist(), None if one.events is None else one.events.tolist())
                for one in answers.traces
            ],
        }
        with whole_or_nothing(self.path(k)) as (part,), part.open("w", encoding="ascii") as file:
            file.write(json.dumps(head) + "\n")
            for one in answers.predictions:
                file.write(json.dumps(list(vars(one).values())) + "\n")

    def read(self, k: int) -> Outcome:
        """Shard k. Raises PlifError where its file is damaged."""
        try:
            head, *rows = [json.loads(line) for line in read_regular(self.path(k), "a shard").splitlines()]
            found = Outcome([_prediction(row) for row in rows], notes=[str(note) for note in head["notes"]])
            if [one.sample for one in found.predictions] != list(self.plan.range_of(k)):
                raise ValueError
            found.add_rates(head["rates"])
            found.calls.add_counts({int(place): int(count) for place, count in head["calls"].items()})
            found.traces = [_trace(*row) for row in head["traces"]]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            raise PlifError(f"{self.path(k)}: is damaged; remove it and go on with --resume") from None
        return found

    def _is_whole(self, k: int) -> bool:
        try:
            self.read(k)
        except PlifError:
            return False
        return True


def _prediction(row: list[Any]) -> Prediction:
    found = dict(zip(Prediction.__dataclass_fields__, row, strict=True))
    size = found["sensor"]
    return Prediction(**{**found, "scores": tuple(found["scores"]), "sensor": None if size is None else tuple(size)})


def _trace(sample: int, truth: int, votes: list[list[float]], events: list[float] | None) -> Trace:
    """votes  [T, classes];  events  [T]"""
    return Trace(sample, truth, np.array(votes, np.float64), None if events is None else np.array(events, np.float64))


def read_plan(folder: Path) -> ShardPlan | None:
    """The plan in a folder of shards; None where there is none. Raises PlifError where it is not a plan of this version."""
    path = folder / PLAN
    if not path.is_file():
        return None
    try:
        return ShardPlan(**json.loads(read_regular(path)))
    except (ValueError, TypeError):
        raise PlifError(f"{path}: is not the plan of an evaluation; evaluate into another folder") from None
