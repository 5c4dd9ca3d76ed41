"""An event camera in NumPy: frames of linear intensity in, events out.

Each pixel keeps a reference r, the log intensity at its last event. With L = log(I + offset), I in 0..1:

    ON   when L >= r + theta_on,      then r <- r + theta_on
    OFF  when L <= r - theta_off,     then r <- r - theta_off

Between two frames L is interpolated linearly, so a crossing of level c has the time

    t = t0 + (t1 - t0) (c - L0) / (L1 - L0)

and one pixel may cross several levels between two frames. This is the sampling of ESIM (Rebecq, Gehrig, Scaramuzza,
"ESIM: an open event camera simulator", CoRL 2018). A real sensor differs from that ideal by:

    mismatch      theta of each pixel is drawn once, theta (1 + N(0, mismatch)), at least a quarter of theta
    bandwidth     the photoreceptor is a low-pass: dL/dt = 2 pi bandwidth_hz (log(I + offset) - L)
    refractory    a crossing within refractory_us of the pixel's last event gives no event; the reference still follows
    leak          the reference falls by theta_on * leak_hz a second, so that a still scene gives rare ON events
    noise         a Poisson process of noise_hz events a second and pixel, half ON and half OFF
    jitter        N(0, jitter_us) is added to every time, since the arbiter of a sensor reads one event after the other

Times are whole microseconds within the first and the last frame's time, and events are sorted by time.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.core.events.array import EVENT_DTYPE, make_events
from runtime.datasets.simulated_camera.native import PixelArrays, load_library

Array = np.ndarray
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sensor:
    """The parameters of one simulated event camera.

    Thresholds are steps of log intensity; `offset` is the dark level that is added to I.
    """

    threshold_on: float = 0.45
    threshold_off: float = 0.45
    mismatch: float = 0.1
    offset: float = 0.08
    refractory_us: float = 500.0
    bandwidth_hz: float | None = None
    leak_hz: float = 0.0
    noise_hz: float = 0.0
    jitter_us: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in ("threshold_on", "threshold_off", "offset", "bandwidth_hz"):
                good, expected = value is None or value > 0, "a number above 0"
            else:
                good, expected = value >= 0, "0 or more"
            if not good:
                raise PlifError(f"simulated sensor: {name}={value}, expected {expected}")

    def draw_thresholds(self, pixels: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw random ON and OFF thresholds for every pixel of a simulated camera, each float32 [pixels]."""
        spread = 1 + self.mismatch * rng.standard_normal((2, pixels), dtype=np.float32)
        spread = np.maximum(spread, 0.25).astype(np.float32)
        return spread[0] * np.float32(self.threshold_on), spread[1] * np.float32(self.threshold_off)


class _PixelState:
    """The state of many independent pixels of simulated cameras, updated frame by frame, in flat arrays [pixels]."""

    def __init__(
        self, on: Floats, off: Floats, refractory_us: Floats, leak: Floats, first: Floats, t_us: float
    ) -> None:
        count = len(on)
        self.level, self.t_us = first.copy(), t_us
        # leak is in log intensity a microsecond
        state = (on, off, refractory_us, leak, first.copy(), self.level, np.full(count, -np.inf))
        self._state = (*state, np.empty(count, np.int32), np.empty(count, np.int32))
        self._used, self._leaks = 0, bool(leak.any())
        self._fired: tuple[Array, ...] = (np.empty(0, np.int32), np.empty(0), np.empty(0, bool))
        self._make_room(count)

    def _make_room(self, room: int) -> None:
        """Resize the buffers for the simulated pixels' events to `room` events; existing events stay."""
        pixel, t, up = self._fired = tuple(np.resize(column, room) for column in self._fired)
        self._c = PixelArrays(
            *(array.ctypes.data for array in (*self._state, pixel, t, up)), len(self.level), room, self._leaks
        )

    def take_events(self) -> tuple[Array, Array, Array]:
        """Return and clear the simulated pixels' events since the last call: pixel, time in us, is ON; each [N]."""
        pixel, t, up = (column[: self._used].copy() for column in self._fired)
        self._used = 0
        return pixel, t, up

    def step(self, t_us: float, level: Floats) -> None:
        """Advance the simulated pixels to the frame at t_us with log intensity `level`, float32 [pixels].

        The events are stored for `take_events`.
        """
        used = self._advance(t_us, level)
        if used > self._c.room:
            self._make_room(2 * used)
            used = self._advance(t_us, level)
        if used < 0:
            raise PlifError(f"simulated sensor: an intensity at {t_us:.0f} us is not finite")
        self._used, self.t_us = used, t_us

    def _advance(self, t_us: float, level: Floats) -> int:
        used: int = load_library().scene_see(ctypes.byref(self._c), level.ctypes.data, self.t_us, t_us, self._used)
        return used


def simulate_events(
    frames: Iterable[tuple[float, npt.ArrayLike]], sensor: Sensor, rng: np.random.Generator
) -> npt.NDArray[np.void]:
    """Simulate the events [N] that a camera sends for images [H, W], 0..1, given as (t_us, image).

    The events are EVENT_DTYPE, sorted by t. The first frame sets the references and gives no events; fewer than two
    frames give none. Raises PlifError when the times do not rise or the size of the image changes.
    """
    return _SensorBatch([sensor], [rng]).capture((t_us, np.asarray(image)[None]) for t_us, image in frames)[0]


class _SensorBatch:
    """A batch of simulated event cameras, each in front of its own scene, computed together.

    Frames may come in several parts; each part gives the events since the one before. Recording b is the same as of sensor b
    alone: one call of NumPy serves all of them.
    """

    def __init__(
        self, sensors: Sequence[Sensor], rngs: Sequence[np.random.Generator], noise: Floats | None = None
    ) -> None:
        self.sensors, self.rngs = sensors, rngs
        self._offsets = np.array([[sensor.offset] for sensor in sensors], np.float32)
        # cumulated shares of the pixels in the noise, so that a uniform number in 0..1 selects a pixel
        self._noise_shares = (
            None if noise is None else np.cumsum(noise, dtype=np.float64) / float(noise.sum(dtype=np.float64))
        )
        self._pixels: _PixelState | None = None
        self._shape: tuple[int, ...] = ()
        self._numbers = itertools.count()

    def capture(self, frames: Iterable[tuple[float, Array]]) -> list[npt.NDArray[np.void]]:
        """Simulate a batch of cameras over frames (t_us, images [B, H, W]); return the new events [N] of each."""
        start_us = None if self._pixels is None else self._pixels.t_us
        for (t_us, images), number in zip(frames, self._numbers, strict=False):
            shape, name = images.shape[1:], f"simulated sensor, frame {number}"
            if self._pixels is None and len(shape) != 2:
                raise PlifError(f"{name}: shape {shape}, expected [height, width]")
            if self._pixels is not None and shape != self._shape:
                raise PlifError(f"{name}: shape {shape}, expected {self._shape} as in frame 0")
            level = np.maximum(images.reshape(len(images), -1), 0, dtype=np.float32)
            level += self._offsets
            np.log(level, out=level)  # in place: an image of a large sensor exceeds the cache
            if self._pixels is None:
                self._shape, start_us = shape, float(t_us)
                self._pixels = _start_pixels(self.sensors, self.rngs, level.ravel(), start_us)
                continue
            if not t_us > self._pixels.t_us:
                raise PlifError(f"{name}: t_us {t_us} is not after {self._pixels.t_us:.0f}")
            dt_us = float(t_us) - self._pixels.t_us
            self._pixels.step(float(t_us), _low_pass(self._pixels.level, level.ravel(), dt_us, self.sensors))
        if self._pixels is None or start_us is None:
            return [np.empty(0, EVENT_DTYPE) for _ in self.sensors]
        span, pixels = (start_us, self._pixels.t_us), self._shape[0] * self._shape[1]
        pixel, t, up = self._pixels.take_events()
        owner = pixel // pixels  # the recording of each event
        order = np.argsort(owner, kind="stable")
        parts = np.split(order, np.searchsorted(owner[order], np.arange(1, len(self.sensors))))
        return [
            _finish_events(
                (pixel[part] - b * pixels, t[part], up[part]),
                self.sensors[b],
                self.rngs[b],
                span,
                self._shape,
                self._noise_shares,
            )
            for b, part in enumerate(parts)
        ]


class Camera:
    """A simulated event camera for a scene without an end: it takes frames as they come, and returns events.

    `capture` returns the events since the last call. `noise` is the factor of each pixel's noise rate, float32 [H *
    W], mean 1; without it all are equal. Jitter would move events from one call to another and is refused.
    """

    def __init__(self, sensor: Sensor, rng: np.random.Generator, noise: Floats | None = None) -> None:
        if sensor.jitter_us:
            raise PlifError(f"simulated sensor: jitter_us={sensor.jitter_us} in a live scene, expected 0")
        self._view = _SensorBatch([sensor], [rng], noise)

    def capture(self, frames: Iterable[tuple[float, npt.ArrayLike]]) -> npt.NDArray[np.void]:
        """Simulate the camera over frames (t_us, image [H, W]); return the new events [N] (EVENT_DTYPE, sorted)."""
        return self._view.capture((t_us, np.asarray(image)[None]) for t_us, image in frames)[0]


def simulate_batch(
    times_us: Sequence[float] | npt.NDArray[np.float64],
    frames: Floats,
    sensors: Sequence[Sensor],
    rngs: Sequence[np.random.Generator],
) -> list[npt.NDArray[np.void]]:
    """Simulate many camera recordings of one size at once: frames float32 [T, B, H, W] to B arrays of events [N].

    Recording b is exactly the output of `simulate_events` for frames[:, b], sensors[b] and rngs[b]; the other
    recordings do not matter. A batch of 16 is several times faster than 16 calls.
    """
    if frames.ndim != 4 or frames.shape[0] != len(times_us) or frames.shape[1] != len(sensors):
        raise PlifError(
            f"simulated sensor: frames {frames.shape} for {len(times_us)} times and {len(sensors)} sensors,"
            " expected [T, B, height, width]"
        )
    if len(sensors) != len(rngs):
        raise PlifError(f"simulated sensor: {len(sensors)} sensors and {len(rngs)} generators, expected one each")
    return _SensorBatch(sensors, rngs).capture(zip(times_us, frames, strict=True)) if len(sensors) else []


def _low_pass(before: Floats, level: Floats, dt_us: float, sensors: Sequence[Sensor]) -> Floats:
    """Return the output of first-order low-pass filters (the pixels) after dt_us of a constant input `level`."""
    if all(sensor.bandwidth_hz is None for sensor in sensors):
        return level
    keep = [
        0.0 if sensor.bandwidth_hz is None else float(np.exp(-2e-6 * np.pi * sensor.bandwidth_hz * dt_us))
        for sensor in sensors
    ]
    column = np.asarray(keep, np.float32)[:, None]
    shape = (len(sensors), -1)
    mixed: Floats = level.reshape(shape) + column * (before.reshape(shape) - level.reshape(shape))
    return mixed.ravel()


def _start_pixels(
    sensors: Sequence[Sensor], rngs: Sequence[np.random.Generator], first: Floats, t_us: float
) -> _PixelState:
    pixels = len(first) // len(sensors)
    drawn = [sensor.draw_thresholds(pixels, rng) for sensor, rng in zip(sensors, rngs, strict=True)]
    on = np.concatenate([pair[0] for pair in drawn])
    off = np.concatenate([pair[1] for pair in drawn])
    refractory = np.repeat(np.asarray([sensor.refractory_us for sensor in sensors], np.float32), pixels)
    leak = on * np.repeat(np.asarray([sensor.leak_hz * 1e-6 for sensor in sensors], np.float32), pixels)
    return _PixelState(on, off, refractory, leak, first, t_us)


def _finish_events(
    fired: tuple[Array, Array, Array],
    sensor: Sensor,
    rng: np.random.Generator,
    span_us: tuple[float, float],
    shape: tuple[int, ...],
    noisy: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.void]:
    """Convert a simulated sensor's raw events (pixel, time in us, is ON) to events [M], with noise and jitter.

    Events are sorted by time, in whole microseconds. `noisy` [H * W] is the cumulated share of each pixel in the
    noise.
    """
    pixel, t, up = fired
    pixels = shape[0] * shape[1]
    noise = int(rng.poisson(sensor.noise_hz * pixels * (span_us[1] - span_us[0]) * 1e-6))
    if noise:
        if noisy is None:
            noise_pixel = rng.integers(0, pixels, noise)
        else:
            noise_pixel = np.minimum(noisy.searchsorted(rng.random(noise), "right"), pixels - 1)
        pixel = np.concatenate([pixel, noise_pixel])
        t = np.concatenate([t, rng.uniform(*span_us, noise)])
        up = np.concatenate([up, rng.random(noise) < 0.5])
    if sensor.jitter_us and len(t):
        t = t + rng.normal(0, sensor.jitter_us, len(t))
    times = np.rint(np.clip(t, *span_us)).astype(np.int64)
    sort = sort_order(times)
    y, x = np.divmod(pixel[sort], shape[-1])
    return make_events(times[sort], x, y, up[sort])


def sort_order(times: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the indices [N] that sort times [N] in us, the earlier of equals first.

    NumPy sorts 16 bits in one pass over them.
    """
    since = times - times.min() if len(times) else times
    return np.argsort(since.astype(np.uint16) if since.max(initial=0) < 1 << 16 else since, kind="stable")
