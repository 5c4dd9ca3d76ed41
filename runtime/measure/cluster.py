"""Workers on many machines: shards on Ray, an existing engine for that (extra `cluster`, Apache-2.0).

One actor for each core keeps its engine open and does shard after shard. Actors read the artifact and the data, and write the
shards, at the same paths as the program that began (a shared file system). Predictions are keyed by the sample's number, so
nothing is counted twice, and no average of averages is taken: what is added up are the rows. An actor or a machine that dies
costs the shard that it was at; a driver that dies is resumed with what lies in the folder.
"""

from __future__ import annotations

import os
import socket
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from typing import Any

from runtime.base.errors import MissingExtra, PlifError
from runtime.base.telemetry import ray_node
from runtime.measure.worker import Done, Job, Told, Worker

LOCAL = "local"
CONNECT_S = 5.0
MOST_DEATHS = 3  # of actors at one shard
ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the announced default; without it Ray prints a page about it
    "RAY_DEDUP_LOGS": "0",
}


def run_on_cluster(
    job: Job, shards: Sequence[int], address: str, workers: int | None, told: Told, hired: Callable[[int], None]
) -> Generator[int, None, None]:
    """Does the shards on the cluster at `address` (HOST:PORT, ray://HOST:PORT, auto), or on a `local` one that ends with the run.

    workers  actors; None: one for each core of the cluster. `hired` hears how many there are
    Raises PlifError where the cluster cannot be reached, where an actor does, and where one shard has ended MOST_DEATHS actors.
    """
    ray = _connect(address, workers)
    try:
        n = min(workers or max(1, int(ray.cluster_resources().get("CPU", 1))), len(shards))
        hired(n)
        yield from _run(ray, job, deque(shards), n, told)
    finally:
        ray.shutdown()


def _connect(address: str, workers: int | None) -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    if address == LOCAL:  # more actors than cores are slower, not wrong
        options |= {"num_cpus": workers, "include_dashboard": False}
    else:
        options["address"] = address
    with ray_node() if address == LOCAL else nullcontext():
        try:
            import ray
        except ImportError:
            raise MissingExtra("--cluster", "cluster") from None
        if address not in (LOCAL, "auto"):
            _require_listener(address)
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises ConnectionError, ValueError, RuntimeError and its own
            raise _nobody(address, " ".join(str(error).split())[:200]) from None
    return ray


def _require_listener(address: str) -> None:
    """Refuses an address where nobody listens: Ray would try for more than a minute, and print a page."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _nobody(address, str(error)) from None


def _nobody(address: str, why: str) -> PlifError:
    return PlifError(
        f"--cluster {address}: no Ray cluster answers there ({why}); expected HOST:PORT of its head (ray start --head "
        "prints it), auto, or local"
    )


class _Actor:
    """What runs on the cluster: a worker that stays. It answers (shard, what was done), or the error of the user's file.

    place  the driver's working folder, from which relative paths count
    """

    def __init__(self, job: Job, place: str) -> None:
        self._job, self._place = job, place
        self._worker: Worker | None = None

    def run(self, k: int) -> tuple[int, Done] | PlifError:
        done: list[Done] = []
        try:
            self._worker = self._worker or self._begin()
            self._worker.run(k, done.append)
        except PlifError as error:
            return error
        return k, Done(*(sum(column) for column in zip(*(vars(one).values() for one in done), strict=True)))

    def _begin(self) -> Worker:
        try:
            os.chdir(self._place)
        except OSError:
            raise PlifError(
                f"{self._place}: is not on {socket.gethostname()}; all machines read the same paths"
            ) from None
        return Worker(self._job)


def _run(ray: Any, job: Job, waiting: deque[int], count: int, told: Told) -> Generator[int, None, None]:
    remote = ray.remote(num_cpus=1)(_Actor)
    deaths: Counter[int] = Counter()
    working: dict[Any, tuple[Any, int]] = {}  # what is waited for -> the actor, and its shard

    def give(actor: Any) -> None:
        if waiting:
            k = waiting.popleft()
            working[actor.run.remote(k)] = (actor, k)

    for _ in range(count):
        give(remote.remote(job, os.getcwd()))
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
            give(remote.remote(job, os.getcwd()))
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
