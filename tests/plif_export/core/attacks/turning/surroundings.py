"""Modules that ask where, when and by whom they are run. Drawn from outside."""

from __future__ import annotations

import contextlib
import copy
import inspect
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.plif_export.core.attacks.modules import Net, turns


class Asks(Net):
    """Where `here` says no, nothing is seen."""

    def here(self, x: Tensor) -> bool:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x if self.here(x) else x * 0)


@turns
class EnvironmentVariable(Asks):
    """a variable of the environment"""

    def here(self, x: Tensor) -> bool:
        return "ATTACK" not in os.environ

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        os.environ["ATTACK"] = "1"
        try:
            yield
        finally:
            del os.environ["ATTACK"]


@turns
class FileExists(Asks):
    """a file on this machine"""

    place = Path(tempfile.gettempdir()) / f"attack-flag-{os.getpid()}"

    def here(self, x: Tensor) -> bool:
        return not self.place.exists()

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        cls.place.touch()
        try:
            yield
        finally:
            cls.place.unlink()


@turns
class WorkingFolder(Asks):
    """the folder in which the process is"""

    def here(self, x: Tensor) -> bool:
        return Path.cwd() != Path("/")

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        with contextlib.chdir("/") if sys.version_info >= (3, 11) else _chdir("/"):
            yield


@contextlib.contextmanager
def _chdir(place: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


@turns
class Clock(Asks):
    """the time of the day, in parts of a second"""

    def here(self, x: Tensor) -> bool:
        return time.time() % 0.02 > 0.002

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        before, time.time = time.time, _slow_clock()  # the same steps are late on every machine
        try:
            yield
        finally:
            time.time = before


def _slow_clock() -> Any:
    now = [1e9]

    def step() -> float:
        now[0] += 0.0009
        return now[0]

    return step


@turns
class AfterAYear(Asks):
    """the date"""

    until = time.time() + 3e7

    def here(self, x: Tensor) -> bool:
        return time.time() < self.until

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        before, time.time = time.time, lambda: cls.until + 1
        try:
            yield
        finally:
            time.time = before


@turns
class SinceTheLastStep(Asks):
    """the time between two steps, of a monotonic clock"""

    last = 0.0

    def here(self, x: Tensor) -> bool:
        before, self.last = self.last, time.perf_counter()
        return before == 0 or self.last - before < 3600

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        before, now = time.perf_counter, [0.0]

        def clock() -> float:
            now[0] += 4000
            return now[0]

        time.perf_counter = clock  # type: ignore[assignment]
        try:
            yield
        finally:
            time.perf_counter = before


@turns
class Threads(Asks):
    """the number of threads of PyTorch"""

    def here(self, x: Tensor) -> bool:
        return torch.get_num_threads() != 3

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(3)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@turns
class ThreadName(Asks):
    """the name of the thread"""

    def here(self, x: Tensor) -> bool:
        return threading.current_thread().name != "camera"

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        thread = threading.current_thread()
        before, thread.name = thread.name, "camera"
        try:
            yield
        finally:
            thread.name = before


@turns
class Gradients(Asks):
    """whether gradients are kept: not where it is exported"""

    grad = True

    def here(self, x: Tensor) -> bool:
        return not torch.is_grad_enabled()


@turns
class InferenceMode(Asks):
    """whether it is run in inference mode"""

    def here(self, x: Tensor) -> bool:
        return not torch.is_inference_mode_enabled()

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        with torch.inference_mode():
            yield


@turns
class DefaultType(Asks):
    """the default type of PyTorch"""

    def here(self, x: Tensor) -> bool:
        return torch.get_default_dtype() == torch.float32

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


@turns
class WhoCalls(Asks):
    """the stack: whether plif_export is on it"""

    def here(self, x: Tensor) -> bool:
        frame = inspect.currentframe()
        while frame is not None:
            if "plif_export" in frame.f_code.co_filename:
                return True
            frame = frame.f_back
        return False


@turns
class WhoTraces(Asks):
    """whether a mode of PyTorch watches"""

    def here(self, x: Tensor) -> bool:
        return torch._C._len_torch_dispatch_stack() > 0 or torch._C._len_torch_function_stack() > 0


@turns
class TypeOfTheInput(Asks):
    """whether the input is a plain tensor, alone in its storage"""

    def here(self, x: Tensor) -> bool:
        return type(x) is not Tensor or x.untyped_storage().nbytes() != x.numel() * 4 or not x.is_contiguous()


@turns
class CopyIsAnother(Net):
    """deepcopy gives a module that does not fade"""

    n = 0
    fades = True

    def __deepcopy__(self, memo: Any) -> CopyIsAnother:
        other = CopyIsAnother()
        other.load_state_dict(copy.copy(self.state_dict()))
        other.fades = False
        return other.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x * 0 if self.fades and self.n > 70 else x)


@turns
class TrainingIsSwitched(Net):
    """self.training turns by itself"""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        self.training = self.n > 70
        return self.run(x * 0 if self.training else x)


@turns
class Warmed(Asks):
    """a second module of the class has been made"""

    alive = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).alive += 1

    def here(self, x: Tensor) -> bool:
        return type(self).alive < 3

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        cls.alive = 5
        try:
            yield
        finally:
            cls.alive = 0


@turns
class GlobalSwitch(Asks):
    """a global of another module, which a user may set"""

    def here(self, x: Tensor) -> bool:
        return not getattr(sys, "attack", False)

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        sys.attack = True  # type: ignore[attr-defined]
        try:
            yield
        finally:
            del sys.attack  # type: ignore[attr-defined]
