"""An event camera in NumPy: frames of linear intensity in, events out.

Each pixel keeps a reference r, the log intensity at its last event. With L = log(I + offset), I in 0..1:

    ON   when L >= r + theta_on,      then r <- r + theta_on
    OFF  when L <= r - theta_off,     then r <- r - theta_off

Between two frames L is taken as a straight line, so a crossing of level c has the time

    t = t0 + (t1 - t0) (c - L0) / (L1 - L0)

and one pixel may cross several levels between two frames. This is the sampling of ESIM (Rebecq, Gehrig, Scaramuzza,
"ESIM: an open event camera simulator", CoRL 2018). What makes a real sensor different from that ideal is:

    mismatch      theta of each pixel is drawn once, theta (1 + N(0, mismatch)), kept above a quarter of theta
    bandwidth     the photoreceptor is a low-pass: dL/dt = 2 pi bandwidth_hz (log(I + offset) - L)
    refractory    a crossing within refractory_us of the pixel's last event gives no event; the reference still follows
    leak          the reference sinks by theta_on * leak_hz a second, so that a still scene gives rare ON events
    noise         a Poisson process of noise_hz events a second and pixel, half ON and half OFF
    jitter        every time gets N(0, jitter_us), for the arbiter that reads one event after the other

Times are whole microseconds within the first and the last frame's time, and events are sorted by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.base.errors import PlifError
from runtime.events.array import EVENT_DTYPE

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sensor:
    """The parameters of one camera. Thresholds are steps of log intensity; `offset` is the dark level added to I."""

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
        for name in ("threshold_on", "threshold_off", "offset"):
            if not getattr(self, name) > 0:
                raise PlifError(f"simulated sensor: {name}={getattr(self, name)}, expected a number above 0")
        for name in ("mismatch", "refractory_us", "leak_hz", "noise_hz", "jitter_us"):
            if not getattr(self, name) >= 0:
                raise PlifError(f"simulated sensor: {name}={getattr(self, name)}, expected 0 or more")
        if self.bandwidth_hz is not None and not self.bandwidth_hz > 0:
            raise PlifError(f"simulated sensor: bandwidth_hz={self.bandwidth_hz}, expected above 0, or None")

    def thresholds(self, pixels: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """The ON and the OFF threshold of every pixel, each float32 [pixels]."""
        spread = 1 + self.mismatch * rng.standard_normal((2, pixels), dtype=np.float32)
        spread = np.maximum(spread, 0.25).astype(np.float32)
        return spread[0] * np.float32(self.threshold_on), spread[1] * np.float32(self.threshold_off)


class _Pixels:
    """The state of many independent pixels, stepped frame by frame. Arrays are flat, one entry a pixel."""

    def __init__(
        self, on: Floats, off: Floats, refractory_us: Floats, leak: Floats, first: Floats, t_us: float
    ) -> None:
        self.on, self.off, self.refractory_us = on, off, refractory_us
        self.leak_per_us = leak  # log intensity a microsecond
        self.leaks = bool(leak.any())
        self.refractory = bool(refractory_us.any())
        self.reference = first.copy()
        self.level = first
        self.t_us = t_us
        self.last_us = np.full(len(on), -np.inf) if self.refractory else np.empty(0)
        self.found: list[tuple[Array, Array, Array]] = []

    def step(self, t_us: float, level: Floats) -> None:
        """Moves on to the frame at t_us, whose log intensity is `level`; what it fires is kept in `found`."""
        dt_us = t_us - self.t_us
        if self.leaks:
            self.reference -= self.leak_per_us * np.float32(dt_us)
        difference = level - self.reference
        at = np.flatnonzero((difference >= self.on) | (difference <= -self.off))
        if at.size:
            self._fire(at, difference[at], level, dt_us)
        self.level, self.t_us = level, t_us

    def _fire(self, at: Array, difference: Floats, level: Floats, dt_us: float) -> None:
        up = difference > 0
        size = np.where(up, self.on[at], self.off[at])
        crossings = np.floor(np.abs(difference) / size).astype(np.int64)
        crossings = np.maximum(crossings, 1)  # the comparison above decides; the division may round below 1
        signed = np.where(up, size, -size)
        start, slope = self.level[at], level[at] - self.level[at]
        slope = np.where(slope == 0, np.float32(1), slope)  # only leak can cross without a change: then at the frame
        reference = self.reference[at]
        for k in range(1, int(crossings.max()) + 1):
            if k > 1:
                more = crossings >= k
                at, up, signed, crossings = at[more], up[more], signed[more], crossings[more]
                start, slope, reference = start[more], slope[more], reference[more]
            fraction = np.clip((reference + k * signed - start) / slope, 0, 1).astype(np.float64)
            t = self.t_us + dt_us * fraction
            if self.refractory:
                heard = t - self.last_us[at] >= self.refractory_us[at]
                self.last_us[at[heard]] = t[heard]
                self.found.append((at[heard], t[heard], up[heard]))
            else:
                self.found.append((at, t, up))
            self.reference[at] = reference + k * signed


def simulate(
    frames: Iterable[tuple[float, npt.ArrayLike]], sensor: Sensor, rng: np.random.Generator
) -> npt.NDArray[np.void]:
    """Events (EVENT_DTYPE, sorted by t) of a sequence of (t_us, image); images are [H, W], linear intensity 0..1.

    The first frame sets the references and gives no events. Fewer than two frames give none. Raises PlifError when
    times do not rise or the size of the image changes.
    """
    pixels: _Pixels | None = None
    start_us = 0.0
    width = 0
    shape: tuple[int, ...] = ()
    for index, (t_us, picture) in enumerate(frames):
        image = np.asarray(picture, dtype=np.float32)
        if pixels is None:
            if image.ndim != 2:
                raise PlifError(f"simulated sensor, frame 0: shape {image.shape}, expected [height, width]")
            shape, start_us, width = image.shape, float(t_us), image.shape[1]
            level = _log(image, sensor).ravel()
            pixels = _pixels([sensor], [rng], level, start_us)
            continue
        if image.shape != shape:
            raise PlifError(f"simulated sensor, frame {index}: shape {image.shape}, expected {shape} as in frame 0")
        if not t_us > pixels.t_us:
            raise PlifError(f"simulated sensor, frame {index}: t_us {t_us} is not after {pixels.t_us:.0f}")
        pixels.step(float(t_us), _low_pass(pixels.level, _log(image, sensor).ravel(), t_us - pixels.t_us, [sensor]))
    if pixels is None:
        return np.empty(0, EVENT_DTYPE)
    return _collect(pixels, [sensor], [rng], start_us, width)[0]


class Camera:
    """`simulate` for a scene without an end: pictures are seen as they come, events leave as they arise.

    `noise` says how much noisier than the sensor's noise_hz each pixel is, float32 [height * width], mean 1; None: alike.
    Jitter would move events across deliveries and is refused.
    """

    def __init__(self, sensor: Sensor, rng: np.random.Generator, noise: Floats | None = None) -> None:
        if sensor.jitter_us:
            raise PlifError(f"simulated sensor: jitter_us={sensor.jitter_us} in a live scene, expected 0")
        self.sensor, self.rng = sensor, rng
        self._noisy = None if noise is None else np.cumsum(noise, dtype=np.float64) / float(noise.sum(dtype=np.float64))
        self._pixels: _Pixels | None = None
        self._shape: tuple[int, ...] = ()

    def see(self, frames: Iterable[tuple[float, npt.ArrayLike]]) -> npt.NDArray[np.void]:
        """Events (EVENT_DTYPE, sorted) between the last picture seen so far and the last of these, (t_us, image)."""
        start_us = self._pixels.t_us if self._pixels is not None else None
        for t_us, picture in frames:
            image = np.asarray(picture, dtype=np.float32)
            level = _log(image, self.sensor).ravel()
            if self._pixels is None:
                self._shape, start_us = image.shape, float(t_us)
                self._pixels = _pixels([self.sensor], [self.rng], level, float(t_us))
                continue
            if image.shape != self._shape or not t_us > self._pixels.t_us:
                raise PlifError(
                    f"simulated sensor: picture {image.shape} at {t_us} us, expected {self._shape} after"
                    f" {self._pixels.t_us:.0f} us"
                )
            dt_us = float(t_us) - self._pixels.t_us
            self._pixels.step(float(t_us), _low_pass(self._pixels.level, level, dt_us, [self.sensor]))
        if self._pixels is None or start_us is None:
            return np.empty(0, EVENT_DTYPE)
        events = self._take(start_us)
        self._pixels.found.clear()
        return events

    def _take(self, start_us: float) -> npt.NDArray[np.void]:
        assert self._pixels is not None
        each, end_us = len(self._pixels.on), self._pixels.t_us
        noise = int(self.rng.poisson(self.sensor.noise_hz * each * (end_us - start_us) * 1e-6))
        if noise:
            at = (
                self.rng.integers(0, each, noise)
                if self._noisy is None
                else np.minimum(self._noisy.searchsorted(self.rng.random(noise), "right"), each - 1)
            )
            self._pixels.found.append((at, self.rng.uniform(start_us, end_us, noise), self.rng.random(noise) < 0.5))
        if not self._pixels.found:
            return np.empty(0, EVENT_DTYPE)
        at, t, up = (np.concatenate(parts) for parts in zip(*self._pixels.found, strict=True))
        return _recorded(at, t, up, start_us, end_us, self._shape[-1])


def simulate_batch(
    times_us: Sequence[float] | npt.NDArray[np.float64],
    frames: Floats,
    sensors: Sequence[Sensor],
    rngs: Sequence[np.random.Generator],
) -> list[npt.NDArray[np.void]]:
    """`simulate` for many recordings of one size and one clock at once: frames [T, B, H, W] -> B arrays of events.

    Recording b is exactly what `simulate` gives for frames[:, b], sensors[b] and rngs[b]: neighbours do not matter.
    The work that a frame costs NumPy is shared, so a batch of 16 is several times faster than 16 calls.
    """
    if frames.ndim != 4 or frames.shape[0] != len(times_us) or frames.shape[1] != len(sensors):
        raise PlifError(
            f"simulated sensor: frames {frames.shape} for {len(times_us)} times and {len(sensors)} sensors,"
            " expected [T, B, height, width]"
        )
    if len(sensors) != len(rngs):
        raise PlifError(f"simulated sensor: {len(sensors)} sensors and {len(rngs)} generators, expected one each")
    if len(times_us) == 0 or len(sensors) == 0:
        return [np.empty(0, EVENT_DTYPE) for _ in sensors]
    steps_us = np.diff(np.asarray(times_us, np.float64))
    if (steps_us <= 0).any():
        index = int(np.argmax(steps_us <= 0)) + 1
        raise PlifError(f"simulated sensor, frame {index}: t_us {times_us[index]} is not after {times_us[index - 1]}")
    count, width = len(sensors), frames.shape[3]
    levels = np.empty((frames.shape[0], count, frames.shape[2] * width), np.float32)
    for b, sensor in enumerate(sensors):
        levels[:, b] = _log(frames[:, b], sensor).reshape(len(levels), -1)
    flat = levels.reshape(len(levels), -1)
    pixels = _pixels(sensors, rngs, flat[0], float(times_us[0]))
    for t_us, level in zip(times_us[1:], flat[1:], strict=True):
        pixels.step(float(t_us), _low_pass(pixels.level, level, float(t_us) - pixels.t_us, sensors))
    return _collect(pixels, sensors, rngs, float(times_us[0]), width)


def _log(image: Floats, sensor: Sensor) -> Floats:
    return np.log(np.maximum(image, np.float32(0)) + np.float32(sensor.offset))


def _low_pass(before: Floats, now: Floats, dt_us: float, sensors: Sequence[Sensor]) -> Floats:
    """The exact answer of a first-order low-pass to a step held for dt_us."""
    if all(sensor.bandwidth_hz is None for sensor in sensors):
        return now
    keep = [
        0.0 if sensor.bandwidth_hz is None else float(np.exp(-2e-6 * np.pi * sensor.bandwidth_hz * dt_us))
        for sensor in sensors
    ]
    column = np.asarray(keep, np.float32)[:, None]
    shape = (len(sensors), -1)
    mixed: Floats = now.reshape(shape) + column * (before.reshape(shape) - now.reshape(shape))
    return mixed.ravel()


def _pixels(sensors: Sequence[Sensor], rngs: Sequence[np.random.Generator], first: Floats, t_us: float) -> _Pixels:
    each = len(first) // len(sensors)
    drawn = [sensor.thresholds(each, rng) for sensor, rng in zip(sensors, rngs, strict=True)]
    on = np.concatenate([pair[0] for pair in drawn])
    off = np.concatenate([pair[1] for pair in drawn])
    refractory = np.repeat(np.asarray([sensor.refractory_us for sensor in sensors], np.float32), each)
    leak = on * np.repeat(np.asarray([sensor.leak_hz * 1e-6 for sensor in sensors], np.float32), each)
    return _Pixels(on, off, refractory, leak, first, t_us)


def _collect(
    pixels: _Pixels, sensors: Sequence[Sensor], rngs: Sequence[np.random.Generator], start_us: float, width: int
) -> list[npt.NDArray[np.void]]:
    """Adds noise and jitter, then sorts each recording by time."""
    each = len(pixels.on) // len(sensors)
    end_us = pixels.t_us
    if pixels.found:
        at, t, up = (np.concatenate(parts) for parts in zip(*pixels.found, strict=True))
    else:
        at, t, up = np.empty(0, np.int64), np.empty(0), np.empty(0, bool)
    owner = at // each
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(len(sensors) + 1))
    recordings = []
    for b, (sensor, rng) in enumerate(zip(sensors, rngs, strict=True)):
        mine = order[bounds[b] : bounds[b + 1]]
        own_at, own_t, own_up = at[mine] - b * each, t[mine], up[mine]
        noise = int(rng.poisson(sensor.noise_hz * each * (end_us - start_us) * 1e-6)) if sensor.noise_hz else 0
        if noise:
            own_at = np.concatenate([own_at, rng.integers(0, each, noise)])
            own_t = np.concatenate([own_t, rng.uniform(start_us, end_us, noise)])
            own_up = np.concatenate([own_up, rng.random(noise) < 0.5])
        if sensor.jitter_us and len(own_t):
            own_t = own_t + rng.normal(0, sensor.jitter_us, len(own_t))
        recordings.append(_recorded(own_at, own_t, own_up, start_us, end_us, width))
    return recordings


def _recorded(at: Array, t: Array, up: Array, start_us: float, end_us: float, width: int) -> npt.NDArray[np.void]:
    """Events sorted by time, in whole microseconds."""
    times = np.rint(np.clip(t, start_us, end_us)).astype(np.int64)
    sort = np.argsort(times, kind="stable")
    events = np.empty(len(times), EVENT_DTYPE)
    events["t"] = times[sort]
    events["y"], events["x"] = np.divmod(at[sort], width)
    events["p"] = up[sort]
    return events
