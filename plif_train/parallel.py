"""Several processes that train one network, each on its share of every batch (torch.distributed: gloo or NCCL).

    plif train ... --devices 0,1          two GPUs      this process is rank 0 and starts the other one
    plif train ... --devices cpu:2        two processes on the CPU
    torchrun --nproc-per-node 2 -m runtime.cli train ...

Every rank draws the same batches, computes the gradient of its share, weighted by size, and adds up the shares of all:
the gradient of one process, but for the order of sums. Batch normalisation takes the statistics of a rank's share, and
dropout draws its own masks, so only with bn frozen and dropout 0 is the training that of one process. The running
statistics of rank 0 are kept, as DistributedDataParallel does.
"""

from __future__ import annotations

import atexit
import os
import re
import socket
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

from runtime.base.errors import PlifError

MEETING_S = 120  # how long the ranks wait for each other at the start


@dataclass(frozen=True)
class World:
    """This process among those that train together; alone by default."""

    rank: int = 0
    size: int = 1

    def add_up(self, tensors: Iterable[Tensor | None]) -> None:
        """Each tensor becomes the sum over all ranks, in place, in one message per type."""
        if self.size == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            if tensor is not None:
                by_type.setdefault(tensor.dtype, []).append(tensor)
        for group in by_type.values():
            flat = torch.cat([tensor.flatten() for tensor in group])
            with _together():
                dist.all_reduce(flat)
            for tensor, part in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def total(self, values: Sequence[float]) -> list[float]:
        """Numbers added up over all ranks, in float64."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            tensor = tensor.cuda()
        with _together():
            dist.all_reduce(tensor)
        result: list[float] = tensor.tolist()
        return result

    def follow_first(self, net: nn.Module) -> None:
        """Every rank gets the weights and buffers of rank 0."""
        if self.size > 1:
            for tensor in net.state_dict().values():
                with _together():
                    dist.broadcast(tensor, 0)


class Lost(PlifError):
    """Another process is gone, so what all must do together failed."""


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:  # ours, though it comes as a RuntimeError
        raise
    except (dist.DistError, RuntimeError) as error:
        raise Lost((str(error).splitlines() or [type(error).__name__])[0]) from None


def parse_devices(asked: str) -> list[str]:
    """ "auto", "cpu", "cpu:2" (processes), "cuda", "1", "cuda:1", "0,1" -> the device of each rank."""
    if asked == "auto":
        return ["cuda" if torch.cuda.is_available() else "cpu"]
    if found := re.fullmatch(r"cpu:(\d{1,3})", asked):
        if not int(found[1]):
            raise PlifError(f"--devices {asked}: expected at least one process")
        return ["cpu"] * int(found[1])
    if re.fullmatch(r"(cuda:)?\d+(,\d+)*", asked):
        numbers = asked.removeprefix("cuda:").split(",")
        if len(set(numbers)) < len(numbers):
            raise PlifError(f"--devices {asked}: a GPU is named twice")
        return [f"cuda:{number}" for number in numbers]
    if "," in asked:
        raise PlifError(f"--devices {asked}: expected for example cpu, cpu:2, cuda:0 or 0,1")
    return [asked]


def check_there(name: str) -> None:
    """PlifError for a GPU that is not there. Touches none: that would take memory of each in every process."""
    if found := re.fullmatch(r"cuda(?::(\d+))?", name):
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(found[1] or 0) >= there:
            raise PlifError(
                f"device '{name}' cannot be used (PyTorch finds {there} GPUs); expected cpu, or cuda with a GPU"
            )


def usable(name: str) -> torch.device:
    """The device, tried. PlifError when PyTorch cannot compute on it."""
    try:
        check_there(name)
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise PlifError(f"device '{name}' cannot be used ({reason}); expected cpu, or cuda with a GPU") from None
    return device


@contextmanager
def joined(devices: Sequence[str]) -> Iterator[tuple[World, str]]:
    """(this process among the ranks, its device). Starts the other ranks, with the same command line, where there are
    several devices and nobody (torchrun) did; ends them with this one."""
    launched = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    size = int(os.environ["WORLD_SIZE"]) if launched else len(devices)
    if size == 1:
        yield World(), devices[0]
        return
    rank = int(os.environ["RANK"]) if launched else 0
    local = int(os.environ.get("LOCAL_RANK", rank)) if launched else 0
    device = devices[local] if local < len(devices) else f"cuda:{local}" if devices[0].startswith("cuda") else "cpu"
    others: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as said:
        try:
            if launched:
                host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            else:
                host, port = "127.0.0.1", _free_port()
                others = [_start(i, size, host, port, said.fileno()) for i in range(1, size)]
            # torchrun has a store of its own at that port
            master = rank == 0 and "TORCHELASTIC_RUN_ID" not in os.environ
            if device.startswith("cuda"):
                check_there(device)
                torch.cuda.set_device(device)
            try:
                with _together():
                    store = dist.TCPStore(host, port, size, master, timedelta(seconds=MEETING_S))
                    backend = "nccl" if device.startswith("cuda") else "gloo"
                    dist.init_process_group(backend, store=dist.PrefixStore("plif", store), rank=rank, world_size=size)
                yield World(rank, size), device
            except Lost as error:  # nothing else: what goes wrong in this process is not the others' fault
                said.seek(0)
                words = said.read().decode(errors="replace").strip().splitlines() or str(error).splitlines()
                raise PlifError(f"rank {rank} of {size} lost the others: {words[-1][:200]}") from None
        except KeyboardInterrupt:
            # A message may be half sent; the destructors of gloo's threads then abort the process at its very end.
            atexit.register(_leave_at_once, 130)
            raise
        finally:
            for process in others:
                process.terminate()
            for process in others:
                process.wait()
            if dist.is_initialized():
                dist.destroy_process_group()


def _leave_at_once(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _start(rank: int, size: int, host: str, port: int, said: int) -> subprocess.Popen[bytes]:
    code = "import sys; from runtime.cli.main import run; sys.exit(run(sys.argv[1:]))"
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    environment = {**os.environ, **place, "MASTER_ADDR": host, "MASTER_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *sys.argv[1:]], env=environment, stdout=subprocess.DEVNULL, stderr=said
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
