"""How a simulated N-MNIST is made."""

from __future__ import annotations

from runtime.core.base.options import option
from runtime.datasets.simulated_camera.maker import SimulationOptions


class NmnistOptions(SimulationOptions):
    """How a simulated N-MNIST is made."""

    skip_train: int = option("nmnist-sim: leave out the first images.", default=0, least=0)
    skip_test: int = option("nmnist-sim: leave out the first images.", default=0, least=0)


class NmnistSource(NmnistOptions):
    """And of which images."""

    source: str | None = option("nmnist-sim: the images, mnist:DIR.", "--from", default=None)
