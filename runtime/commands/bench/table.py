"""`plif bench --data`: what each row of the bench is worth on a data set, and the table as Markdown, CSV and JSON.

Decisions are compared with those of the first row: how many changed, and McNemar's p that either is better by chance.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runtime.commands.bench.artifacts import time_steps
from runtime.commands.bench.options import BenchOptions
from runtime.core.api import load
from runtime.core.base.files import make_folder, whole_or_nothing
from runtime.core.base.options import with_fields
from runtime.core.base.progress import Progress
from runtime.core.base.text import cell, markdown
from runtime.core.measure.evaluate.evaluation import Evaluation, evaluate
from runtime.core.measure.evaluate.samples import SplitOf, read
from runtime.core.measure.options import EvaluateOptions
from runtime.core.measure.results import Measurement
from runtime.core.parts import given_by_parts

WATCHED = 50  # samples in which synaptic operations are counted
FILES = ("bench.md", "bench.csv", "bench.json")

# heading -> what stands in it, of a row
COLUMNS: dict[str, Callable[[Measurement], str]] = {
    "artifact": lambda row: row.artifact,
    "engine": lambda row: row.engine,
    "precision": lambda row: ", ".join(
        [row.precision, *sorted({text.split(" a ")[0] for text in row.weights.values()})]
    ),
    "MB": lambda row: f"{row.bytes / 1e6:.2f}",
    "accuracy": lambda row: "-" if row.accuracy is None else f"{100 * row.accuracy:.2f} %",
    "changed": lambda row: "-" if row.decisions_changed is None else f"{row.decisions_changed} of {row.samples}",
    "p": lambda row: "-" if row.mcnemar_p is None else f"{row.mcnemar_p:.2g}",
    "p50 ms": lambda row: f"{row.p50_ms:.3f}",
    "p99 ms": lambda row: f"{row.p99_ms:.3f}",
    "steps/s": lambda row: f"{row.steps_per_s:.1f}",
    "silence": lambda row: f"{row.after_silence_p50_ms:.3f}",
    "differ": lambda row: "-" if row.spike_mismatches is None else str(row.spike_mismatches),
    "SynOps": lambda row: "-" if row.synops is None else f"{row.synops:.3g}",
    "rates %": lambda row: " ".join(f"{100 * rate:.0f}" for rate in row.firing_rates.values()),
    "adapter": lambda row: row.adapter or "-",
}
MAPS = ("firing_rates", "weights")  # by layer, which no cell of a table holds
OF_DATA = ("accuracy", "changed", "p", "SynOps")


@with_fields(BenchOptions)
def bench(artifacts: Sequence[str | Path], *, shown: bool = False, **options: Any) -> list[Measurement]:
    """Times artifacts side by side, and says what they are worth on a data set where one is named.

    options  engine=, streams=, data=, out=, ...: the fields of BenchOptions (options.py)
    shown    with progress bars
    Raises PlifError for unrolled artifacts, and before anything is measured where the data set does not fit one of them.
    """
    how = BenchOptions(**options)
    with Progress("measuring", shown) as progress:
        check = None if how.data is None else SplitOf(how.data, how.split).open
        rows = time_steps(artifacts, how, progress.update, check)
    if how.data is not None:
        with Progress("evaluating", shown) as progress:
            paths = [path for path in artifacts for _ in how.engine]
            add_data(rows, paths, how.data, how.split, how.limit, progress.update)
    if how.out is not None:
        write_table(rows, how.out)
    return rows


def add_data(
    rows: Sequence[Measurement],
    artifacts: Sequence[str | Path],
    data: str,
    split: str,
    limit: int | None,
    progress: Callable[[int, int], None],
) -> None:
    """Sets accuracy, samples, decisions_changed, mcnemar_p, synops and firing_rates of rows, which are of `artifacts` in turn."""
    first: Evaluation | None = None
    plain: dict[str, Any] = {"exit_margin": "off", "workers": 1}  # options of parts, where these are there
    plain = {name: value for name, value in plain.items() if name in EvaluateOptions.__dataclass_fields__}
    for at, (row, path) in enumerate(zip(rows, artifacts, strict=True)):
        model = load(path, row.engine, threads=row.threads, rates=True)
        found = evaluate(model, data, split=split, limit=limit, **plain)
        row.accuracy, row.samples, row.firing_rates = found.accuracy, found.samples, found.firing_rates
        if first is None:
            first = found
        elif (compare := given_by_parts("observers", "paired")) is not None:
            decisions = zip(found.truths, first.predictions, found.predictions, strict=True)
            paired = compare(list(decisions))
            row.decisions_changed, row.mcnemar_p = paired.changed, paired.p
        if (synops := given_by_parts("observers", "synops")) is not None:
            dataset = SplitOf(data, split).open(model)
            count = min(WATCHED, found.samples)
            row.synops = synops(path, model.card, (read(dataset, i)[0] for i in range(count)))
        progress(at + 1, len(rows))


def table(rows: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """(headings, lines of cells); columns of a data set only where there was one, and so of a GPU."""
    left_out = set() if any(row.accuracy is not None for row in rows) else {*OF_DATA}
    left_out |= set() if any(row.adapter for row in rows) else {"adapter"}
    names = [name for name in COLUMNS if name not in left_out]
    return names, [[COLUMNS[name](row) for name in names] for row in rows]


def write_table(rows: Sequence[Measurement], folder: Path) -> list[Path]:
    """bench.md, bench.csv and bench.json in `folder`: all three, or none."""
    names, lines = table(rows)
    paths = [make_folder(folder) / name for name in FILES]
    marked = [[markdown(text) for text in line] for line in (names, ["---"] * len(names), *lines)]
    content: list[dict[str, object]] = [row.to_dict() for row in rows]
    with whole_or_nothing(*paths) as (page, numbers, document):
        page.write_text("".join(f"| {' | '.join(line)} |\n" for line in marked), encoding="utf-8", errors="replace")
        with numbers.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(key for key in content[0] if key not in MAPS)
            for entry in content:
                values = [value for key, value in entry.items() if key not in MAPS]
                out.writerow(cell(value) if isinstance(value, str) else value for value in values)
        document.write_text(json.dumps(content, indent=1) + "\n")
    return paths
