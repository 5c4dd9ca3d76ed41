"""Options of a simulated N-MNIST."""

from __future__ import annotations

from runtime.core.base.options import option
from runtime.datasets.simulated_camera.maker import SimulationOptions


class NmnistOptions(SimulationOptions):
    """The options for making a simulated N-MNIST data set: numbers of samples, seed, and images to skip."""

    skip_train: int = option("nmnist-sim: leave out the first images.", default=0, least=0)
    skip_test: int = option("nmnist-sim: leave out the first images.", default=0, least=0)


class NmnistSource(NmnistOptions):
    """The command-line options for making a simulated N-MNIST data set, with the MNIST folder of its images."""

    source: str | None = option("nmnist-sim: the images, mnist:DIR.", "--from", default=None)
