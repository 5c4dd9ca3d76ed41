"""Accuracy and tau of every epoch of the authors' trainings.

Facts from the TensorBoard files that the authors published (github.com/fangwei123456/Parametric-Leaky-Integrate-and-Fire-
Spiking-Neuron, folder logs/, commit f644ff65): 49 runs, 36 of 1,024 epochs. authors_logs.csv.gz has a row an epoch:

    run     PROTOCOL-DATA-NEURON-tauTAU0-POOL-T..[-nDEPTH-SPLIT]
    epoch   from 1
    test, val, train   accuracies 0..1; val in protocol B; train is the mean over what was logged in the epoch
    taus    1 + exp(-w) of each PLIF layer after the epoch, in time-steps, the first layer first, joined by ";"
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from plif_train.commands.paper_rows.conditions import Conditions, compared, input_of
from plif_train.core.loop.hooks import augmentation_of
from plif_train.core.network.network import Options, layer_of
from plif_train.core.network.presets import PRESETS, Preset
from plif_train.core.recipe import Recipe, changed, read_recipe
from plif_train.hooks.kept_epochs.recorded import keys_of
from runtime.core.model.notation import Notation, name_layers, parse

DATASETS = {
    "MNIST": "mnist", "FashionMNIST": "fashion-mnist", "CIFAR10": "cifar10", "NMNIST": "nmnist",
    "CIFAR10DVS": "cifar10-dvs", "DVS128Gesture": "dvs128-gesture",
}  # fmt: skip
# preset -> samples trained on in protocol A, in B (the rest is held back), tested on; as the logs have them
SAMPLES = {
    "mnist": (60000, 51005, 10000), "fashion-mnist": (60000, 51000, 10000), "cifar10": (50000, 42500, 10000),
    "nmnist": (60000, 51005, 10000), "cifar10-dvs": (9000, 7650, 1000), "dvs128-gesture": (936, 803, 288),
}  # fmt: skip
SELECTION = {"dvs128-gesture": "train=authors-936"}
BATCH = 16
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AuthorsRun:
    """One of their trainings. epoch [N] from 1, accuracies [N], taus layer -> [N]; NaN where nothing was logged."""

    name: str
    conditions: Conditions
    epoch: npt.NDArray[np.int64]
    test: Floats
    val: Floats
    train: Floats
    taus: dict[str, Floats]

    @property
    def judged(self) -> Floats:
        """The accuracy that chooses the epoch: on the test set (A), or on what is held back (B)."""
        return self.val if self.conditions.judged == "validation" else self.test

    @property
    def judged_samples(self) -> int:
        """How many samples `judged` is measured on: of those held back the whole batches, their code drops the rest."""
        all_, learnt, test = SAMPLES[self.conditions.dataset]
        return (all_ - learnt) // BATCH * BATCH if self.conditions.recipe.protocol == "B" else test

    @property
    def judged_otherwise(self) -> list[str]:
        """Why `judged` is no measure of ours: in protocol B the authors' code augments what is held back, too."""
        augment = self.conditions.recipe.augment if self.conditions.recipe.protocol == "B" else "none"
        return [] if augment == "none" else [f"pictures held back: as they are, not {augment}"]

    def by_epoch(self, values: Floats, last: int | None = None) -> dict[int, float]:
        """epoch -> one of these `values` [N], up to epoch `last`, where something was logged."""
        pairs = zip(self.epoch.tolist(), values.tolist(), strict=True)
        return {epoch: value for epoch, value in pairs if value == value and (last is None or epoch <= last)}

    def test_of_best(self, epochs: int | None) -> float | None:
        """What their protocol had given after so many epochs: the test accuracy of the best, of equal ones the last."""
        seen = self.epoch <= (epochs or 0)
        best = self.judged[seen]
        return float(self.test[seen][len(best) - 1 - best[::-1].argmax()]) if len(best) else None


@cache
def authors_runs() -> dict[str, AuthorsRun]:
    """All runs by name."""
    text = gzip.decompress(
        files("plif_train.commands.paper_rows").joinpath("authors_logs.csv.gz").read_bytes()
    ).decode()
    rows: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        rows.setdefault(row["run"], []).append(row)
    return {name: _run(name, epochs) for name, epochs in rows.items()}


def like(conditions: Conditions) -> AuthorsRun | None:
    """The authors' run under exactly these conditions."""
    return next((run for run in authors_runs().values() if not run.conditions.differences(conditions)), None)


def nearest(conditions: Conditions) -> tuple[AuthorsRun, list[str]] | None:
    """The authors' run on this data set that differs in least, and in what; None where they had no such data set."""
    found = [run for run in authors_runs().values() if run.conditions.dataset == conditions.dataset]
    if not found:
        return None
    best = min(found, key=lambda run: len(conditions.differences(run.conditions)))
    return best, conditions.differences(best.conditions)


def conditions_of_log(name: str) -> Conditions:
    """The conditions that the name of a run says."""
    _, data, _, tau, _, _, _, _ = _words_of(name)
    dataset = DATASETS[data]
    recipe, meta, samples = recipe_of_log(name), PRESETS[dataset].meta, SAMPLES[dataset]
    own = augmentation_of(recipe.augment, dataset)
    whole = changed(recipe, {
        **keys_of(Options()), "init_tau": float(tau), "network": str(_network_of(name)[1]), "neuron": None,
        "T": recipe.T or meta.T, "framing": recipe.framing or meta.framing,
    })  # fmt: skip
    return Conditions(
        dataset, "real", samples[recipe.protocol == "B"], samples[2], SELECTION.get(dataset), None, None,
        input_of(meta.kind, meta.shape, meta.normalisation), compared(whole, own.__name__ if own else None),
    )  # fmt: skip


def recipe_of_log(name: str) -> Recipe:
    """The recipe of a run: the authors' (plif_train/recipes/authors.toml), and what the run's name says that the preset does
    not."""
    protocol, data, neuron, tau, pool, T, _, split = _words_of(name)
    preset, notation = _network_of(name)
    meta, kept = preset.meta, preset.depth == PRESETS[DATASETS[data]].depth
    said = {
        "network": DATASETS[data] if kept else str(notation),
        "neuron": neuron if kept and neuron != "PLIF" else None,
        "pool": "AP" if kept and pool == "avg" else None,
        "init_tau": float(tau) if float(tau) != Options.init_tau else None,
        "T": int(T) if int(T) != meta.T else None,
    }
    if meta.framing is not None:
        framing = re.sub(r"count:T=\d+", f"{'time' if split == 'time' else 'count'}:T={T}", meta.framing)
        said["framing"] = framing if framing != meta.framing or not kept else None
    return changed(read_recipe("authors"), {**said, "protocol": protocol})


def _words_of(name: str) -> tuple[str, ...]:
    found = re.fullmatch(r"(A|B)-(\w+)-(PLIF|LIF)-tau(\d+)-(max|avg)-T(\d+)(?:-n(\d)-(number|time))?", name)
    assert found is not None, name
    return found.groups()


def _network_of(name: str) -> tuple[Preset, Notation]:
    _, data, neuron, _, pool, _, depth, _ = _words_of(name)
    preset = PRESETS[DATASETS[data]]
    hidden = preset.hidden
    if depth is not None and int(depth) != preset.depth:  # a quarter of what the last convolution gives
        side = preset.meta.shape[1] >> int(depth)
        preset, hidden = replace(preset, depth=int(depth)), preset.channels * side * side // 4
    return preset, parse(preset.notation(hidden=hidden, neuron=neuron, pool={"max": "MP", "avg": "AP"}[pool]))


def _run(name: str, rows: list[dict[str, str]]) -> AuthorsRun:
    def column(key: str) -> Floats:
        return np.array([float(row[key] or "nan") for row in rows])

    test, val, train = (column(key) for key in ("test", "val", "train"))
    preset, notation = _network_of(name)
    layers = [layer_of(one.name) for one in name_layers(notation, preset.meta.shape) if one.op == "Neuron"]
    nothing = ["nan"] * len(layers)
    taus = [row["taus"].split(";") if row["taus"] else nothing for row in rows]
    learned = any(row["taus"] for row in rows)
    return AuthorsRun(
        name,
        conditions_of_log(name),
        np.array([int(row["epoch"]) for row in rows]),
        test,
        val,
        train,
        dict(zip(layers, np.array(taus, dtype=float).T, strict=True)) if learned else {},
    )
