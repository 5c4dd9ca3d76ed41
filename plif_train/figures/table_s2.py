"""Table S2: test accuracy without a validation set (protocol A) and with 15 % of each class held back (B)."""

from __future__ import annotations

from typing import Any

from plif_train.figures.published import TABLE_S2
from plif_train.figures.subject import TrainingRun
from plif_train.presets import PRESETS
from runtime.model.notation import parse


def table_s2(runs: list[TrainingRun]) -> list[dict[str, Any]]:
    """A row a data set: ours (None: not trained) and the paper's, A and B. Of several runs of one kind the best.

    Runs of another network than the paper's have rows of their own. How many samples a run was trained on stands beside
    its accuracy, and after which epoch it had it.
    """
    ours: dict[tuple[str, str], tuple[float, TrainingRun]] = {}
    for run in runs:
        key = (_row(run), str(run.training.get("protocol")))
        accuracy = run.training.get("test_accuracy")
        if accuracy is not None and (key not in ours or accuracy > ours[key][0]):
            ours[key] = (accuracy, run)
    names = [*TABLE_S2, *sorted({name for name, _ in ours if name not in TABLE_S2})]
    rows = []
    for name in names:
        row: dict[str, Any] = {"dataset": name}
        for i, protocol in enumerate("AB"):
            found = ours.get((name, protocol))
            row[protocol] = found[0] if found else None
            row[f"{protocol}_epoch"] = found[1].training.get("epoch") if found else None
            row[f"{protocol}_samples"] = found[1].training.get("train_samples") if found else None
            row[f"{protocol}_paper"] = TABLE_S2[name][i] if name in TABLE_S2 else None
        rows.append(row)
    return rows


def _row(run: TrainingRun) -> str:
    name = str(run.training.get("dataset"))
    preset = PRESETS.get(name)
    if preset is None:
        return name
    theirs = [str(parse(preset.notation(paper))) for paper in (False, True)]
    return name if run.card["notation"] in theirs else f"{name}, other network"


def lines_of(rows: list[dict[str, Any]]) -> list[str]:
    """The table as text, in per cent."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f}"

    lines = [f"{'test accuracy, %':<30} {'A':>7} {'paper':>7}   {'B':>7} {'paper':>7}   epoch   trained on"]
    for row in rows:
        epoch, samples = ("/".join(str(row[f"{p}_{what}"] or "-") for p in "AB") for what in ("epoch", "samples"))
        cells = [percent(row[key]) for key in ("A", "A_paper", "B", "B_paper")]
        accuracies = f"{cells[0]:>7} {cells[1]:>7}   {cells[2]:>7} {cells[3]:>7}"
        lines.append(f"{row['dataset']:<30} {accuracies}   {epoch:<7} {samples}")
    return lines
