"""Membranes that stay on a device: the session's arrays [rows, ...], with a copy on the host for whoever looks at them.

Between two steps nothing is moved. Reading (snapshot, the gate, rows through the host) fetches what the device has; writing
(reset, restore) changes the copy on the host, which goes up before the next step. Which of the two is newer is known at
every moment, so none is ever lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class DeviceArray(ABC):
    """float32 [rows, ...] on a device. A backend says how bytes go up and down; `allocate` may be pinned memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.dtype = np.dtype(np.float32)
        self._host: np.ndarray | None = None  # made when someone looks
        self._host_is_newer = False
        self._device_is_newer = False

    @abstractmethod
    def upload(self, source: np.ndarray) -> None:
        """Host -> device, before what is run next on the device."""

    @abstractmethod
    def download(self, target: np.ndarray) -> None:
        """Device -> host, complete on return."""

    def allocate(self) -> np.ndarray:
        """The copy on the host."""
        return np.zeros(self.shape, self.dtype)

    # --- for the engine: around a step ----------------------------------------------------------------------------

    def to_device(self) -> None:
        """What was written on the host goes up."""
        if self._host_is_newer:
            self.upload(self._array())
            self._host_is_newer = False

    def was_written(self) -> None:
        """The device has just written it; the host's copy is old."""
        self._host_is_newer, self._device_is_newer = False, True

    # --- for the session: as an array -----------------------------------------------------------------------------

    def host(self) -> np.ndarray:
        """The values as they are now. A view of the copy: write through `array[...] = values` only."""
        array = self._array()
        if self._device_is_newer:
            self.download(array)
            self._device_is_newer = False
        return array

    def __getitem__(self, which: Any) -> np.ndarray:
        return np.asarray(self.host()[which])

    def __setitem__(self, which: Any, values: Any) -> None:
        everything = which is Ellipsis or (isinstance(which, slice) and which == slice(None))
        array = self._array() if everything else self.host()
        array[which] = values
        self._host_is_newer, self._device_is_newer = True, False

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.host()
        return array.astype(dtype) if dtype is not None and dtype != array.dtype else array.copy()

    def rows_to(self, which: np.ndarray, part: DeviceArray) -> None:
        """Rows `which` of this array become the rows of `part`. Backends that can do it on the device do it there."""
        part[...] = self[which]

    def rows_from(self, which: np.ndarray, part: DeviceArray) -> None:
        """The rows of `part` become rows `which` of this array."""
        self[which] = part[...]

    def _array(self) -> np.ndarray:
        if self._host is None:
            self._host = self.allocate()
        return self._host
