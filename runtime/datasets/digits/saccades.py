"""The N-MNIST protocol: a still 28 x 28 image, seen by a 34 x 34 event camera that makes three saccades.

Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using saccades" (Frontiers in
Neuroscience 9:437, 2015) put an ATIS sensor on a pan-tilt head in front of a monitor that showed a digit of MNIST, and turned the
head along a triangle: three moves of about 105 ms. On the sensor the digit moves; s(t) is its shift in pixels:

    I(t, i, j) = I_28(i - 3 - s_y(t), j - 3 - s_x(t))        blurred by the lens, 0 outside the 28 x 28

PATH_X_PX and PATH_Y_PX are s(t) every 10 ms as we measured it on 300 recordings of the real set: in each slice of 5 ms
the signed event picture was fitted with c ds . grad log(I(s) + 0.08), over all shifts s, which gives both s and its
speed. The head starts late, swings and stops early; its speed is far from constant. The three moves: down (y grows), up and
to the right, to the left.

Polarity. In the official files the bit p is 1 where the bright digit leaves a pixel and 0 where it arrives (correlation of
the signed pictures over three saccades: 0.90, with the other sign -0.90). Recordings made here do the same, so p = True is a
pixel that becomes darker. In the sensor model itself ON is brighter.

Threshold, gamma of the monitor, blur and offsets were fitted on 100 real recordings, each compared with the simulation of
the same MNIST image. The result on 200 recordings (means, unless said otherwise):

                                              real          CALIBRATED    drawn from RANGES
    events, median (5 to 95 %)                4068 (2164-   4170 (2530-   3644 (2189-
                                              5941)         5531)         5898)
    events in saccade 1, 2, 3                 1453 1348     1543 1349     1474 1281
                                              1267          1201          1118
    share of p = 1                            0.500         0.493         0.489
    event count, correlation                                0.92          0.58
    picture of all events, correlation                      0.948         0.924
    picture by polarity and saccade, corr.                  0.87-0.92     0.83-0.87
    ON - OFF picture by saccade, corr.                      0.88-0.90     0.82-0.84
    events in slices of 10 ms, correlation                  0.989         0.986

A small convolutional network was trained on 12,000 takes, drawn from RANGES, of other images. It recognised 98.1 % of simulated
test recordings, and of real ones 96 of 100 (Test) and 970 of 1000 (Train; the calibration used 300 of these).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.datasets.simulated_camera.sensor import Sensor, simulate_batch

Floats = npt.NDArray[np.float32]

SENSOR_PX = 34
IMAGE_PX = 28
KNOT_US = 10_000
# fmt: off
PATH_X_PX = (-2.55, -2.57, -2.62, -2.69, -2.71, -2.57, -2.10, -1.51, -1.18, -1.08, -0.99, -0.84, -0.60, -0.12, 0.54,
             1.09, 1.37, 1.69, 1.98, 2.15, 2.32, 2.52, 2.62, 2.54, 1.91, 1.01, 0.04, -0.87, -1.52, -1.96, -2.16, -2.19)
PATH_Y_PX = (-1.92, -1.85, -1.52, -0.81, 0.28, 1.53, 2.58, 3.24, 3.48, 3.51, 3.47, 3.42, 3.38, 3.14, 2.44,
             1.41, 0.30, -0.68, -1.23, -1.39, -1.41, -1.42, -1.45, -1.47, -1.45, -1.47, -1.54, -1.64, -1.76, -1.80,
             -1.78, -1.78)
# fmt: on
DURATION_US = KNOT_US * (len(PATH_X_PX) - 1)  # 310 ms; the real recordings end between 297 and 315 ms
FRAME_US = 2_500  # the fastest move is 0.13 px a millisecond: a third of a pixel between two frames
CLOCK_US = np.arange(0, DURATION_US + 1, FRAME_US, dtype=np.float64)
_MARGIN = 5  # black pixels around the image, so that the blur of its edge is not cut off

# The parameters of each recording are uniform between the two numbers; names are those of Sensor and Take. Centres are
# near the calibrated values; widths cover the spread of the real recordings and somewhat more.
RANGES: dict[str, tuple[float, float]] = {
    "threshold": (0.30, 0.52),
    "on_ratio": (0.90, 1.11),  # threshold_on / threshold_off
    "mismatch": (0.02, 0.15),
    "offset": (0.06, 0.11),
    "refractory_us": (0, 1_500),
    "leak_hz": (0, 0.2),
    "noise_hz": (0.1, 0.7),  # the rim of the real pictures: 0.35
    "jitter_us": (0, 5_000),
    "gamma": (1.6, 2.6),
    "blur_px": (0.35, 0.65),
    "scale": (0.93, 1.01),
    "offset_x_px": (-0.4, 0.8),
    "offset_y_px": (-0.6, 0.6),
    "swing_x": (0.85, 1.15),
    "swing_y": (0.85, 1.15),
    "delay_us": (-5_000, 5_000),
    "stretch": (0.96, 1.04),
}


CALIBRATED = Sensor(threshold_on=0.4, threshold_off=0.4, mismatch=0.02, offset=0.08, noise_hz=0.35, jitter_us=4_000)


@dataclass(frozen=True)
class RecordingSetup:
    """The setup of one simulated recording of an image on a monitor: sensor, monitor, lens and movement.

    Lengths are in sensor pixels. The defaults are the calibrated values, the best fit to 100 real recordings.
    """

    sensor: Sensor = CALIBRATED
    gamma: float = 2.2
    blur_px: float = 0.48
    scale: float = 0.97
    offset_x_px: float = 0.2
    offset_y_px: float = 0.0
    swing_x: float = 1.0
    swing_y: float = 1.0
    delay_us: float = 0.0
    stretch: float = 1.0

    @staticmethod
    def draw(rng: np.random.Generator) -> RecordingSetup:
        """Choose a random setup of a simulated recording, with parameters from RANGES."""
        drawn = {name: rng.uniform(low, high) for name, (low, high) in RANGES.items()}
        threshold = drawn.pop("threshold")
        sensor = Sensor(
            threshold_on=threshold * drawn.pop("on_ratio"),
            threshold_off=threshold,
            **{field.name: drawn.pop(field.name) for field in fields(Sensor) if field.name in drawn},
        )
        return RecordingSetup(sensor, **drawn)


def find_shift(times_us: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the image's shift (s_x, s_y) by the camera's movement (saccades), float64 [T] each, at times [T] in us.

    A cubic runs through the knots; it is constant outside.
    """
    u = np.clip(np.asarray(times_us, np.float64) / KNOT_US, 0, len(PATH_X_PX) - 1)
    return _cubic(np.asarray(PATH_X_PX), u), _cubic(np.asarray(PATH_Y_PX), u)


def _cubic(knots: npt.NDArray[np.float64], u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Interpolate positions (knots) by a Hermite cubic with the slopes of np.gradient, so that speed has no jumps."""
    slopes = np.gradient(knots)
    i = np.minimum(u.astype(np.int64), len(knots) - 2)
    f = u - i
    start_term = (1 + 2 * f) * (1 - f) ** 2 * knots[i] + f * (1 - f) ** 2 * slopes[i]
    end_term = f**2 * (3 - 2 * f) * knots[i + 1] + f**2 * (f - 1) * slopes[i + 1]
    value: npt.NDArray[np.float64] = start_term + end_term
    return value


def render_frames(image: npt.ArrayLike, setup: RecordingSetup, times_us: npt.NDArray[np.float64] = CLOCK_US) -> Floats:
    """Render the image [28, 28], 0..1, that a moving sensor sees, as frames float32 [T, 34, 34] at times [T] in us.

    The blur is a Gaussian, the movement a bilinear shift. Both act on rows and columns separately, so a frame is R(t)
    @ image @ C(t) with small matrices.
    """
    picture = np.asarray(image, np.float32)
    if picture.shape != (IMAGE_PX, IMAGE_PX):
        raise PlifError(f"simulated N-MNIST: an image of shape {picture.shape}, expected ({IMAGE_PX}, {IMAGE_PX})")
    if picture.size and not (picture.min() >= 0 and picture.max() <= 1):
        raise PlifError(
            f"simulated N-MNIST: intensities {picture.min()}..{picture.max()}, expected 0..1; divide uint8 by 255"
        )
    blur = _make_blur_matrix(setup.blur_px / setup.scale)
    blurred = blur @ np.pad(picture ** np.float32(setup.gamma), _MARGIN) @ blur.T
    shift_x, shift_y = find_shift((times_us - setup.delay_us) / setup.stretch)
    rows = _bilinear_weights(setup.swing_y * shift_y + setup.offset_y_px, setup.scale)  # [T, 34, 38]
    columns = _bilinear_weights(setup.swing_x * shift_x + setup.offset_x_px, setup.scale)
    size = len(blur)
    moved = (rows.reshape(-1, size) @ blurred).reshape(len(times_us), SENSOR_PX, size)
    return np.asarray(np.matmul(moved, columns.transpose(0, 2, 1)), np.float32)


def _bilinear_weights(shift_px: npt.NDArray[np.float64], scale: float) -> Floats:
    """Return the weights [T, 34, 38] with which each image row contributes to each sensor row, for each shift."""
    centre, middle = (SENSOR_PX - 1) / 2, (IMAGE_PX + 2 * _MARGIN - 1) / 2
    position = (np.arange(SENSOR_PX) - centre - shift_px[:, None]) / scale + middle  # [T, 34] in padded image pixels
    distance = np.abs(position[:, :, None] - np.arange(IMAGE_PX + 2 * _MARGIN))
    return np.asarray(np.maximum(1 - distance, 0), np.float32)


def _make_blur_matrix(sigma_px: float) -> Floats:
    size = IMAGE_PX + 2 * _MARGIN
    if sigma_px <= 0:
        return np.eye(size, dtype=np.float32)
    distance = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (distance / sigma_px) ** 2)
    return np.asarray(weights / np.exp(-0.5 * (np.arange(-size, size + 1) / sigma_px) ** 2).sum(), np.float32)


def record_digit(
    image: npt.ArrayLike, rng: np.random.Generator, setup: RecordingSetup | None = None
) -> npt.NDArray[np.void]:
    """Simulate the events [N] that a moving 34 x 34 pixel camera records of one digit image [28, 28] in 310 ms.

    The setup is drawn from `rng` unless it is given.
    """
    return record_digits([image], [rng], None if setup is None else [setup])[0]


def record_digits(
    images: Sequence[npt.ArrayLike], rngs: Sequence[np.random.Generator], setups: Sequence[RecordingSetup] | None = None
) -> list[npt.NDArray[np.void]]:
    """Simulate the recordings of B digit images [28, 28] at once, which is faster; return B arrays of events [N].

    Each array is the same as with `record_digit`.
    """
    if setups is None:
        setups = [RecordingSetup.draw(rng) for rng in rngs]
    if not len(images) == len(rngs) == len(setups):
        raise PlifError(
            f"simulated N-MNIST: {len(images)} images, {len(rngs)} generators and {len(setups)} takes, expected one each"
        )
    if not len(images):
        return []
    frames = np.stack([render_frames(image, setup) for image, setup in zip(images, setups, strict=True)], axis=1)
    recordings = simulate_batch(CLOCK_US, frames, [setup.sensor for setup in setups], rngs)
    for events in recordings:
        events["p"] = ~events["p"]  # as in the official files, see above
    return recordings
