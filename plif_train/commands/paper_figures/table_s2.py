"""Table S2: test accuracy without a validation set (protocol A) and with 15 % of each class held back (B).

A training stands next to the published number only if its conditions are those of the authors' run behind it. Every
other training has a separate row, with the differences. Published numbers are the best of 1,024 epochs, so the
authors' best in as many epochs as ours had stands between the two.
"""

from __future__ import annotations

from typing import Any

from plif_train.commands.paper_figures.subject import TrainingRun
from plif_train.commands.paper_rows.logs import load_authors_runs
from plif_train.commands.paper_rows.rows import list_rows as paper_rows


def make_table_s2(runs: list[TrainingRun]) -> list[dict[str, Any]]:
    """Make the rows of Table S2 of the PLIF paper: each published number, and each training that has none.

    Of several matching trainings it is the best.
    """
    published = {str(row.log): row for row in paper_rows().values() if row.name.startswith("table-s2:")}
    ours: dict[str, TrainingRun] = {}
    unmatched = []
    for run in runs:
        log = run.authors.name if run.authors else None
        if run.training.get("test_accuracy") is None:
            continue
        if log not in published:
            unmatched.append(run)
        elif log and (log not in ours or _accuracy(run) > _accuracy(ours[log])):
            ours[log] = run
    rows = []
    for log, row in published.items():
        best = ours.get(log)
        rows.append({
            "dataset": row.dataset, "protocol": row.conditions.recipe.protocol, "differs": [],
            **_run_columns(best), "authors": load_authors_runs()[log].test_accuracy_of_best(_count_epochs(best)),
            "published": row.published,
        })  # fmt: skip
    for run in unmatched:
        conditions = run.conditions
        near = [
            conditions.differences(row.conditions) for row in published.values() if row.dataset == conditions.dataset
        ]
        differs = min(near, key=len) if near else ["a data set that is not in the paper"]
        rows.append({
            "dataset": conditions.dataset, "protocol": conditions.recipe.protocol, "differs": differs,
            **_run_columns(run), "authors": None, "published": None,
        })  # fmt: skip
    return rows


def _accuracy(run: TrainingRun) -> float:
    return float(run.training["test_accuracy"])


def _run_columns(run: TrainingRun | None) -> dict[str, Any]:
    training = run.training if run else {}
    return {
        "run": run.name if run else None, "accuracy": training.get("test_accuracy"), "epoch": training.get("epoch"),
        "epochs": _count_epochs(run), "train_samples": training.get("train_samples"),
        "test_samples": training.get("test_samples"),
    }  # fmt: skip


def _count_epochs(run: TrainingRun | None) -> int | None:
    """Count the epochs of a training run that its log lists.

    The count comes from its log, else it is the epoch that was kept.
    """
    if run is None:
        return None
    return int(run.epochs[-1]["epoch"]) if run.epochs else run.training.get("epoch")


def format_table_s2(rows: list[dict[str, Any]]) -> list[str]:
    """Format the rows of Table S2 of the PLIF paper as lines of text, accuracies in per cent."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f}"

    lines = [f"{'test accuracy, %':<24} {'here':>7} {'authors':>8} {'published':>10}   epoch     trained / tested on"]
    for row in rows:
        cells = f"{percent(row['accuracy']):>7} {percent(row['authors']):>8} {percent(row['published']):>10}"
        epoch = f"{row['epoch']} of {row['epochs']}" if row["epoch"] else "-"
        samples = f"{row['train_samples']} / {row['test_samples']}" if row["train_samples"] else ""
        lines.append(f"{row['dataset'] + ', ' + row['protocol']:<24} {cells}   {epoch:<9} {samples}".rstrip())
        if row["differs"]:
            lines.append(f"    {row['run']}; unlike the authors' in {'; '.join(row['differs'])}")
    return [*lines, "authors: in as many epochs, from their logs; published: the best of 1,024"]
