"""Workers on many machines: shards on Ray, an existing engine for that purpose (extra `cluster`, Apache-2.0).

One actor for each core keeps its engine open and evaluates shard after shard. Actors read the artifact and the data,
and write the shards, at the same paths as the driver (a shared file system). Predictions are keyed by the sample's
number, so nothing is counted twice, and rows are added up, never averages. An actor or a machine that dies costs its
current shard. A killed driver is resumed with the shards in the folder.

If the driver of a local cluster is killed, the kernel ends most processes, but Ray's agents look for it for a minute.
So a cleanup process waits for the end of the driver, ends the processes that still write into the cluster's logs, and
removes its folder.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.grammar import parse_address
from runtime.core.base.telemetry import RAY_NODE
from runtime.core.measure.evaluate.loop import Tally
from runtime.observers.evaluation_workers.worker import Job, OnTally, Worker

LOCAL = "local"
CONNECT_S = 5.0
ANSWER_S = 30.0  # until a cluster has answered a first question, with the start of the process that asks
SHARD_S = 3600.0  # without an answer of any worker; a shard of 64 samples takes seconds
ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the announced default; without it Ray prints a page about it
    "RAY_DEDUP_LOGS": "0",
}
_PROBE = """
import sys
sys.path[:] = filter(None, sys.path)  # nothing from the folder that the user happens to be in
import ray
head = ray._private.services.canonicalize_bootstrap_address(sys.argv[1])
try:
    ray._raylet.GcsClient(head, cluster_id="0" * 56).check_alive([], timeout=5)
except Exception as error:
    sys.exit(str(error))
"""
_CLEANUP = """
import sys
sys.path[:] = filter(None, sys.path)  # nothing from the folder that the user happens to be in
import os, shutil, time
sys.stdin.read()
folder, driver = sys.argv[1:]
def there(pid):  # it writes into a file there; who only reads is somebody else
    files = f"/proc/{pid}/fd/"
    try:
        return pid != driver and any(
            os.lstat(files + file).st_mode & 0o200 and os.readlink(files + file).startswith(folder)
            for file in os.listdir(files)
        )
    except OSError:  # gone, or somebody else's
        return False
while os.path.exists("/proc") and (left := [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and there(pid)]):
    for pid in left:
        try:
            os.kill(pid, 9)
        except OSError:
            pass
    time.sleep(0.05)
shutil.rmtree(folder, ignore_errors=True)
"""
TOKEN = secrets.token_hex(32)  # of local clusters; one for all, since Ray reads it once


def run_on_cluster(
    address: str,
    job: Job,
    shards: Sequence[int],
    workers: int | None,
    on_tally: OnTally,
    on_workers: Callable[[int], None],
) -> Generator[int, None, None]:
    """Evaluate shards (groups of samples) on a Ray cluster, and yield the number of each finished shard.

    address    HOST:PORT, ray://HOST:PORT or auto; `local` starts a cluster that ends with the run
    workers    actors; None: one for each core of the cluster. `on_workers` is called with their number

    Raises PlifError if the cluster cannot be reached, if an actor does, and if one shard has ended MAX_DEATHS actors.
    """
    with _connect(address, workers) as ray:
        n = min(workers or max(1, int(ray.cluster_resources().get("CPU", 1))), len(shards))
        on_workers(n)
        yield from _run_shards(ray, job, deque(shards), n, on_tally)


@contextmanager
def _connect(address: str, workers: int | None) -> Iterator[ModuleType]:
    """Connect to a Ray cluster for the duration of the context, and yield the module `ray`."""
    environment = {**ENVIRONMENT, **os.environ}
    if address == LOCAL or _has_token():
        environment.setdefault("RAY_AUTH_MODE", "token")  # a cluster without tokens accepts one as well
    options: dict[str, object] = {"address": address, "logging_level": "error", "log_to_driver": False}
    with ExitStack() as stack:
        stack.enter_context(_set_environment(environment))
        starting = stack.enter_context(ExitStack())
        if address == LOCAL:
            starting.enter_context(_set_environment(RAY_NODE))  # the node hands it on to its workers
        try:
            ray = import_module("ray")
        except ImportError:
            raise MissingExtra("--cluster", "cluster") from None
        if address == LOCAL:  # more actors than cores are slower, but allowed
            options |= {
                "num_cpus": workers,
                "include_dashboard": False,
                "_temp_dir": stack.enter_context(_private_folder(ray)),
            }
        elif address != "auto":
            _require_listener(address)
        if address != LOCAL and "//" not in address:
            _require_cluster(address)
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises ConnectionError, ValueError, RuntimeError and its own
            raise _unreachable_error(address, " ".join(str(error).split())[:200]) from None
        stack.callback(ray.shutdown)
        starting.close()
        if address == LOCAL and not ipaddress.ip_address(ray.nodes()[0]["NodeManagerAddress"]).is_loopback:
            raise PlifError(
                f"--cluster local: Ray {ray.__version__} would listen to the network; install another version"
            )
        ray._private.worker._worker_logs_enabled = False  # else pages on stdout where a machine dies; `_run` says it
        try:
            yield ray
        finally:
            ray._private.worker._worker_logs_enabled = True


@contextmanager
def _set_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the duration of the context, and restore them afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _has_token() -> bool:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(path).expanduser().is_file()


@contextmanager
def _private_folder(ray: ModuleType) -> Iterator[str]:
    """Create the private folder and token of a local Ray cluster, and yield the folder.

    Ray then listens at 127.0.0.1 instead of all addresses, with a token and a folder that no other account can read.
    (By itself it writes a token that all can read, into a folder that all can write.)
    """
    constants = ray._private.ray_constants
    network, token = constants.ENABLE_RAY_CLUSTER, os.environ.get("RAY_AUTH_TOKEN")
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="plif-ray-", dir=os.environ.get("RAY_TMPDIR"))
        command, devnull = [sys.executable, "-c", _CLEANUP, folder, str(os.getpid())], subprocess.DEVNULL
        stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=devnull, stderr=devnull, start_new_session=True)
        )
        try:
            constants.ENABLE_RAY_CLUSTER = False
            os.environ["RAY_AUTH_TOKEN"] = token or TOKEN
            yield os.path.join(folder, "ray")
        finally:
            constants.ENABLE_RAY_CLUSTER = network
            if token is None:
                del os.environ["RAY_AUTH_TOKEN"]
            with suppress(Exception):  # no public interface: the next cluster, if it is another, has its own token
                ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def _require_listener(address: str) -> None:
    """Refuse a Ray cluster address at which nobody listens: Ray itself would try for over a minute."""
    try:
        place = parse_address("--cluster", address.rpartition("//")[2], "HOST:PORT of its head")
        socket.create_connection(place, CONNECT_S).close()
    except (OSError, PlifError) as error:
        raise _unreachable_error(address, str(error)) from None


def _require_cluster(address: str) -> None:
    """Refuse an address where no Ray cluster answers within ANSWER_S, and a cluster that rejects our token.

    Ray itself prints errors for over a minute, and waits for ever for a peer that begins an answer. So a child process
    asks first.
    """
    why, error = "RAY_AUTH_MODE=token, and there is none", ""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token" or _has_token():  # Ray aborts where it lacks one
        why, command = "InvalidAuthToken", [sys.executable, "-c", _PROBE, address]
        silent, devnull = f"nothing within {ANSWER_S:g} s", subprocess.DEVNULL
        try:
            error = subprocess.run(
                command, stdin=devnull, stdout=devnull, stderr=subprocess.PIPE, timeout=ANSWER_S
            ).stderr.decode(errors="replace")
        except (OSError, subprocess.TimeoutExpired):
            raise _unreachable_error(address, silent) from None
        if "Timed out" in error:
            raise _unreachable_error(address, silent)
        if why not in error:  # for example, WrongClusterID; ray.init reports other problems
            return
    raise PlifError(
        f"--cluster {address}: no token that the Ray cluster there takes ({why}); copy ~/.ray/auth_token of its head to this "
        "machine, readable by you alone, and set RAY_AUTH_MODE=token"
    )


def _unreachable_error(address: str, why: str) -> PlifError:
    if address == LOCAL:
        return PlifError(f"--cluster local: Ray does not start here ({why})")
    return PlifError(
        f"--cluster {address}: no Ray cluster answers there ({why}); expected HOST:PORT of its head (ray start --head "
        "prints it), auto, or local"
    )


class _Actor:
    """A worker on the Ray cluster that evaluates shards; it answers (shard, tally), or the PlifError of a shard.

    place  the driver's working folder, to which paths are relative
    """

    def __init__(self, job: Job, place: str) -> None:
        self._job, self._place = job, place
        self._worker: Worker | None = None

    def run(self, k: int) -> tuple[int, Tally] | PlifError:
        tally = Tally()
        try:
            self._worker = self._worker or self._begin()
            self._worker.run(k, tally.add)
        except PlifError as error:
            return error
        return k, tally

    def _begin(self) -> Worker:
        try:
            os.chdir(self._place)
        except OSError:
            raise PlifError(
                f"{self._place}: is not on {socket.gethostname()}; all machines read the same paths"
            ) from None
        return Worker(self._job)


def _check_answer(job: Job, k: int, answer: object) -> Tally:
    """Return the tally in a worker's answer about shard k; raise PlifError for an answer that is no tally of it."""
    match answer:
        case (int(shard), Tally(samples=int(samples), right=int(right), unreadable=int(unreadable))):
            known = samples == len(job.plan.sample_range(k)) and right + unreadable <= samples
            if shard == k and known and min(right, unreadable) >= 0:
                return Tally(samples, right, unreadable)
    raise PlifError(
        f"{job.folder}: the worker of shard {k} answered {str(answer)[:100]}; expected its number and a tally of its "
        f"{len(job.plan.sample_range(k))} samples; is the same plif on all machines?"
    )


def _run_shards(
    ray: ModuleType, job: Job, waiting: deque[int], count: int, on_tally: OnTally
) -> Generator[int, None, None]:
    remote = ray.remote(num_cpus=1)(_Actor)
    deaths: Counter[int] = Counter()
    working: dict[object, tuple[Any, int]] = {}  # pending result -> (actor, shard)

    def assign(actor: Any) -> None:
        if waiting:
            k = waiting.popleft()
            working[actor.run.remote(k)] = (actor, k)

    for _ in range(count):
        assign(remote.remote(job, os.getcwd()))
    while working:
        finished, _ = ray.wait(list(working), timeout=SHARD_S)
        if not finished:
            shards = sorted(k for _, k in working.values())
            raise PlifError(
                f"{job.folder}: no worker has answered for {SHARD_S:g} s, of shards {shards[:10]}; see `ray status`, and go "
                "on with --resume"
            )
        actor, k = working.pop(finished[0])
        try:
            answer = ray.get(finished[0], timeout=SHARD_S)
        except ray.exceptions.RayActorError as error:
            deaths[k] += 1
            job.report_death(k, deaths[k], " ".join(str(error).split())[:200])
            waiting.appendleft(k)
            assign(remote.remote(job, os.getcwd()))
            continue
        except Exception as error:  # an exception of the worker itself, or an answer that cannot be read
            why = " ".join(str(error).split())[-200:]
            raise PlifError(f"{job.folder}: the worker of shard {k} failed ({type(error).__name__}: {why})") from None
        if isinstance(answer, PlifError):
            raise answer
        tally = _check_answer(job, k, answer)
        if not (job.folder / f"{k:06d}.jsonl").is_file():
            raise PlifError(
                f"{job.folder}: a worker wrote shard {k} there, and it is not here; --out must be a folder that all "
                "machines share, at the same path"
            )
        on_tally(tally)
        yield k
        assign(actor)
        del actor  # one without work leaves its core to the one that waits in the place of a machine that died
