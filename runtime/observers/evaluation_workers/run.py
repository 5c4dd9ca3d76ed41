"""Cuts an evaluation into shards, gives them to workers, and says how far it is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from runtime.core.base.errors import PlifError
from runtime.core.base.files import measure
from runtime.core.measure.evaluate.loop import Loop, Outcome, count
from runtime.observers.evaluation_workers.choose import choose
from runtime.observers.evaluation_workers.options import WorkerOptions
from runtime.observers.evaluation_workers.processes import run_in_processes
from runtime.observers.evaluation_workers.shards import ShardPlan, Shards, read_plan, shard_size
from runtime.observers.evaluation_workers.worker import Job, Tell, Worker

# of a part: (job, shards, workers, who hears of a batch, who hears how many workers there are) -> shards that are done
Elsewhere = Callable[[Job, Sequence[int], int | None, Tell, Callable[[int], None]], Generator[int, None, None]]


def run(loop: Loop, how: WorkerOptions) -> Iterator[Outcome]:
    """The answers of each shard, in order, when all are done. Raises PlifError where the plan in `keep` is another."""
    if how.resume and loop.keep is None:
        raise PlifError(f"--resume: goes on with what --out {loop.keeper} has begun; name it")
    elsewhere = how.hear("elsewhere", loop.keep)
    loop.kept = "what is done is kept: go on with --resume"
    loop.model = replace(
        loop.model, engine=loop.model.engine.one_thread()
    )  # cores are better used by lanes and workers
    with ExitStack() as stack:
        folder = loop.keep
        if folder is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="plif-eval-"))) / "shards"
            loop.kept = f"nothing is kept; --out {loop.keeper} would keep it"
        shards = _cut(loop, how, folder)
        missing = shards.begin(how.resume)
        _count_done(loop, shards, missing)
        try:
            with closing(_shards_done(loop, shards, missing, how, elsewhere)) as finished:
                for k in finished:
                    if loop.done.unreadable == loop.done.samples:
                        loop.require_readable(shards.read(k).predictions[0].error)
        except PlifError:  # a cluster that is not there, say
            shards.give_up()
            raise
        yield from map(shards.read, range(shards.plan.count))


def _cut(loop: Loop, how: WorkerOptions, folder: Path) -> Shards:
    """The plan in its folder; the loop hears what was chosen. A run that is resumed does not measure again."""
    begun = read_plan(folder) if how.resume else None
    batch = loop.how.batch or (begun.batch if begun else None)
    chosen = choose(loop.model, loop.dataset, loop.count, batch, how.workers)
    loop.batch, loop.workers, loop.lanes = chosen.batch, chosen.workers, chosen.lanes
    plan = ShardPlan(
        artifact_sha256=measure(loop.model.path)[1],
        data=str(loop.samples),
        list=loop.data_sha256,
        samples=loop.count,
        engine=loop.model.engine.name,
        device=loop.model.options.device,
        batch=chosen.batch,
        shard=shard_size(loop.count, chosen.batch),
        exit_margin=None if loop.exits is None else loop.exits.margin,
        min_margin=loop.min_margin,
    )
    return Shards(folder, plan)


def _count_done(loop: Loop, shards: Shards, missing: list[int]) -> None:
    for k in sorted(set(range(shards.plan.count)) - set(missing)):
        loop.done.add(count(shards.read(k).predictions))
    loop.before = loop.done.samples


def _shards_done(
    loop: Loop, shards: Shards, missing: list[int], how: WorkerOptions, elsewhere: Sequence[Elsewhere]
) -> Generator[int, None, None]:
    """Does the shards here, in processes, or elsewhere; yields each that is done."""
    several = loop.workers > 1 or bool(elsewhere)
    loop.lanes = 1 if several else loop.lanes
    job = Job(
        loop.model.path,
        loop.samples,
        shards.plan,
        shards.folder,
        replace(loop.model.options, threads=loop.model.options.threads or (1 if several else None)),
        loop.exits,
        loop.lanes,
    )
    if not missing:
        return
    if elsewhere:
        yield from elsewhere[0](job, missing, how.workers, loop.tell, partial(setattr, loop, "workers"))
    elif loop.workers > 1:
        yield from run_in_processes(job, missing, loop.workers, loop.tell)
    else:
        with closing(Worker(job, loop.model, loop.dataset)) as worker:
            for k, following in zip(missing, [*missing[1:], None], strict=True):
                worker.run(k, loop.tell, following)
                yield k
