"""`plif bench --data`: the results of each artifact on a data set, and the table as Markdown, CSV and JSON.

The decisions of each row are compared with those of the first row. The table has the number that changed, and
McNemar's p: the probability of such a difference if neither is better.
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
from runtime.core.base.files import atomic_write, make_folder
from runtime.core.base.options import with_fields
from runtime.core.base.progress import Progress
from runtime.core.base.text import escape_csv_cell, escape_markdown
from runtime.core.measure.evaluate.evaluation import Evaluation, evaluate
from runtime.core.measure.evaluate.samples import DatasetSplit, load_sample
from runtime.core.measure.options import EvaluateOptions
from runtime.core.measure.results import Measurement
from runtime.core.parts import load_from_parts

SYNOPS_SAMPLES = 50  # samples in which synaptic operations are counted
FILES = ("bench.md", "bench.csv", "bench.json")

# heading -> function from a row to the text of its cell
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
LAYER_MAPS = ("firing_rates", "weights")  # maps by layer, which do not fit into a cell of the CSV
DATA_COLUMNS = ("accuracy", "changed", "p", "SynOps")


@with_fields(BenchOptions)
def bench(artifacts: Sequence[str | Path], *, shown: bool = False, **options: Any) -> list[Measurement]:
    """Benchmark artifacts side by side for speed, and evaluate them on a data set if one is named.

    options  engine=, streams=, data=, out=, ...: the fields of BenchOptions (options.py)
    shown    show progress bars

    Raises PlifError for unrolled artifacts, and before anything is measured if the data set does not fit an artifact.
    """
    settings = BenchOptions(**options)
    with Progress("measuring", shown) as progress:
        check = None if settings.data is None else DatasetSplit(settings.data, settings.split).open
        rows = time_steps(artifacts, settings, progress.update, check)
    if settings.data is not None:
        with Progress("evaluating", shown) as progress:
            paths = [path for path in artifacts for _ in settings.engine]
            evaluate_rows(rows, paths, settings, progress.update)
    if settings.out is not None:
        write_table(rows, settings.out)
    return rows


def evaluate_rows(
    rows: Sequence[Measurement],
    artifacts: Sequence[str | Path],
    settings: BenchOptions,
    progress: Callable[[int, int], None],
) -> None:
    """Evaluate each artifact on the data set of `settings`, and write accuracy, samples and synaptic operations into its row.

    It also sets decisions_changed, mcnemar_p and firing_rates. `rows` and `artifacts` are in the same order.
    """
    first: Evaluation | None = None
    data, split, limit = str(settings.data), settings.split, settings.limit
    plain_options: dict[str, Any] = {"exit_margin": "off", "workers": 1}  # options of parts that may be absent
    plain_options = {
        name: value for name, value in plain_options.items() if name in EvaluateOptions.__dataclass_fields__
    }
    for index, (row, path) in enumerate(zip(rows, artifacts, strict=True)):
        model = load(path, row.engine, threads=row.threads, rates=True, confined=settings.confined)
        evaluation = evaluate(model, data, split=split, limit=limit, **plain_options)
        row.accuracy, row.samples, row.firing_rates = evaluation.accuracy, evaluation.samples, evaluation.firing_rates
        if first is None:
            first = evaluation
        elif (compare := load_from_parts("observers", "paired")) is not None:
            decisions = zip(evaluation.truths, first.predictions, evaluation.predictions, strict=True)
            paired = compare(list(decisions))
            row.decisions_changed, row.mcnemar_p = paired.changed, paired.p
        if (synops := load_from_parts("observers", "synops")) is not None:
            dataset = DatasetSplit(data, split).open(model)
            count = min(SYNOPS_SAMPLES, evaluation.samples)
            row.synops = synops(path, model.card, (load_sample(dataset, i)[0] for i in range(count)))
        progress(index + 1, len(rows))


def format_table(rows: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Format the benchmark as a table of texts: (headings, lines of cells).

    Columns of a data set and of a GPU adapter are left out if no row has them.
    """
    hidden = set() if any(row.accuracy is not None for row in rows) else {*DATA_COLUMNS}
    hidden |= set() if any(row.adapter for row in rows) else {"adapter"}
    names = [name for name in COLUMNS if name not in hidden]
    return names, [[COLUMNS[name](row) for name in names] for row in rows]


def write_table(rows: Sequence[Measurement], folder: Path) -> list[Path]:
    """Write the benchmark rows to bench.md, bench.csv and bench.json in `folder`: all three, or none."""
    names, lines = format_table(rows)
    paths = [make_folder(folder) / name for name in FILES]
    marked = [[escape_markdown(text) for text in line] for line in (names, ["---"] * len(names), *lines)]
    content: list[dict[str, object]] = [row.to_dict() for row in rows]
    with atomic_write(*paths) as (page, numbers, document):
        page.write_text("".join(f"| {' | '.join(line)} |\n" for line in marked), encoding="utf-8", errors="replace")
        with numbers.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(key for key in content[0] if key not in LAYER_MAPS)
            for entry in content:
                values = [value for key, value in entry.items() if key not in LAYER_MAPS]
                out.writerow(escape_csv_cell(value) if isinstance(value, str) else value for value in values)
        document.write_text(json.dumps(content, indent=1) + "\n")
    return paths
