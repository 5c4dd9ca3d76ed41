"""Accuracy and tau of every epoch of the authors' trainings.

Facts from the TensorBoard files that the authors published
(github.com/fangwei123456/Parametric-Leaky-Integrate-and-Fire- Spiking-Neuron, folder logs/, commit f644ff65): 49
runs, 36 of 1,024 epochs. authors_logs.csv.gz has a row an epoch:

    run     PROTOCOL-DATA-NEURON-tauTAU0-POOL-T..[-nDEPTH-SPLIT]
    epoch   from 1
    test, val, train   accuracies 0..1; val in protocol B; train is the mean over the values logged in the epoch
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

from plif_train.commands.paper_rows.conditions import Conditions, describe_input, normalise_recipe
from plif_train.core.loop.hooks import find_augmentation
from plif_train.core.network.network import Options, layer_of_neuron
from plif_train.core.network.presets import PRESETS, Preset
from plif_train.core.recipe import Recipe, read_recipe, replace_keys
from plif_train.hooks.kept_epochs.recorded import options_to_keys
from runtime.core.model.notation import Notation, name_layers, parse_notation

DATASETS = {
    "MNIST": "mnist", "FashionMNIST": "fashion-mnist", "CIFAR10": "cifar10", "NMNIST": "nmnist",
    "CIFAR10DVS": "cifar10-dvs", "DVS128Gesture": "dvs128-gesture",
}  # fmt: skip
# preset -> samples trained on in protocol A, in B (the others are held back), tested on; from the logs
SAMPLES = {
    "mnist": (60000, 51005, 10000), "fashion-mnist": (60000, 51000, 10000), "cifar10": (50000, 42500, 10000),
    "nmnist": (60000, 51005, 10000), "cifar10-dvs": (9000, 7650, 1000), "dvs128-gesture": (936, 803, 288),
}  # fmt: skip
SELECTION = {"dvs128-gesture": "train=authors-936"}
BATCH = 16
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AuthorsRun:
    """A training run logged by the PLIF paper's authors: accuracies [N] and taus (layer -> [N]) by epoch.

    epoch [N] counts from 1. NaN stands for values that were not logged.
    """

    name: str
    conditions: Conditions
    epoch: npt.NDArray[np.int64]
    test: Floats
    val: Floats
    train: Floats
    taus: dict[str, Floats]

    @property
    def judged(self) -> Floats:
        """The accuracies [N] by which the authors select the best epoch: on the test set or held-back samples."""
        return self.val if self.conditions.judged == "validation" else self.test

    @property
    def judged_samples(self) -> int:
        """The number of samples behind the accuracy by which the authors select the best epoch.

        Of those held back it counts full batches; the authors' code drops the last, smaller one.
        """
        total, learnt, test = SAMPLES[self.conditions.dataset]
        return (total - learnt) // BATCH * BATCH if self.conditions.recipe.protocol == "B" else test

    @property
    def judged_differences(self) -> list[str]:
        """The reasons why the accuracies by which the authors select the best epoch cannot be compared with ours.

        In protocol B the authors' code augments the samples that are held back, too.
        """
        augment = self.conditions.recipe.augment if self.conditions.recipe.protocol == "B" else "none"
        return [] if augment == "none" else [f"pictures held back: as they are, not {augment}"]

    def by_epoch(self, values: Floats, last: int | None = None) -> dict[int, float]:
        """Return values [N] logged by the PLIF paper's authors as {epoch: value}, up to epoch `last`, without NaN."""
        pairs = zip(self.epoch.tolist(), values.tolist(), strict=True)
        return {epoch: value for epoch, value in pairs if value == value and (last is None or epoch <= last)}

    def test_accuracy_of_best(self, epochs: int | None) -> float | None:
        """Return the test accuracy at the best of the first `epochs` epochs of a run of the PLIF paper's authors.

        That is the result of their protocol after so many epochs. Of equal epochs it is the last.
        """
        mask = self.epoch <= (epochs or 0)
        best = self.judged[mask]
        return float(self.test[mask][len(best) - 1 - best[::-1].argmax()]) if len(best) else None


@cache
def load_authors_runs() -> dict[str, AuthorsRun]:
    """Load all training runs that the PLIF paper's authors published logs of, by name."""
    text = gzip.decompress(
        files("plif_train.commands.paper_rows").joinpath("authors_logs.csv.gz").read_bytes()
    ).decode()
    rows: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        rows.setdefault(row["run"], []).append(row)
    return {name: _make_run(name, epochs) for name, epochs in rows.items()}


def find_run(conditions: Conditions) -> AuthorsRun | None:
    """Find the training run of the PLIF paper's authors under exactly these conditions, or return None."""
    return next((run for run in load_authors_runs().values() if not run.conditions.differences(conditions)), None)


def find_nearest_run(conditions: Conditions) -> tuple[AuthorsRun, list[str]] | None:
    """Find the PLIF paper's authors' run on the same data set with the fewest differences to ours; list these.

    Returns None if they had no such data set.
    """
    candidates = [run for run in load_authors_runs().values() if run.conditions.dataset == conditions.dataset]
    if not candidates:
        return None
    best = min(candidates, key=lambda run: len(conditions.differences(run.conditions)))
    return best, conditions.differences(best.conditions)


def parse_log_conditions(name: str) -> Conditions:
    """Parse the conditions of a training run of the PLIF paper's authors from the name of its log."""
    _, data, _, tau, _, _, _, _ = _split_log_name(name)
    dataset = DATASETS[data]
    recipe, meta, samples = parse_log_recipe(name), PRESETS[dataset].meta, SAMPLES[dataset]
    augmentation = find_augmentation(recipe.augment, dataset)
    recipe_with_network = replace_keys(recipe, {
        **options_to_keys(Options()), "init_tau": float(tau), "network": str(_parse_log_network(name)[1]), "neuron": None,
        "T": recipe.T or meta.T, "framing": recipe.framing or meta.framing,
    })  # fmt: skip
    return Conditions(
        dataset, "real", samples[recipe.protocol == "B"], samples[2], SELECTION.get(dataset), None, None,
        describe_input(meta.kind, meta.shape, meta.normalisation),
        normalise_recipe(recipe_with_network, augmentation.__name__ if augmentation else None),
    )  # fmt: skip


def parse_log_recipe(name: str) -> Recipe:
    """Parse the recipe (network, options) of a run of the PLIF paper's authors from the name of its log.

    It is the authors' recipe (plif_train/recipes/authors.toml) with the settings in which the name differs from the
    preset.
    """
    protocol, data, neuron, tau, pool, T, _, split = _split_log_name(name)
    preset, notation = _parse_log_network(name)
    meta, has_preset_depth = preset.meta, preset.depth == PRESETS[DATASETS[data]].depth
    changes = {
        "network": DATASETS[data] if has_preset_depth else str(notation),
        "neuron": neuron if has_preset_depth and neuron != "PLIF" else None,
        "pool": "AP" if has_preset_depth and pool == "avg" else None,
        "init_tau": float(tau) if float(tau) != Options.init_tau else None,
        "T": int(T) if int(T) != meta.T else None,
    }
    if meta.framing is not None:
        framing = re.sub(r"count:T=\d+", f"{'time' if split == 'time' else 'count'}:T={T}", meta.framing)
        changes["framing"] = framing if framing != meta.framing or not has_preset_depth else None
    return replace_keys(read_recipe("authors"), {**changes, "protocol": protocol})


def _split_log_name(name: str) -> tuple[str, ...]:
    match = re.fullmatch(r"(A|B)-(\w+)-(PLIF|LIF)-tau(\d+)-(max|avg)-T(\d+)(?:-n(\d)-(number|time))?", name)
    assert match is not None, name
    return match.groups()


def _parse_log_network(name: str) -> tuple[Preset, Notation]:
    _, data, neuron, _, pool, _, depth, _ = _split_log_name(name)
    preset = PRESETS[DATASETS[data]]
    hidden = preset.hidden
    if depth is not None and int(depth) != preset.depth:  # a quarter of the outputs of the last convolution
        side = preset.meta.shape[1] >> int(depth)
        preset, hidden = replace(preset, depth=int(depth)), preset.channels * side * side // 4
    return preset, parse_notation(preset.notation(hidden=hidden, neuron=neuron, pool={"max": "MP", "avg": "AP"}[pool]))


def _make_run(name: str, rows: list[dict[str, str]]) -> AuthorsRun:
    def column(key: str) -> Floats:
        return np.array([float(row[key] or "nan") for row in rows])

    test, val, train = (column(key) for key in ("test", "val", "train"))
    preset, notation = _parse_log_network(name)
    layers = [layer_of_neuron(layer.name) for layer in name_layers(notation, preset.meta.shape) if layer.op == "Neuron"]
    no_taus = ["nan"] * len(layers)
    taus = [row["taus"].split(";") if row["taus"] else no_taus for row in rows]
    learned = any(row["taus"] for row in rows)
    return AuthorsRun(
        name,
        parse_log_conditions(name),
        np.array([int(row["epoch"]) for row in rows]),
        test,
        val,
        train,
        dict(zip(layers, np.array(taus, dtype=float).T, strict=True)) if learned else {},
    )
