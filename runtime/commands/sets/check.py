"""Reads a whole data set and reports what is in it."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core.base.declared import LimitOptions
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import parse_set
from runtime.core.base.options import with_fields
from runtime.core.data import find, find_set, names_of_sets, open_dataset
from runtime.core.data.dataset import SPLITS, EventSet


def list_datasets() -> list[dict[str, object]]:
    """The description of every set: name, kind, spec, shape, what, source, licence, size, checksums, options."""
    # through JSON, so that what Python gets is what `plif data --json` prints: lists, no tuples
    found = {name: entry for name in names_of_sets() if (entry := find_set(name)) is not None}
    return [{"name": name, **json.loads(json.dumps(asdict(entry.about)))} for name, entry in found.items()]


@with_fields(LimitOptions)
def check_dataset(
    spec: str, *, progress: Callable[[int, int], None] | None = None, **options: Any
) -> dict[str, object]:
    """Opens both splits of "NAME:DIR" and reads every sample (the first `limit` of each split).

    A split that is missing is reported. PlifError when both are missing, and for the first sample that cannot be read.
    """
    limit = LimitOptions(**options).limit
    splits: dict[str, dict[str, object]] = {}
    problems: list[PlifError] = []
    kind = ""
    classes: tuple[str, ...] = ()
    for split in SPLITS:
        try:
            # any framing will do: events are read unframed below
            dataset = open_dataset(spec, split, framing="count:T=1")
        except PlifError as error:
            splits[split] = {"samples": 0, "problem": str(error)}
            problems.append(error)
            continue
        kind, classes = dataset.kind, dataset.classes
        counts: dict[str, int] = dict.fromkeys(classes, 0)
        for i in range(len(dataset)):
            counts[classes[dataset.label(i)]] += 1
        read = len(dataset) if limit is None else min(limit, len(dataset))
        splits[split] = {"samples": len(dataset), "per_class": counts, "read": read}
        sizes, lengths_us, notes = [], [], 0
        for i in range(read):
            if isinstance(dataset, EventSet):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    events = dataset.recording(i)[0]
                notes += bool(caught)
                sizes.append(len(events))
                lengths_us.append(int(events["t"].max() - events["t"].min()) if len(events) else 0)
            else:
                dataset.sample(i)
            if progress:
                progress(i + 1, read)
        if sizes:
            splits[split]["events"] = _spread(sizes)
            splits[split]["duration_us"] = _spread(lengths_us)
            splits[split]["damaged"] = notes  # recordings that lost something: cut short, events off the sensor ...
    if len(problems) == len(SPLITS):
        raise problems[-1]
    return {"name": spec, "kind": kind, "classes": list(classes), "splits": splits, "files": check_files(spec)}


def check_files(spec: str) -> dict[str, bool]:
    """Which of a set's downloaded files are in its folder: name -> whether the checksum is the published one.

    Another checksum is no error: Debian's copy of Fashion-MNIST, for example, was compressed again.
    """
    said = parse_set(spec)
    found = {}
    for file, checksum in find(spec)[0].about.checksums.items():
        path = Path(said.folder) / file
        if path.is_file():
            algorithm, _, expected = checksum.partition(":")
            digest = hashlib.new(algorithm)
            with open(path, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
            found[file] = digest.hexdigest() == expected
    return found


def _spread(values: list[int]) -> dict[str, int]:
    return {"min": min(values), "median": int(np.median(values)), "max": max(values)}
