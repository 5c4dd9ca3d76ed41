"""Data sets for evaluation and training, with NumPy only.

from runtime.core.data import open_dataset
data = open_dataset("nmnist:recordings", "test", framing="count:T=10", shape=(2, 34, 34))
data.sample(0)                                   # float32 [T, C, H, W]
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Protocol

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import choice_parser, parse_dataset_address, parse_query
from runtime.core.data.dataset import SPLITS, Dataset, DatasetSpec, Description, check_classes
from runtime.core.data.recordings import Nmnist
from runtime.core.events.framing import Framing
from runtime.core.parts import find_part, find_parts, index_by_name

__all__ = ["Dataset", "Description", "add_options", "dataset_names", "find_dataset", "open_dataset", "parse_spec"]


class DatasetClass(Protocol):
    """The type of the class of a data set: it has a description, and its constructor opens one split."""

    @property
    def about(self) -> Description: ...

    def __call__(self, request: DatasetSpec, /) -> Dataset: ...


# To add a set: a part in runtime/datasets whose set.py has SETS, {name: class}. The class has an `about` (Description) and a
# constructor that takes a DatasetSpec; most easily it is a subclass of EventSet, FileEventSet or ImageSet (dataset.py).
CORE = "nmnist"


def dataset_names() -> list[str]:
    """List the names of data sets: the texts allowed before the colon of NAME:DIR."""
    read = {name: part for name, part in find_parts("datasets").items() if not part.options}  # the others make sets
    return [*sorted(index_by_name(read)), CORE]


def find_dataset(name: str) -> DatasetClass | None:
    """Find the class of a data set by its name; return None for an unknown name."""
    if name == CORE:
        return Nmnist
    part = find_part("datasets", name)
    if part is None or part.options:
        return None
    sets: dict[str, DatasetClass] = part.load("set:SETS")
    return sets[name]


def open_dataset(
    spec: str,
    split: str = "test",
    *,
    framing: str | Framing | None = None,
    shape: Sequence[int] | None = None,
    normalisation: dict[str, list[float]] | None = None,
    classes: Sequence[str] | None = None,
    trained: Sequence[int] | None = None,
) -> Dataset:
    """Open one split of a data set: "NAME:DIR" or "NAME:DIR?option=value&...", split "train" or "test".

    framing       how events become frames; needed for events, not used for images
    shape         (C, H, W) of the network's input; the set's own size when None
    normalisation {"mean": [C numbers], "std": [C numbers]} for images: (x / 255 - mean) / std
    classes       the model's classes in output order; the set must have the same, and `folder` takes their order
    trained       the sensor (width, height) of the model's training, for a `folder` of recordings that do not say
                  theirs

    `dataset_names` lists the names. Raise PlifError, one line, when the set is unknown, missing or damaged, or does
    not fit the arguments.
    """
    entry, place, options = parse_spec(spec)
    if split not in SPLITS:
        raise PlifError(f"data set '{spec}': split '{split}', expected train or test")
    if not place and "[" not in entry.about.spec:
        raise PlifError(f"data set '{spec}': no folder named, expected {entry.about.spec}")
    size = tuple(int(n) for n in (entry.about.shape if shape is None else shape))
    if len(size) != 3:
        raise PlifError(f"data set '{spec}': input shape {size}, expected (channels, height, width)")
    parsed = Framing.parse(framing) if isinstance(framing, str) else framing
    request = DatasetSpec(
        name=spec,
        place=place,
        split=split,
        shape=(size[0], size[1], size[2]),
        framing=parsed,
        normalisation=normalisation,
        classes=None if classes is None else tuple(classes),
        options=options,
        trained=None if trained is None else (trained[0], trained[1]),
    )
    dataset = entry(request)
    check_classes(spec, dataset.classes, classes)
    return dataset


def add_options(
    spec: str, *, sensor: tuple[int, int] | None = None, csv: str | None = None, up: str | None = None
) -> str:
    """Add options to a data set spec: NAME:DIR -> NAME:DIR?sensor=WxH&csv=COLUMNS&up=SIDE.

    Raise PlifError for a set that does not have them, or says them already.
    """
    _, _, options = parse_spec(spec)
    size = None if sensor is None else "{}x{}".format(*sensor)
    for name, value in (("sensor", size), ("csv", csv), ("up", up)):
        if value is None:
            continue
        if name not in parse_spec(spec)[0].about.options:
            raise PlifError(f"data set '{spec}': --{name} {value} is for folder:DIR; leave it out")
        if name in options:
            raise PlifError(f"data set '{spec}': --{name} {value} and ?{name}={options[name]}; say it once")
        spec += f"{'&' if '?' in spec else '?'}{name}={value}"
    return spec


def parse_spec(spec: str) -> tuple[DatasetClass, str, dict[str, str]]:
    """Parse a data set spec into (the set's class, DIR, options) without opening the set.

    Raise PlifError for an unknown name or option.
    """
    parsed = parse_dataset_address(spec)
    name = parsed.name
    entry = find_dataset(name)
    if entry is None:
        near = difflib.get_close_matches(name, dataset_names(), 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise PlifError(f"data set '{spec}': '{name}' is not known; expected NAME:DIR with NAME one of"
                        f" {', '.join(dataset_names())}{hint}")  # fmt: skip
    about = entry.about  # the folder of a set without options may have "?" in its name
    if not about.options or parsed.query is None:
        return entry, parsed.place, {}
    return entry, parsed.folder, _parse_options(spec, parsed.query, about)


def _parse_options(spec: str, query: str, about: Description) -> dict[str, str]:
    """Parse the options behind the folder in a data set spec NAME:DIR?OPTIONS.

    An option with WORD as its choices takes any text: the set itself checks it.
    """
    free = {name for name, choices in about.options.items() if len(choices) == 1 and choices[0].isupper()}
    readers = {name: str if name in free else choice_parser(*choices) for name, choices in about.options.items()}
    return parse_query(
        f"data set '{spec}'", query, readers, "&".join(f"{n}={'|'.join(c)}" for n, c in about.options.items())
    )
