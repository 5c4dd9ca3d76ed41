"""Rows of the paper: every table and figure of it and its supplement, with the command that reproduces it.

A row that is trained is one of the authors' runs. Its command is the recipe `authors` with the differences of that
run, so table, log and command cannot disagree. Other rows are drawn from models, or are properties of the code
itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from plif_train.commands.paper_rows.conditions import Conditions
from plif_train.commands.paper_rows.logs import DATASETS, load_authors_runs, parse_log_conditions, parse_log_recipe
from plif_train.core.network.presets import PRESETS
from plif_train.core.recipe import format_option, read_recipe
from runtime.core.base.errors import PlifError

EPOCHS = 1024
REPEATED_TABLES = {"table-2": ("table-s2", "A"), "table-s1": ("table-1",)}  # tables that repeat another one
LOG_NAMES = {dataset: name for name, dataset in DATASETS.items()}


# The published accuracies, 0..1: the best test epoch of 1,024, or (protocol B) that of the epoch with the best validation.
# Table S2 of the supplement: without a validation set (A, also Table 2 of the paper) and with 15 % held back (B).
TABLE_S2 = {
    "mnist": {"A": 0.9972, "B": 0.9963},
    "fashion-mnist": {"A": 0.9438, "B": 0.9385},
    "cifar10": {"A": 0.9350, "B": 0.9258},
    "nmnist": {"A": 0.9961, "B": 0.9957},  # with T = 10 and T = 20, as the logs show
    "cifar10-dvs": {"A": 0.7480, "B": 0.6900},
    "dvs128-gesture": {"A": 0.9757, "B": 0.9653},
}

# Table 4: PLIF and LIF, with tau_0 = 2 and 16.
TABLE_4 = {
    "fashion-mnist": {"plif-2": 0.9438, "lif-2": 0.9417, "plif-16": 0.9465, "lif-16": 0.9447},
    "cifar10": {"plif-2": 0.9350, "lif-2": 0.9303, "plif-16": 0.9323, "lif-16": 0.4750},
    "cifar10-dvs": {"plif-2": 0.7480, "lif-2": 0.7360, "plif-16": 0.7050, "lif-16": 0.6240},
    "dvs128-gesture": {"plif-2": 0.9757, "lif-2": 0.9688, "plif-16": 0.9201, "lif-16": 0.7674},
}

# Table 5: max and average pooling, PLIF with tau_0 = 2.
TABLE_5 = {
    "fashion-mnist": {"max": 0.9438, "average": 0.9474},
    "cifar10": {"max": 0.9350, "average": 0.9330},
    "cifar10-dvs": {"max": 0.7480, "average": 0.7270},
    "dvs128-gesture": {"max": 0.9757, "average": 0.9722},
}


@dataclass(frozen=True)
class PublishedResult:
    """One published result of the PLIF paper that `plif paper` can reproduce: a row of a table, or a figure.

    title        its description for the user
    log          the authors' run that it is trained like; None: it is not trained
    published    the accuracy in the paper, 0..1
    command      the command to type if it is not trained
    shows        the data set that a drawing shows; None: any
    """

    name: str
    title: str
    log: str | None = None
    published: float | None = None
    command: str | None = None
    shows: str | None = None

    @property
    def conditions(self) -> Conditions:
        assert self.log is not None
        return parse_log_conditions(self.log)

    @property
    def dataset(self) -> str | None:
        return self.conditions.dataset if self.log else self.shows

    @property
    def file(self) -> str:
        """The file name of the model.pt that training a published result writes."""
        return f"{self.log}.pt"

    def arguments(self, data: str | None, out: str, epochs: int = EPOCHS, precision: str = "fp32") -> list[str]:
        """Return the words after `plif` of the command that reproduces a published result, with all options."""
        if self.log is None:
            words = shlex.split(self.command or "")[1:]
            return [data if data and word == f"{self.shows}:DIR" else word for word in words]
        conditions, recipe = self.conditions, parse_log_recipe(self.log)
        data = data or f"{conditions.dataset}:DIR"
        options = data.partition("?")[2]
        if conditions.selection and f"&{conditions.selection.partition('=')[0]}=" not in f"&{options}":
            data = f"{data.removesuffix('?')}{'&' if options else '?'}{conditions.selection}"
        words, theirs = ["train", "authors", str(recipe.network), "--data", data], read_recipe("authors").to_dict()
        for name, value in recipe.to_dict().items():
            if name != "network" and value != theirs.get(name):
                words += format_option(name, value)
        return [*words, "--precision", precision, "--epochs", str(epochs), "--out", f"{out}/{self.file}"]


def list_rows() -> dict[str, PublishedResult]:
    """List all published results (table rows and figures) of the PLIF paper by name, in the paper's order."""
    listed = [*_trained_rows(), *_drawn_rows()]
    return {row.name: row for row in (*listed, *_unlisted_rows({row.log for row in listed}))}


def find_rows(name: str, dataset: str | None = None) -> list[PublishedResult]:
    """Find the published results of the PLIF paper with this name; a table's name selects all its rows.

    Raises PlifError if there are none.
    """
    all_rows = list_rows()
    if name in all_rows:
        matches = [all_rows[name]]
    else:
        table, *words = name.split(":")
        pattern = [*REPEATED_TABLES.get(table, (table,)), *words]
        matches = [row for row in all_rows.values() if _matches(row.name.split(":"), pattern)]
    chosen = [row for row in matches if dataset is None or row.dataset in (None, dataset)]
    if not matches:
        raise PlifError(f"row '{name}' is not known; plif paper --list names all, such as table-s2:fashion-mnist:A")
    if not chosen:
        needed = " or ".join(sorted(f"{row.dataset}:DIR" for row in matches if row.dataset))
        raise PlifError(f"row '{name}' needs other data: found {dataset}, expected {needed}")
    return chosen


def _matches(parts: list[str], pattern: list[str]) -> bool:
    """Return whether the parts of a published result's name match the words that the user typed."""
    return parts[0] == pattern[0] and all(word in parts[1:] for word in pattern[1:])


def _log_name(protocol: str, dataset: str, neuron: str = "PLIF", tau: int = 2, pool: str = "max") -> str:
    preset = PRESETS[dataset]
    T = 20 if (dataset, protocol) == ("nmnist", "B") else preset.meta.T
    split = f"-n{preset.depth}-number" if preset.meta.kind == "events" else ""
    return f"{protocol}-{LOG_NAMES[dataset]}-{neuron}-tau{tau}-{pool}-T{T}{split}"


def _trained_rows() -> Iterator[PublishedResult]:
    for dataset, accuracies in TABLE_S2.items():
        for protocol, accuracy in accuracies.items():
            note = " (also Table 2)" if protocol == "A" else ""
            yield PublishedResult(
                f"table-s2:{dataset}:{protocol}", f"Table S2{note}: {dataset}, protocol {protocol}",
                _log_name(protocol, dataset), accuracy,
            )  # fmt: skip
    for dataset, accuracies in TABLE_4.items():
        for variant, accuracy in accuracies.items():
            neuron, tau = variant.upper().split("-")
            yield PublishedResult(
                f"table-4:{dataset}:{variant}", f"Table 4: {dataset}, {neuron}, tau_0 = {tau}",
                _log_name("A", dataset, neuron, int(tau)), accuracy,
            )  # fmt: skip
    for dataset, accuracies in TABLE_5.items():
        for pool, accuracy in accuracies.items():
            yield PublishedResult(
                f"table-5:{dataset}:{pool}", f"Table 5: {dataset}, {pool} pooling",
                _log_name("A", dataset, pool="max" if pool == "max" else "avg"), accuracy,
            )  # fmt: skip


def _drawn_rows() -> Iterator[PublishedResult]:
    figures = "plif paper figures"
    fashion, dvs, gestures = "fashion-mnist", "cifar10-dvs", "dvs128-gesture"
    commands = {name: f"{figures} model.pt --data {name}:DIR" for name in (fashion, dvs, gestures)}
    yield PublishedResult(
        "table-1", "Tables 1 and S1: the six networks; notation of a trained one", command="plif info model.pt"
    )
    yield PublishedResult("table-3", "Table 3: time-steps; T of a trained network", command="plif info model.pt")
    yield PublishedResult(
        "fig-6", "Fig. 6: accuracy of the trainings of Table 4, four sets", command=f"{figures} runs --only ablation"
    )
    yield PublishedResult(
        "fig-7", "Fig. 7: tau of each layer (CIFAR-10, CIFAR10-DVS)", command=f"{figures} runs --only tau"
    )
    # Numbers of the supplement's captions. T_s = 19 leaves out the last of 20 steps; --samples is the number shown.
    weights = "Fig. S1: the distribution of W/tau, CIFAR10-DVS"
    yield PublishedResult("fig-s1", weights, command=f"{figures} model.pt --only fig-s1", shows=dvs)
    three = f"{commands[fashion]} --only fig-s2 --channels 45,75,76 --steps 8"
    yield PublishedResult(
        "fig-s2", "Fig. S2: three channels after 8 steps, Fashion-MNIST", command=three, shows=fashion
    )
    horse = f"{commands[dvs]} --only fig-s3 --class horse --steps 19 --samples 1"
    yield PublishedResult(
        "fig-s3", "Fig. S3: a horse, all channels at t = 0 and T_s = 19, CIFAR10-DVS", command=horse, shows=dvs
    )
    horse = f"{commands[dvs]} --only fig-s4 --class horse --channels 40,103 --steps 20 --samples 1"
    yield PublishedResult("fig-s4", "Fig. S4: a horse, two channels in 20 steps, CIFAR10-DVS", command=horse, shows=dvs)
    three = f"{commands[gestures]} --only fig-s5 --class other_gestures,right_arm_clockwise,air_drums --channels 59 --samples 3"
    yield PublishedResult(
        "fig-s5", "Fig. S5: three gestures and channel 59, DVS128 Gesture", command=three, shows=gestures
    )
    yield PublishedResult(
        "section-s10", "Section 10 of the supplement: encoders", command=f"{figures} model.pt --only encoders"
    )


def _unlisted_rows(used: set[str | None]) -> Iterator[PublishedResult]:
    """Yield a result for each run that the PLIF paper's authors logged, but list in no table of the paper."""
    for log in load_authors_runs():
        if log not in used:
            _, name, variant = log.split("-", 2)
            yield PublishedResult(
                f"logs:{DATASETS[name]}:{variant.lower()}", f"the authors' logs, in no table: {log}", log
            )
