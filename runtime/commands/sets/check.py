"""The check of `plif data`: read a whole data set and report its contents."""

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
from runtime.core.base.grammar import parse_dataset_address
from runtime.core.base.options import with_fields
from runtime.core.data import dataset_names, find_dataset, open_dataset, parse_spec
from runtime.core.data.dataset import SPLITS, EventSet


def list_datasets() -> list[dict[str, object]]:
    """Return the description of every data set: name, kind, spec, shape, contents, source, licence, and so on.

    The further keys are size, checksums and options.
    """
    # through JSON, so that Python gets the same document as `plif data --json`: lists, no tuples
    entries = {name: entry for name in dataset_names() if (entry := find_dataset(name)) is not None}
    return [{"name": name, **json.loads(json.dumps(asdict(entry.about)))} for name, entry in entries.items()]


@with_fields(LimitOptions)
def check_dataset(
    spec: str, *, progress: Callable[[int, int], None] | None = None, **options: Any
) -> dict[str, object]:
    """Read every sample of both splits of a data set "NAME:DIR", and return a report of its contents.

    The option `limit` reads only the first samples of each split. A missing split is reported. Raises PlifError if
    both are missing, and for the first sample that cannot be read.
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
        sizes, lengths_us, damaged = [], [], 0
        for i in range(read):
            if isinstance(dataset, EventSet):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    events = dataset.recording(i)[0]
                damaged += bool(caught)
                sizes.append(len(events))
                lengths_us.append(int(events["t"].max() - events["t"].min()) if len(events) else 0)
            else:
                dataset.sample(i)
            if progress:
                progress(i + 1, read)
        if sizes:
            splits[split]["events"] = _min_median_max(sizes)
            splits[split]["duration_us"] = _min_median_max(lengths_us)
            splits[split]["damaged"] = damaged  # recordings that lost something: cut short, events off the sensor ...
    if len(problems) == len(SPLITS):
        raise problems[-1]
    return {"name": spec, "kind": kind, "classes": list(classes), "splits": splits, "files": check_files(spec)}


def check_files(spec: str) -> dict[str, bool]:
    """Check the downloaded files of a data set against the published checksums: {file name: whether equal}.

    Another checksum is no error: Debian's copy of Fashion-MNIST, for example, was compressed again.
    """
    name = parse_dataset_address(spec)
    matches = {}
    for file, checksum in parse_spec(spec)[0].about.checksums.items():
        path = Path(name.folder) / file
        if path.is_file():
            algorithm, _, expected = checksum.partition(":")
            digest = hashlib.new(algorithm)
            with open(path, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
            matches[file] = digest.hexdigest() == expected
    return matches


def _min_median_max(values: list[int]) -> dict[str, int]:
    return {"min": min(values), "median": int(np.median(values)), "max": max(values)}
