"""Training of one network in several processes, each on its share of every batch (torch.distributed).

The backend is gloo or NCCL.

    plif train ... --devices 0,1          two GPUs      this process is rank 0 and starts the other one
    plif train ... --devices cpu:2        two processes on the CPU
    torchrun --nproc-per-node 2 -m runtime.core.cli train ...

Every rank draws the same batches, computes the gradient of its share, weighted by size, and adds up the shares of
all: the gradient of one process, but for the order of sums. Batch normalisation takes the statistics of a rank's
share, and dropout draws separate masks. So only with bn frozen and dropout 0 is the training equal to that of one
process. The running statistics of rank 0 are kept, as DistributedDataParallel does. That class is not used: it sends
its messages inside backward(), where a lost rank and an error of this one are the same RuntimeError. Its sums equal
ours for two ranks, bit for bit, and it was no faster (15 ms a step of a small N-MNIST network either way).
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from plif_train.core.loop.devices import World, check_device
from runtime.core.base.errors import PlifError
from runtime.core.cli.signals import process_exit_code

JOIN_TIMEOUT_S = 120  # how long the ranks wait for each other at the start


@dataclass(frozen=True)
class Ranks(World):
    """The group of processes that train one network together, seen from one of them (a rank)."""

    def sum_gradients(self, tensors: Iterable[Tensor | None]) -> None:
        """Replace each gradient tensor [...] by its sum over all training processes, in one message."""
        group = [tensor for tensor in tensors if tensor is not None]
        flat = torch.cat([tensor.flatten() for tensor in group])
        with _catch_lost_ranks():
            dist.all_reduce(flat)
        for tensor, part in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def sum_numbers(self, values: Sequence[float]) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            tensor = tensor.cuda()
        with _catch_lost_ranks():
            dist.all_reduce(tensor)
        return tensor.tolist()

    def broadcast_weights(self, net: nn.Module) -> None:
        for tensor in net.state_dict().values():
            with _catch_lost_ranks():
                dist.broadcast(tensor, 0)


class LostRank(PlifError):
    """The error that another process of a training has ended, so that communication with it failed."""


@contextmanager
def _catch_lost_ranks() -> Iterator[None]:
    """Turn errors in the communication of the training's processes into the error LostRank.

    They are errors of the other ranks.
    """
    try:
        yield
    except torch.OutOfMemoryError:  # an error of this rank, although it is a RuntimeError
        raise
    except (dist.DistError, RuntimeError) as error:
        raise LostRank((str(error).splitlines() or [type(error).__name__])[0]) from None


@contextmanager
def join_ranks(devices: Sequence[str]) -> Iterator[tuple[World, str]]:
    """Join the processes of a training (ranks) as one group; yield (World of this process, its device).

    With several devices, and unless torchrun has started the ranks, it starts the others with the same command line,
    and ends them with this one.
    """
    launched = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    size = int(os.environ["WORLD_SIZE"]) if launched else len(devices)
    if size == 1:
        yield World(), devices[0]
        return
    rank = int(os.environ["RANK"]) if launched else 0
    local = int(os.environ.get("LOCAL_RANK", rank)) if launched else 0
    device = devices[local] if local < len(devices) else f"cuda:{local}" if devices[0].startswith("cuda") else "cpu"
    timeout = timedelta(seconds=JOIN_TIMEOUT_S)
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as stderr_file:
        try:
            if not launched:
                # gloo listens on the address of this machine's name, which needs the network; MASTER_ADDR is local
                os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
                store = dist.TCPStore("127.0.0.1", 0, size, True, timeout, wait_for_workers=False)  # at any free port
                processes = [_start_rank(i, size, store.port, stderr_file.fileno()) for i in range(1, size)]
            if device.startswith("cuda"):
                check_device(device)
                torch.cuda.set_device(device)
            try:
                with _catch_lost_ranks():
                    if launched:
                        store = next(dist.rendezvous("env://", timeout=timeout))[0]
                    backend = "nccl" if device.startswith("cuda") else "gloo"
                    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
                yield Ranks(rank, size), device
            except LostRank as error:  # only this: an error of this process is no fault of the other ranks
                stderr_file.seek(0)
                message = stderr_file.read().decode(errors="replace").strip() or str(error)
                raise PlifError(f"rank {rank} of {size} lost the others: {message.splitlines()[-1][:200]}") from None
        except KeyboardInterrupt:
            # A message may be half sent; the destructors of gloo's threads then abort the process at its very end.
            atexit.register(_exit_at_once, process_exit_code(130))
            raise
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
            if dist.is_initialized():
                dist.destroy_process_group()


def _exit_at_once(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _start_rank(rank: int, size: int, port: int, stderr: int) -> subprocess.Popen[bytes]:
    """Start another process of a training, which runs this command line again as a given rank, without output.

    Its stderr goes to the file descriptor `stderr`.
    """
    code = "import sys; sys.path[:] = filter(None, sys.path); from runtime.core.cli.main import run; sys.exit(run(sys.argv[1:]))"
    rank_settings = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": size,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    environment = {**os.environ, **{name: str(value) for name, value in rank_settings.items()}}
    return subprocess.Popen(
        [sys.executable, "-c", code, *sys.argv[1:]], env=environment, stdout=subprocess.DEVNULL, stderr=stderr
    )
