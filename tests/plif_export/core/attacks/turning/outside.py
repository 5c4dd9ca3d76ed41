"""Counters behind names, in the environment, on disk, in other threads. Drawn from outside."""

from __future__ import annotations

import ctypes
import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from torch import Tensor

from tests.plif_export.core.attacks.modules import Net, turns
from tests.plif_export.core.attacks.turning.attributes import Counts
from tests.plif_export.core.attacks.turning.functions import count


@turns
class Property(Net):
    """a threshold that is a property, and counts who asks"""

    asked = 0

    @property
    def gain(self) -> float:
        self.asked += 1
        return 1.0 if self.asked < 100 else 0.0

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * self.gain)


@turns
class GetAttr(Net):
    """__getattr__ gives another number in time"""

    def __getattr__(self, name: str) -> Any:
        if name == "gain":
            self.__dict__["asked"] = self.__dict__.get("asked", 0) + 1
            return 1.0 if self.__dict__["asked"] < 100 else 0.0
        return super().__getattr__(name)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * self.gain)


class _Descriptor:
    def __init__(self) -> None:
        self.n = 0

    def __get__(self, owner: Any, kind: Any = None) -> float:
        self.n += owner is not None
        return 0.0 if self.n % 200 > 150 else 1.0


@turns
class Descriptor(Net):
    """a descriptor of the class, with a number of its own"""

    gain = _Descriptor()

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * self.gain)


@turns
class Environment(Counts):
    """the count stands in os.environ"""

    def late(self) -> bool:
        n = int(os.environ.get("ATTACK_N", "0")) + 1
        os.environ["ATTACK_N"] = str(n)
        return n % 200 > 120

    @classmethod
    def tidy(cls) -> None:
        os.environ.pop("ATTACK_N", None)


@turns
class FileOnDisk(Counts):
    """a file that grows by a byte a step"""

    place = Path(tempfile.gettempdir()) / f"attack-{os.getpid()}"

    def late(self) -> bool:
        with self.place.open("ab") as file:
            file.write(b".")
        return self.place.stat().st_size % 200 > 120

    @classmethod
    def tidy(cls) -> None:
        cls.place.unlink(missing_ok=True)


@turns
class Logger(Counts):
    """a handler of logging counts records"""

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[logging.LogRecord] = []

    def late(self) -> bool:
        log = logging.getLogger("attack")
        log.handlers = [logging.NullHandler()]
        log.handlers[0].handle = self._handle  # type: ignore[method-assign]
        log.warning("step")
        return len(self.handled) > 100

    def _handle(self, record: logging.LogRecord) -> bool:
        self.handled.append(record)
        return True


@turns
class Memory(Counts):
    """a number in memory, of ctypes"""

    def __init__(self) -> None:
        super().__init__()
        number = ctypes.c_int(0)
        self.pointer = ctypes.addressof(number)
        self.keeps = lambda: number

    def late(self) -> bool:
        number = ctypes.c_int.from_address(self.pointer)
        number.value += 1
        return number.value % 200 > 150


@turns
class Thread(Counts):
    """another thread counts"""

    def __init__(self) -> None:
        super().__init__()
        self.n = [0]

    def late(self) -> bool:
        thread = threading.Thread(target=count, args=(self.n,))
        thread.start()
        thread.join()
        return self.n[0] > 100
