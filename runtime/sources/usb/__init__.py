"""Event cameras on USB: `usb://`, or `usb://SERIAL` where there are several. Extra [usb].

Prophesee EVK4 and EVK3 HD, iniVation DAVIS346 and DVXplorer, CenturyArks VGA, through the package neuromorphic-drivers, with
its default biases. Its ring of USB packets is bounded; packets that overflow there are counted, in the notes (how many
events they held is unknown). A camera that is pulled out is looked for again until it is back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.events.array import make_events
from runtime.core.events.sources.base import TICK, Source
from runtime.core.events.sources.usable import pieces, usable

if TYPE_CHECKING:
    import neuromorphic_drivers

LOOK_UP_S = 0.02  # how long to wait for events before looking whether the stream has ended, or a frame has
TRY_AGAIN_S = 1.0


class UsbSource(Source):
    """See `Source`. Opening it opens the camera."""

    format = "usb"

    def __init__(self, name: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(name)
        serial = name.removeprefix("usb:").removeprefix("//")
        if "/" in serial or "?" in serial:
            raise PlifError(f"{name}: expected usb:// or usb://SERIAL, without options")
        try:
            import neuromorphic_drivers
        except ImportError:
            raise MissingExtra(name, "usb") from None
        self._drivers = neuromorphic_drivers
        self._serial = serial or None
        self._stop = threading.Event()
        self.dropped_packets = 0
        self._device = self._open()
        properties = self._device.properties()
        self.sensor = int(properties.width), int(properties.height)
        if sensor is not None and tuple(sensor) != self.sensor:
            self._shut()
            raise PlifError(f"{name}: this camera is {self.sensor[0]}x{self.sensor[1]}, not {sensor[0]}x{sensor[1]}")

    def _open(self) -> neuromorphic_drivers.Device:
        try:
            return self._drivers.open(serial=self._serial, iterator_timeout=LOOK_UP_S)
        except Exception as error:  # RuntimeError with libusb's words, which may say nothing
            raise PlifError(f"{self.name}: {self._why(error)}") from None

    def _why(self, error: Exception) -> str:
        words = " ".join(str(error).split())[:160]
        try:
            listed = self._drivers.list_devices()
        except Exception:
            return f"USB cannot be used here ({words}); in a container, pass the device on (--device /dev/bus/usb)"
        if not listed:
            return f"no camera is connected ({words}); plug it in, or see whether the computer lists it: lsusb"
        blocked = next((device.error for device in listed if device.error), None)
        if blocked:
            return f"a camera is there and may not be opened ({blocked}); run neuromorphic-drivers-install-udev-rules"
        there = ", ".join(f"{device.name.value} usb://{device.serial}" for device in listed)
        return f"cannot be opened ({words}); there are: {there}"

    def close(self) -> None:
        self._stop.set()
        if not self._begun:
            self._shut()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Events [N] of EVENT_DTYPE as they come; see Source."""
        self.begin(max_events)
        try:
            while not self._stop.is_set():
                try:
                    yield from self._until_lost(max_events)
                except (RuntimeError, OSError) as error:  # what the drivers raise when the camera is gone
                    yield from self._find_again(error)
        finally:
            self._shut()
            self.losses.close(self.name)
            if self.dropped_packets:
                self.notes.append(
                    f"{self.name}: {self.dropped_packets} USB packets overflowed before we could read them"
                )

    def _until_lost(self, max_events: int) -> Iterator[np.ndarray]:
        dropped_before = self.dropped_packets
        for status, packet in self._device:
            if status.ring is not None:
                self.dropped_packets = dropped_before + int(status.ring.dropped_packets)
            if packet is not None and packet.polarity_events is not None:
                raw = packet.polarity_events
                events = make_events(raw["t"].astype(np.int64), raw["x"], raw["y"], raw["on"])
                yield from pieces(usable(events, self.sensor, self.losses), max_events)
            elif self.tick_s is not None:
                yield TICK
            if self._stop.is_set():
                return

    def _find_again(self, error: Exception) -> Iterator[np.ndarray]:
        """Ticks until the camera is back, or the stream ends."""
        lost_s = time.monotonic()
        self.went_away(f"the camera went away ({' '.join(str(error).split())[:100]}): lost")
        self._shut()
        while True:
            yield from self.ticking(self._stop, TRY_AGAIN_S)
            if self._stop.is_set():
                return
            try:
                self._device = self._open()
            except PlifError:
                continue
            self.came_back(lost_s)
            return

    def _shut(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            device.close()

    live = True


SOURCE = UsbSource
