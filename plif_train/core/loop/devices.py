"""Where a training computes, and that it is alone: several processes are a part's (HEARS = ("ranks",))."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import read_list
from runtime.core.observers import hearing


@dataclass(frozen=True)
class World:
    """This process among those that train together; alone here."""

    rank: int = 0
    size: int = 1

    def add_up(self, tensors: Iterable[Tensor | None]) -> None:
        """Gradients [...]: each tensor becomes the sum over all ranks, in place, in one message."""

    def total(self, values: Sequence[float]) -> list[float]:
        """Numbers added up over all ranks, in float64."""
        return list(values)

    def follow_first(self, net: nn.Module) -> None:
        """Every rank gets the weights and buffers of rank 0."""


def parse_devices(asked: str) -> list[str]:
    """ "auto", "cpu", "cpu:2" (processes), "cuda", "1", "cuda:1", "0,1" -> the device of each rank."""
    if asked == "auto":
        return ["cuda" if torch.cuda.is_available() else "cpu"]
    if found := re.fullmatch(r"cpu:(\d{1,3})", asked):
        if not int(found[1]):
            raise PlifError(f"--devices {asked}: expected at least one process")
        return ["cpu"] * int(found[1])
    if re.fullmatch(r"(cuda:)?\d+(,\d+)*", asked):
        numbers = read_list("--devices", asked.removeprefix("cuda:"))
        if len(set(numbers)) < len(numbers):
            raise PlifError(f"--devices {asked}: a GPU is named twice")
        return [f"cuda:{number}" for number in numbers]
    if "," in asked:
        raise PlifError(f"--devices {asked}: expected for example cpu, cpu:2, cuda:0 or 0,1")
    return [asked]


def check_device(name: str) -> None:
    """PlifError for a GPU that is not there. Uses none of them: that would take memory of each GPU in every process."""
    if found := re.fullmatch(r"cuda(?::(\d+))?", name):
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(found[1] or 0) >= there:
            raise PlifError(
                f"device '{name}' cannot be used (PyTorch finds {there} GPUs); expected cpu, or cuda with a GPU"
            )


def open_device(name: str) -> torch.device:
    """The device, tried. PlifError when PyTorch cannot compute on it."""
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
    """(this process among those that train together, its device); the others are started by the part that can."""
    if len(devices) == 1 and "WORLD_SIZE" not in os.environ:
        yield World(), devices[0]
        return
    part = next(iter(hearing("ranks", "hooks")), None)
    if part is None:
        raise PlifError(f"--devices {','.join(devices)}: this plif trains in one process; expected one device")
    with part.load("ranks:join_ranks")(devices) as joined:
        yield joined
