"""Workers on many machines: shards on Ray, an existing engine for that (extra `cluster`, Apache-2.0).

One actor for each core keeps its engine open and does shard after shard. Actors read the artifact and the data, and write the
shards, at the same paths as the program that began (a shared file system). Predictions are keyed by the sample's number, so
nothing is counted twice, and no average of averages is taken: what is added up are the rows. An actor or a machine that dies
costs the shard that it was at; a driver that dies is resumed with what lies in the folder.

Of a local cluster whose driver was killed, the kernel ends most processes; Ray's agents would look for it for a minute. So a
process of ours waits for the end of the driver, ends who still writes into the cluster's logs, and removes its folder.
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
from runtime.observers.evaluation_workers.worker import Job, Tell, Worker

LOCAL = "local"
CONNECT_S = 5.0
ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the announced default; without it Ray prints a page about it
    "RAY_DEDUP_LOGS": "0",
}
_AFTERWARDS = """
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
    address: str, job: Job, shards: Sequence[int], workers: int | None, tell: Tell, hired: Callable[[int], None]
) -> Generator[int, None, None]:
    """Does the shards on the cluster at `address` (HOST:PORT, ray://HOST:PORT, auto), or on a `local` one that ends with the run.

    workers  actors; None: one for each core of the cluster. `hired` hears how many there are
    Raises PlifError where the cluster cannot be reached, where an actor does, and where one shard has ended MOST_DEATHS of them.
    """
    with _connected(address, workers) as ray:
        n = min(workers or max(1, int(ray.cluster_resources().get("CPU", 1))), len(shards))
        hired(n)
        yield from _run(ray, job, deque(shards), n, tell)


@contextmanager
def _connected(address: str, workers: int | None) -> Iterator[ModuleType]:
    """The module `ray`, with a cluster behind it."""
    environment = {**ENVIRONMENT, **os.environ}
    if address == LOCAL or _has_token():
        environment.setdefault("RAY_AUTH_MODE", "token")  # a cluster that wants none takes one, too
    options: dict[str, object] = {"address": address, "logging_level": "error", "log_to_driver": False}
    with ExitStack() as stack:
        stack.enter_context(_environment(environment))
        starting = stack.enter_context(ExitStack())
        if address == LOCAL:
            starting.enter_context(_environment(RAY_NODE))  # the node hands it on to its workers
        try:
            ray = import_module("ray")
        except ImportError:
            raise MissingExtra("--cluster", "cluster") from None
        if address == LOCAL:  # more actors than cores are slower, not wrong
            options |= {"num_cpus": workers, "include_dashboard": False, "_temp_dir": stack.enter_context(_alone(ray))}
        elif address != "auto":
            _require_listener(address)
        if address != LOCAL and "//" not in address:
            _require_token(ray, address)
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises ConnectionError, ValueError, RuntimeError and its own
            raise _nobody(address, " ".join(str(error).split())[:200]) from None
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
def _environment(during: Mapping[str, str]) -> Iterator[None]:
    """These variables of the environment; afterwards they are as before."""
    before = {name: os.environ.get(name) for name in during}
    os.environ.update(during)
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
def _alone(ray: ModuleType) -> Iterator[str]:
    """A folder for a local cluster, which then is this account's alone: Ray listens at 127.0.0.1 instead of at all addresses,
    and gets a token and a folder that nobody else can read. (It would write a token for all to read, and let all write.)"""
    constants = ray._private.ray_constants
    network, token = constants.ENABLE_RAY_CLUSTER, os.environ.get("RAY_AUTH_TOKEN")
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="plif-ray-", dir=os.environ.get("RAY_TMPDIR"))
        command, nobody = [sys.executable, "-c", _AFTERWARDS, folder, str(os.getpid())], subprocess.DEVNULL
        stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nobody, stderr=nobody, start_new_session=True)
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
    """Refuses an address where nobody listens: Ray would try for more than a minute, and print a page."""
    try:
        place = parse_address("--cluster", address.rpartition("//")[2], "HOST:PORT of its head")
        socket.create_connection(place, CONNECT_S).close()
    except (OSError, PlifError) as error:
        raise _nobody(address, str(error)) from None


def _require_token(ray: ModuleType, address: str) -> None:
    """Refuses a cluster that will refuse us: Ray would print pages for 20 seconds, and its error does not say why."""
    why = "RAY_AUTH_MODE=token, and there is none"
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token" or _has_token():  # Ray aborts where it lacks one
        try:
            at = ray._private.services.canonicalize_bootstrap_address(address)
            ray._raylet.GcsClient(at, cluster_id="0" * 56).check_alive([], timeout=CONNECT_S)
            return
        except Exception as error:
            why = "InvalidAuthToken"
            if why not in str(error):  # that our number is not the cluster's, say; the rest is for ray.init to find
                return
    raise PlifError(
        f"--cluster {address}: no token that the Ray cluster there takes ({why}); copy ~/.ray/auth_token of its head to this "
        "machine, readable by you alone, and set RAY_AUTH_MODE=token"
    )


def _nobody(address: str, why: str) -> PlifError:
    if address == LOCAL:
        return PlifError(f"--cluster local: Ray does not start here ({why})")
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

    def run(self, k: int) -> tuple[int, Tally] | PlifError:
        done = Tally()
        try:
            self._worker = self._worker or self._begin()
            self._worker.run(k, done.add)
        except PlifError as error:
            return error
        return k, done

    def _begin(self) -> Worker:
        try:
            os.chdir(self._place)
        except OSError:
            raise PlifError(
                f"{self._place}: is not on {socket.gethostname()}; all machines read the same paths"
            ) from None
        return Worker(self._job)


def _run(ray: ModuleType, job: Job, waiting: deque[int], count: int, tell: Tell) -> Generator[int, None, None]:
    remote = ray.remote(num_cpus=1)(_Actor)
    deaths: Counter[int] = Counter()
    working: dict[object, tuple[Any, int]] = {}  # what is waited for -> the actor, and its shard

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
            job.survive(k, deaths[k], " ".join(str(error).split())[:200])
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
        tell(done)
        yield k
        give(actor)
        del actor  # one without work leaves its core to the one that waits in the place of a machine that died
