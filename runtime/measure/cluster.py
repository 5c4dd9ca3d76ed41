"""Workers on many machines: shards on Ray, an existing engine for that (extra `cluster`, Apache-2.0).

One actor for each core keeps its engine open and does shard after shard. Actors read the artifact and the data, and write the
shards, at the same paths as the program that began (a shared file system). Predictions are keyed by the sample's number, so
nothing is counted twice, and no average of averages is taken: what is added up are the rows. An actor or a machine that dies
costs the shard that it was at; a driver that dies is resumed with what lies in the folder.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Generator, Sequence
from typing import Any

from runtime.base.errors import MissingExtra, PlifError
from runtime.measure.worker import Done, Job, Told, Worker

LOCAL = "local"
MOST_DEATHS = 3  # of actors at one shard
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would report to its maker
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the announced default; without it Ray prints a page about it
    "RAY_DEDUP_LOGS": "0",
}


def run_on_cluster(
    job: Job, shards: Sequence[int], address: str, workers: int | None, told: Told
) -> Generator[int, None, None]:
    """Does the shards on the cluster at `address` (HOST:PORT, ray://HOST:PORT, auto), or on a `local` one that ends with the run.

    workers  actors; None: one for each core of the cluster
    Raises PlifError where the cluster cannot be reached, where an actor does, and where one shard has ended MOST_DEATHS actors.
    """
    ray = _connect(address, workers)
    try:
        n = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield from _run(ray, job, deque(shards), min(n, len(shards)), told)
    finally:
        ray.shutdown()


def _connect(address: str, workers: int | None) -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise MissingExtra("--cluster", "cluster") from None
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    try:
        if address == LOCAL:  # more actors than cores are slower, not wrong
            ray.init(num_cpus=workers, include_dashboard=False, **options)
        else:
            ray.init(address=address, **options)
    except Exception as error:  # Ray raises ConnectionError, ValueError, RuntimeError and its own
        why = " ".join(str(error).split())[:200]
        raise PlifError(
            f"--cluster {address}: no Ray cluster answers there ({why}); expected HOST:PORT of its head, or local"
        ) from None
    return ray


class _Actor:
    """What runs on the cluster: a worker that stays. It answers (shard, what was done), or the error of the user's file."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._worker: Worker | None = None

    def run(self, k: int) -> tuple[int, Done] | PlifError:
        done: list[Done] = []
        try:
            self._worker = self._worker or Worker(self._job)
            self._worker.run(k, done.append)
        except PlifError as error:
            return error
        return k, Done(*(sum(column) for column in zip(*(vars(one).values() for one in done), strict=True)))


def _run(ray: Any, job: Job, waiting: deque[int], count: int, told: Told) -> Generator[int, None, None]:
    remote = ray.remote(num_cpus=1)(_Actor)
    deaths: Counter[int] = Counter()
    working: dict[Any, tuple[Any, int]] = {}  # what is waited for -> the actor, and its shard

    def give(actor: Any) -> None:
        if waiting:
            k = waiting.popleft()
            working[actor.run.remote(k)] = (actor, k)

    for _ in range(count):
        give(remote.remote(job))
    while working:
        (ready,), _ = ray.wait(list(working))
        actor, k = working.pop(ready)
        try:
            answer = ray.get(ready)
        except ray.exceptions.RayActorError as error:
            deaths[k] += 1
            if deaths[k] >= MOST_DEATHS:
                at = job.plan.range_of(k)
                why = " ".join(str(error).split())[:200]
                raise PlifError(
                    f"{job.artifact}: {MOST_DEATHS} workers died at samples {at.start} to {at.stop - 1} ({why})"
                ) from None
            waiting.appendleft(k)
            give(remote.remote(job))
            continue
        if isinstance(answer, PlifError):
            raise answer
        _, done = answer
        if not (job.folder / f"{k:06d}.jsonl").is_file():
            raise PlifError(
                f"{job.folder}: a worker wrote shard {k} there, and it is not here; --out must be a folder that all "
                "machines share, at the same path"
            )
        told(done)
        yield k
        give(actor)
