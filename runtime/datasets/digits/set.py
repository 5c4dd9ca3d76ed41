"""The data set `digits[:N]`: drawn digits in front of the simulated sensor, made when they are read. No download."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.core.data.dataset import DIGITS, SPLITS, DatasetSpec, Description, EventSet
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import SENSOR_PX, record_digit

DEFAULT_COUNT = 200
SEED = 20_150  # part of the definition of the set


class Digits(EventSet):
    """The data set `digits[:N]` of simulated recordings of drawn digits; the class of sample i is i mod 10.

    Sample i of a split is the same for any N.
    """

    about: ClassVar[Description] = Description(
        kind="events",
        spec="digits[:N]",
        shape=(2, SENSOR_PX, SENSOR_PX),
        what=f"drawn digits seen by a simulated camera, N samples a split ({DEFAULT_COUNT})",
        source="made on the fly, simulated: no camera and no download",
        licence="as plif",
    )

    sensor = (SENSOR_PX, SENSOR_PX)

    def __init__(self, request: DatasetSpec) -> None:
        count = DEFAULT_COUNT
        if request.place:
            digits = request.place.isascii() and request.place.isdigit() and len(request.place) < 9
            if not (digits and 0 < int(request.place) <= 10_000_000):
                raise PlifError(f"{request.name}: '{request.place}' is no number of samples, expected e.g. digits:200")
            count = int(request.place)
        self._split = SPLITS.index(request.split)
        paths = [f"digits/{request.split}/{i}" for i in range(count)]
        super().__init__(request, DIGITS, [i % 10 for i in range(count)], paths)

    def recording(self, i: int) -> tuple[npt.NDArray[np.void], tuple[int, int], str]:
        """Return the events [N] of the simulated digit recording i, its sensor size and orientation."""
        i = range(len(self))[i]
        rng = np.random.default_rng([SEED, self._split, i])
        return record_digit(draw_digit(self.label(i), rng), rng), self.sensor, "identity"


SETS = {"digits": Digits}
