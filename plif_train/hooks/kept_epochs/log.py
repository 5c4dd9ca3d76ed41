"""The course of a training, in files beside the model that any program reads, and for TensorBoard.

    model.csv           a row an epoch: epoch, lr, loss, train_accuracy, val_accuracy, test_accuracy, seconds, processes,
                        rate:<layer> ..., tau:<layer> ... (tau per channel: tau:<layer>:<channel>); test_accuracy is
                        empty in protocol B, which reads the test set at the end
    model.weights.csv   the distribution of W/tau of every fully connected layer: epoch, layer, low, high, count
                        (epoch 0 is before training); what Fig. S1 of the supplement draws
    model.tensorboard/  the same as scalars and histograms, when asked for

A resumed training continues them; rows of epochs that are trained again are dropped.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from plif_train.core.loop.hooks import Epoch, TrainingCourse, TrainingState
from plif_train.core.network.network import Network, layer_of
from plif_train.hooks.kept_epochs.recorded import recipe_of
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.files import open_regular, whole_or_nothing

BINS = 60
EPOCHS = ("epoch", "lr", "loss", "train_accuracy", "val_accuracy", "test_accuracy")
WEIGHTS = ("epoch", "layer", "low", "high", "count")
Row = dict[str, Any]


def row_of(epoch: Epoch) -> Row:
    """The row of model.csv: column -> number, "" where there is none."""
    row: Row = {name: vars(epoch)[name] for name in EPOCHS}
    row |= {"seconds": round(epoch.seconds, 3), "processes": epoch.processes}
    row |= {f"rate:{layer}": rate for layer, rate in epoch.firing_rates.items()}
    for layer, tau in epoch.taus.items():
        columns = {f":{c}": t for c, t in enumerate(tau)} if isinstance(tau, list) else {"": tau}
        row |= {f"tau:{layer}{channel}": t for channel, t in columns.items()}
    return {name: "" if value is None else value for name, value in row.items()}


class Log(TrainingCourse):
    """Writes the files of a training to `out` (model.pt)."""

    def __init__(self, out: Path, tensorboard: bool = False) -> None:
        self.out, self.tensorboard = out, tensorboard

    def begin(self, run: TrainingState) -> None:
        """Keeps the epochs of an earlier run, or notes the weights before the first one. They are written with it: till then the
        files of an earlier run stay."""
        self._epochs, self._weights = (
            [row for row in read(path, columns) if int(row["epoch"]) <= run.done] if run.done else []
            for path, columns in ((epochs_path(self.out), EPOCHS), (weights_path(self.out), WEIGHTS))
        )
        self._board = _open_board(self.out.with_suffix(".tensorboard"), run.done) if self.tensorboard else None
        self._weights += [] if run.done else weight_rows(run.net, 0)

    def add(self, run: TrainingState, epoch: Epoch) -> None:
        row = row_of(epoch)
        self._epochs.append(row)
        self._weights += weight_rows(run.net, epoch.epoch)
        _write(epochs_path(self.out), self._epochs)
        _write(weights_path(self.out), self._weights)
        if self._board is not None:
            for name, value in row.items():
                if name != "epoch" and value != "":
                    self._board.add_scalar(name.replace(":", "/"), value, epoch.epoch)
            for layer, w in effective_weights(run.net).items():
                self._board.add_histogram(f"w_over_tau/{layer}", w, epoch.epoch)
            self._board.flush()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def weight_rows(net: Network, epoch: int) -> list[Row]:
    """The distribution of W/tau of each fully connected layer, as rows of model.weights.csv."""
    rows: list[Row] = []
    for layer, w in effective_weights(net).items():
        low, high = float(w.min()), float(w.max())
        if not low < high:
            low, high = low - 1e-6, high + 1e-6
        counts = torch.histc(w, BINS, low, high).long().tolist()
        step = (high - low) / BINS
        rows += [
            {"epoch": epoch, "layer": layer, "low": low + i * step, "high": low + (i + 1) * step, "count": count}
            for i, count in enumerate(counts)
        ]
    return rows


def epochs_path(out: Path) -> Path:
    """model.pt -> model.csv"""
    return out.with_suffix(".csv")


def weights_path(out: Path) -> Path:
    """model.pt -> model.weights.csv"""
    return out.with_suffix(".weights.csv")


def effective_weights(net: Network) -> dict[str, Tensor]:
    """W/tau of each fully connected layer with a neuron after it (W where the input is not decayed): float32 [outputs *
    inputs] by layer name."""
    found: dict[str, Tensor] = {}
    linear: Tensor | None = None
    for named in net.named_layers:
        if named.op == "Linear":
            module = net.get_submodule(named.name)
            assert isinstance(module, nn.Linear)
            linear = module.weight.detach().float().cpu()
        elif named.op == "Neuron":
            if linear is not None:
                alpha = net.neurons()[layer_of(named.name)].alpha()
                scale = torch.ones(()) if alpha is None or not net.options.decay_input else alpha.cpu()
                found[layer_of(named.name)] = (linear * (scale[:, None] if scale.dim() else scale)).flatten()
            linear = None
    return found


def read(path: Path, columns: Sequence[str] = EPOCHS) -> list[Row]:
    """The rows of one of these files (`columns`: EPOCHS or WEIGHTS); none where there is no file.

    PlifError for another file, for one without rows, and for a cell that no training writes.
    """
    rows = _read(path, columns)
    last = 0
    for n, row in enumerate(rows, 1):
        for name, text in row.items():
            if expected := _expected_in(name, text):
                raise PlifError(
                    f"{path}: row {n} has {name} {text!r:.60}; expected {expected}; delete the row, or the file"
                )
        if columns == EPOCHS and int(row["epoch"]) <= last:
            raise PlifError(
                f"{path}: row {n} is epoch {row['epoch']} after {last}; expected a later one; delete the row"
            )
        last = int(row["epoch"])
    return rows


def read_of(model: Path, record: Mapping[str, Any]) -> list[Row]:
    """The rows of the log beside a model.pt, of which `record` is the training record; none where there is no log.

    PlifError as read() has it, and where the record's epoch was kept from none of them: the log is another training's.
    """
    path = epochs_path(model)
    rows = read(path)
    kept = [name for name in ("epoch", "val_accuracy", "test_accuracy") if record.get(name) is not None]
    if recipe_of(record, f"{model}: ").protocol == "B":
        kept = [name for name in kept if name != "test_accuracy"]  # read at the end, and in no row
    if rows and "epoch" in kept and not any(all(row[k] and float(row[k]) == record[k] for k in kept) for row in rows):
        found = ", ".join(f"{name} {record[name]}" for name in kept)
        raise PlifError(
            f"{path}: no row of the model beside it ({found}); the log of another training, or cut: move it away"
        )
    return rows


def _expected_in(name: str | None, text: Any) -> str | None:
    """What a cell of the column `name` should hold; None where it does. Cells beyond the header have no name."""
    kind = (name or "more cells").partition(":")[0]
    if kind == "layer":
        return None if text else "a name"
    if kind in ("epoch", "processes"):
        number = bool(text) and text.isdecimal() and len(text) < 10
        return None if number or (kind == "processes" and text == "") else "a whole number"
    if text == "" and kind not in ("lr", "tau", "low", "high", "count"):
        return None
    try:
        value = float(text)
    except (TypeError, ValueError):
        return "a number" if name else "as many cells as the first line has"
    if kind.endswith("_accuracy"):
        return None if 0 <= value <= 1 else "0 to 1"
    if kind == "tau":
        return None if 1 <= value < math.inf else "a number of at least 1"
    return None if math.isfinite(value) or kind not in ("lr", "low", "high", "count") else "a finite number"


def check_header(path: Path, columns: Sequence[str]) -> None:
    """PlifError when there is a file that is not one of these: it may be a recording, and is not written over."""
    _read(path, columns, header_only=True)


def _read(path: Path, columns: Sequence[str], header_only: bool = False) -> list[Row]:
    try:
        if not os.path.lexists(path):
            return []
        with io.TextIOWrapper(open_regular(path, "the log of a training"), newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            found = list(reader.fieldnames or [])
            if found[:2] == list(columns[:2]):
                if lacking := [name for name in columns if name not in found]:
                    raise PlifError(
                        f"{path}: lacks the columns {', '.join(lacking)} of the log of a training; move it away"
                    )
                rows = [] if header_only else list(reader)
                if not rows and not header_only:
                    raise PlifError(f"{path}: has no rows, expected one for each epoch; delete the file")
                return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PlifError(f"{path}: cannot be read ({error})") from None
    what = f"it begins with {','.join(found)[:40]!r}" if found else "it is empty"
    raise PlifError(
        f"{path}: not the log of a training, which begins with {','.join(columns[:2])}: {what}; move it away, or "
        "give the model another name"
    )


def write_rows(path: Path, rows: list[Row]) -> None:
    """A table as CSV; its columns are those of all rows, empty where a row has none."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        names = [*dict.fromkeys(name for row in rows for name in row)] or ["epoch"]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write(path: Path, rows: list[Row]) -> None:
    with whole_or_nothing(path) as (beside,):
        write_rows(beside, rows)


def _open_board(folder: Path, done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("--tensorboard", "tensorboard") from None
    return SummaryWriter(str(folder), purge_step=done + 1)
