"""The log of a training: CSV files next to the model, and files for TensorBoard.

    model.csv           a row an epoch: epoch, lr, loss, train_accuracy, val_accuracy, test_accuracy, seconds,
                        processes, rate:<layer> ..., tau:<layer> ... (tau per channel: tau:<layer>:<channel>);
                        test_accuracy is empty in protocol B, which reads the test set at the end
    model.weights.csv   the distribution of W/tau of every fully connected layer: epoch, layer, low, high, count
                        (epoch 0 is before training); Fig. S1 of the supplement draws it
    model.tensorboard/  the same as scalars and histograms, with --tensorboard

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

from plif_train.core.loop.hooks import Epoch, TrainingRecorder, TrainingState
from plif_train.core.network.network import Network, layer_of_neuron
from plif_train.hooks.kept_epochs.recorded import read_recorded_recipe
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.files import atomic_write, open_regular

BINS = 60
EPOCHS = ("epoch", "lr", "loss", "train_accuracy", "val_accuracy", "test_accuracy")
WEIGHTS = ("epoch", "layer", "low", "high", "count")
Row = dict[str, Any]


def make_epoch_row(epoch: Epoch) -> Row:
    """Make the row of the training log model.csv for an epoch: column -> number, "" if there is none."""
    row: Row = {name: vars(epoch)[name] for name in EPOCHS}
    row |= {"seconds": round(epoch.seconds, 3), "processes": epoch.processes}
    row |= {f"rate:{layer}": rate for layer, rate in epoch.firing_rates.items()}
    for layer, tau in epoch.taus.items():
        columns = {f":{c}": t for c, t in enumerate(tau)} if isinstance(tau, list) else {"": tau}
        row |= {f"tau:{layer}{channel}": t for channel, t in columns.items()}
    return {name: "" if value is None else value for name, value in row.items()}


class TrainingLog(TrainingRecorder):
    """The recorder of a training that writes its log files next to `out` (model.pt)."""

    def __init__(self, out: Path, tensorboard: bool = False) -> None:
        self.out, self.tensorboard = out, tensorboard

    def begin(self, state: TrainingState) -> None:
        """Load the rows of an interrupted training's log, or log the weights before the first epoch.

        They are written with the first epoch; until then the files of an earlier run stay.
        """
        self._epochs, self._weights = (
            [row for row in read_log(path, columns) if int(row["epoch"]) <= state.epochs_done]
            if state.epochs_done
            else []
            for path, columns in ((epochs_path(self.out), EPOCHS), (weights_path(self.out), WEIGHTS))
        )
        self._board = (
            _open_tensorboard(self.out.with_suffix(".tensorboard"), state.epochs_done) if self.tensorboard else None
        )
        self._weights += [] if state.epochs_done else make_weight_rows(state.net, 0)

    def add_epoch(self, state: TrainingState, epoch: Epoch) -> None:
        row = make_epoch_row(epoch)
        self._epochs.append(row)
        self._weights += make_weight_rows(state.net, epoch.epoch)
        _replace_file(epochs_path(self.out), self._epochs)
        _replace_file(weights_path(self.out), self._weights)
        if self._board is not None:
            for name, value in row.items():
                if name != "epoch" and value != "":
                    self._board.add_scalar(name.replace(":", "/"), value, epoch.epoch)
            for layer, w in effective_weights(state.net).items():
                self._board.add_histogram(f"w_over_tau/{layer}", w, epoch.epoch)
            self._board.flush()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def make_weight_rows(net: Network, epoch: int) -> list[Row]:
    """Return the distribution of W/tau of each fully connected layer, as rows of the log model.weights.csv."""
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
    """Return the path of the epoch log of a model: model.pt -> model.csv."""
    return out.with_suffix(".csv")


def weights_path(out: Path) -> Path:
    """Return the path of the weight log of a model: model.pt -> model.weights.csv."""
    return out.with_suffix(".weights.csv")


def effective_weights(net: Network) -> dict[str, Tensor]:
    """Return W/tau of each fully connected layer that has a neuron after it, by layer name.

    Values are float32 [outputs * inputs]; W if the input is not decayed.
    """
    weights: dict[str, Tensor] = {}
    linear: Tensor | None = None
    for named in net.named_layers:
        if named.op == "Linear":
            module = net.get_submodule(named.name)
            assert isinstance(module, nn.Linear)
            linear = module.weight.detach().float().cpu()
        elif named.op == "Neuron":
            if linear is not None:
                alpha = net.neurons()[layer_of_neuron(named.name)].alpha()
                scale = torch.ones(()) if alpha is None or not net.options.decay_input else alpha.cpu()
                weights[layer_of_neuron(named.name)] = (linear * (scale[:, None] if scale.dim() else scale)).flatten()
            linear = None
    return weights


def read_log(path: Path, columns: Sequence[str] = EPOCHS) -> list[Row]:
    """Read the rows of a training log (`columns`: EPOCHS or WEIGHTS); none if there is no file.

    Raises PlifError for another file, for one without rows, and for a cell that no training writes.
    """
    rows = _read_rows(path, columns)
    last = 0
    for n, row in enumerate(rows, 1):
        for name, text in row.items():
            if expected := _describe_cell_error(name, text):
                raise PlifError(
                    f"{path}: row {n} has {name} {text!r:.60}; expected {expected}; delete the row, or the file"
                )
        if columns == EPOCHS and int(row["epoch"]) <= last:
            raise PlifError(
                f"{path}: row {n} is epoch {row['epoch']} after {last}; expected a later one; delete the row"
            )
        last = int(row["epoch"])
    return rows


def read_model_log(model: Path, record: Mapping[str, Any]) -> list[Row]:
    """Read the log next to a model.pt, and check that it belongs to this model; none if there is no log.

    `record` is the training record of the model. Raises PlifError as read_log() does, and if the record's epoch is none
    of the rows: then the log is another training's.
    """
    path = epochs_path(model)
    rows = read_log(path)
    names = [name for name in ("epoch", "val_accuracy", "test_accuracy") if record.get(name) is not None]
    if read_recorded_recipe(record, f"{model}: ").protocol == "B":
        names = [name for name in names if name != "test_accuracy"]  # it is read at the end, and is in no row
    if rows and "epoch" in names and not any(all(row[k] and float(row[k]) == record[k] for k in names) for row in rows):
        recorded = ", ".join(f"{name} {record[name]}" for name in names)
        raise PlifError(
            f"{path}: no row of the model beside it ({recorded}); the log of another training, or cut: move it away"
        )
    return rows


def _describe_cell_error(name: str | None, text: Any) -> str | None:
    """Describe the values that a training log's column accepts, if a cell's text is none of them; None if it is.

    Cells beyond the header have no name.
    """
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
    """Refuse a file that is not a training log, so that it is not overwritten.

    It may be a recording. A missing file is accepted.
    """
    _read_rows(path, columns, header_only=True)


def _read_rows(path: Path, columns: Sequence[str], header_only: bool = False) -> list[Row]:
    try:
        if not os.path.lexists(path):
            return []
        with io.TextIOWrapper(open_regular(path, "the log of a training"), newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or [])
            if header[:2] == list(columns[:2]):
                if missing := [name for name in columns if name not in header]:
                    raise PlifError(
                        f"{path}: lacks the columns {', '.join(missing)} of the log of a training; move it away"
                    )
                rows = [] if header_only else list(reader)
                if not rows and not header_only:
                    raise PlifError(f"{path}: has no rows, expected one for each epoch; delete the file")
                return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PlifError(f"{path}: cannot be read ({error})") from None
    beginning = f"it begins with {','.join(header)[:40]!r}" if header else "it is empty"
    raise PlifError(
        f"{path}: not the log of a training, which begins with {','.join(columns[:2])}: {beginning}; move it away, or "
        "give the model another name"
    )


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write table rows (dicts) as a CSV file with the columns of all rows; a missing value is an empty cell."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        names = [*dict.fromkeys(name for row in rows for name in row)] or ["epoch"]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _replace_file(path: Path, rows: list[Row]) -> None:
    with atomic_write(path) as (temporary_path,):
        write_rows(temporary_path, rows)


def _open_tensorboard(folder: Path, epochs_done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("--tensorboard", "tensorboard") from None
    return SummaryWriter(str(folder), purge_step=epochs_done + 1)
