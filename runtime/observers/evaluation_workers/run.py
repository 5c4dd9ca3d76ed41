"""The run of an evaluation with workers: cut it into shards, assign them, report progress."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from runtime.core.base.errors import PlifError
from runtime.core.base.files import hash_artifact
from runtime.core.measure.evaluate.loop import EvaluationLoop, Outcome, count_predictions
from runtime.observers.evaluation_workers.choose import choose_batch
from runtime.observers.evaluation_workers.options import WorkerOptions
from runtime.observers.evaluation_workers.processes import run_in_processes
from runtime.observers.evaluation_workers.shards import ShardPlan, Shards, choose_shard_size, read_plan
from runtime.observers.evaluation_workers.worker import Job, OnTally, Worker

# a function of a part: (job, shards, workers, called per batch, called with the number of workers) -> finished shards
RemoteRunner = Callable[[Job, Sequence[int], int | None, OnTally, Callable[[int], None]], Generator[int, None, None]]


def run_shards(loop: EvaluationLoop, options: WorkerOptions) -> Iterator[Outcome]:
    """Evaluate all shards (groups of samples) of an evaluation, then yield the outcome of each shard in order.

    Raises PlifError if the plan in `keep` differs.
    """
    if options.resume and loop.keep is None:
        raise PlifError(f"--resume: goes on with what --out {loop.keeper} has begun; name it")
    runners = options.call_observers("elsewhere", loop.keep)
    loop.interrupt_note = "what is done is kept: go on with --resume"
    loop.model = replace(
        loop.model, engine=loop.model.engine.with_one_thread()
    )  # cores are better used by lanes and workers
    with ExitStack() as stack:
        folder = loop.keep
        if folder is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="plif-eval-"))) / "shards"
            loop.interrupt_note = f"nothing is kept; --out {loop.keeper} would keep it"
        shards = _make_shards(loop, options, folder)
        missing = shards.begin(options.resume)
        _count_finished(loop, shards, missing)
        try:
            with closing(_run_missing(loop, shards, missing, options, runners)) as finished:
                for k in finished:
                    if loop.finished.unreadable == loop.finished.samples:
                        loop.require_readable(shards.read(k).predictions[0].error)
        except PlifError:  # for example, an unreachable cluster
            shards.remove_empty_plan()
            raise
        yield from map(shards.read, range(shards.plan.count))


def _make_shards(loop: EvaluationLoop, options: WorkerOptions, folder: Path) -> Shards:
    """Choose the batch size and workers of an evaluation, and plan its shards (groups of samples).

    The loop gets the chosen numbers. A resumed run does not measure again.
    """
    old_plan = read_plan(folder) if options.resume else None
    batch = loop.options.batch or (old_plan.batch if old_plan else None)
    chosen = choose_batch(loop.model, loop.dataset, loop.count, batch, options.workers)
    loop.batch, loop.workers, loop.lanes = chosen.batch, chosen.workers, chosen.lanes
    plan = ShardPlan(
        artifact_sha256=hash_artifact(loop.model.path)[1],
        data=str(loop.samples),
        list=loop.data_sha256,
        samples=loop.count,
        engine=loop.model.engine.name,
        device=loop.model.options.device,
        batch=chosen.batch,
        shard=choose_shard_size(loop.count, chosen.batch),
        exit_margin=None if loop.exits is None else loop.exits.margin,
        min_margin=loop.min_margin,
    )
    return Shards(folder, plan)


def _count_finished(loop: EvaluationLoop, shards: Shards, missing: list[int]) -> None:
    for k in sorted(set(range(shards.plan.count)) - set(missing)):
        loop.finished.add(count_predictions(shards.read(k).predictions))
    loop.before = loop.finished.samples


def _run_missing(
    loop: EvaluationLoop, shards: Shards, missing: list[int], options: WorkerOptions, runners: Sequence[RemoteRunner]
) -> Generator[int, None, None]:
    """Evaluate the missing shards (groups of samples) here, in processes or on other machines; yield their numbers."""
    several = loop.workers > 1 or bool(runners)
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
    if runners:
        yield from runners[0](job, missing, options.workers, loop.report_progress, partial(setattr, loop, "workers"))
    elif loop.workers > 1:
        yield from run_in_processes(job, missing, loop.workers, loop.report_progress)
    else:
        with closing(Worker(job, loop.model, loop.dataset)) as worker:
            for k, following in zip(missing, [*missing[1:], None], strict=True):
                worker.run(k, loop.report_progress, following)
                yield k
