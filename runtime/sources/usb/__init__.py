"""Event cameras on USB: `usb://`, or `usb://SERIAL` where there are several. Extra [usb].

Prophesee EVK4 and EVK3 HD, iniVation DAVIS346 and DVXplorer, CenturyArks VGA, through the package
neuromorphic-drivers, with its default biases. Its ring of USB packets is bounded; packets that overflow there are
counted, in the notes (the number of their events is unknown). When a camera is unplugged, the source searches for it
until it is back.
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
from runtime.core.events.sources.usable import keep_usable, split_packets

if TYPE_CHECKING:
    import neuromorphic_drivers

POLL_S = 0.02  # the longest wait for events between two checks for the end or a tick
RETRY_S = 1.0


class UsbSource(Source):
    """A source that reads events from a USB event camera, which the constructor opens."""

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
        self._device = self._open_camera()
        properties = self._device.properties()
        self.sensor = int(properties.width), int(properties.height)
        if sensor is not None and tuple(sensor) != self.sensor:
            self._close_camera()
            raise PlifError(f"{name}: this camera is {self.sensor[0]}x{self.sensor[1]}, not {sensor[0]}x{sensor[1]}")

    def _open_camera(self) -> neuromorphic_drivers.Device:
        try:
            return self._drivers.open(serial=self._serial, iterator_timeout=POLL_S)
        except Exception as error:  # RuntimeError with libusb's text, which may be empty
            raise PlifError(f"{self.name}: {self._explain_error(error)}") from None

    def _explain_error(self, error: Exception) -> str:
        words = " ".join(str(error).split())[:160]
        try:
            listed = self._drivers.list_devices()
        except Exception:
            container = "in a container, pass the device on: docker run --device /dev/bus/usb"
            return f"USB cannot be used here (libusb: {words}); {container}"
        if not listed:
            return f"no camera is connected ({words}); plug it in, or see whether the computer lists it: lsusb"
        blocked = next((device.error for device in listed if device.error), None)
        if blocked:
            return f"a camera is there and may not be opened ({blocked}); run neuromorphic-drivers-install-udev-rules"
        cameras = ", ".join(f"{device.name.value} usb://{device.serial}" for device in listed)
        return f"cannot be opened ({words}); there are: {cameras}"

    def close(self) -> None:
        self._stop.set()
        if not self._begun:
            self._close_camera()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Yield events [N] of EVENT_DTYPE as they arrive from the USB camera."""
        self.begin(max_events)
        try:
            while not self._stop.is_set():
                try:
                    yield from self._read_until_lost(max_events)
                except (RuntimeError, OSError) as error:  # the drivers raise these when the camera is unplugged
                    yield from self._reopen(error)
        finally:
            self._close_camera()
            self.losses.close(self.name)
            if self.dropped_packets:
                self.notes.append(
                    f"{self.name}: {self.dropped_packets} USB packets overflowed before we could read them"
                )

    def _read_until_lost(self, max_events: int) -> Iterator[np.ndarray]:
        dropped_before = self.dropped_packets
        for status, packet in self._device:
            if status.ring is not None:
                self.dropped_packets = dropped_before + int(status.ring.dropped_packets)
            if packet is not None and packet.polarity_events is not None:
                raw = packet.polarity_events
                events = make_events(raw["t"].astype(np.int64), raw["x"], raw["y"], raw["on"])
                yield from split_packets(keep_usable(events, self.sensor, self.losses), max_events)
            elif self.tick_s is not None:
                yield TICK
            if self._stop.is_set():
                return

    def _reopen(self, error: Exception) -> Iterator[np.ndarray]:
        """Try to reopen a lost USB camera; yield empty packets until it is back or the stream ends."""
        lost_s = time.monotonic()
        self.went_away(f"the camera went away ({' '.join(str(error).split())[:100]}): lost")
        self._close_camera()
        while True:
            yield from self.wait_with_ticks(self._stop, RETRY_S)
            if self._stop.is_set():
                return
            try:
                self._device = self._open_camera()
            except PlifError:
                continue
            self.came_back(lost_s)
            return

    def _close_camera(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            device.close()

    live = True


SOURCE = UsbSource
