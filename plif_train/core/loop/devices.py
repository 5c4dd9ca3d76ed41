"""Devices of a training, and its single process; a part adds several (HEARS = ("ranks",))."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import parse_list
from runtime.core.observers import find_observers


@dataclass(frozen=True)
class World:
    """The group of processes that train one network, seen from one rank (process); here a single process."""

    rank: int = 0
    size: int = 1

    def sum_gradients(self, tensors: Iterable[Tensor | None]) -> None:
        """Replace each gradient tensor [...] by its sum over all training processes, in place, in one message."""

    def sum_numbers(self, values: Sequence[float]) -> list[float]:
        """Return numbers added up over all training processes, in float64."""
        return list(values)

    def broadcast_weights(self, net: nn.Module) -> None:
        """Copy the network's weights and buffers from training process 0 to every other one."""


def parse_devices(text: str) -> list[str]:
    """Parse the text of the option --devices into the torch device of each training process.

    Texts are "auto", "cpu", "cpu:2" (processes), "cuda", "1", "cuda:1", "0,1".
    """
    if text == "auto":
        return ["cuda" if torch.cuda.is_available() else "cpu"]
    if match := re.fullmatch(r"cpu:(\d{1,3})", text):
        if not int(match[1]):
            raise PlifError(f"--devices {text}: expected at least one process")
        return ["cpu"] * int(match[1])
    if re.fullmatch(r"(cuda:)?\d+(,\d+)*", text):
        numbers = parse_list("--devices", text.removeprefix("cuda:"))
        if len(set(numbers)) < len(numbers):
            raise PlifError(f"--devices {text}: a GPU is named twice")
        return [f"cuda:{number}" for number in numbers]
    if "," in text:
        raise PlifError(f"--devices {text}: expected for example cpu, cpu:2, cuda:0 or 0,1")
    return [text]


def check_device(name: str) -> None:
    """Refuse the name of a GPU that does not exist on this machine, without using any GPU.

    A use would take memory of each GPU in every process.
    """
    if match := re.fullmatch(r"cuda(?::(\d+))?", name):
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(match[1] or 0) >= gpus:
            raise PlifError(
                f"device '{name}' cannot be used (PyTorch finds {gpus} GPUs); expected cpu, or cuda with a GPU"
            )


def open_device(name: str) -> torch.device:
    """Return a torch device after a test that PyTorch can compute on it; otherwise raise PlifError."""
    try:
        check_device(name)
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise PlifError(f"device '{name}' cannot be used ({reason}); expected cpu, or cuda with a GPU") from None
    return device


@contextmanager
def join_ranks(devices: Sequence[str]) -> Iterator[tuple[World, str]]:
    """Join the processes of a training as one group; yield (World of this process, its device).

    The part for several processes starts the other ones.
    """
    if len(devices) == 1 and "WORLD_SIZE" not in os.environ:
        yield World(), devices[0]
        return
    part = next(iter(find_observers("ranks", "hooks")), None)
    if part is None:
        raise PlifError(f"--devices {','.join(devices)}: this plif trains in one process; expected one device")
    with part.load("ranks:join_ranks")(devices) as joined:
        yield joined
