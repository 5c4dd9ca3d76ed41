"""The resume file (model.resume.pt): the last complete epoch with all data that its continuation needs.

A continuation has the same network, the same recipe except for its length, and the same data: set, options, classes in
order, numbers of samples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plif_train.core.keys import DATA, TRAINING
from plif_train.core.loop import checkpoint
from plif_train.core.loop.hooks import TrainingRecorder, TrainingState
from plif_train.core.network.network import Network
from plif_train.core.recipe import KEYS, Recipe
from plif_train.hooks.kept_epochs.log import EPOCHS, WEIGHTS, check_header, epochs_path, weights_path
from plif_train.hooks.kept_epochs.recorded import make_explicit, read_recorded_recipe
from runtime.core.base.errors import PARSE_ERRORS, PlifError


def resume_path(out: str | Path) -> Path:
    """Return the path of the resume file of a model: model.pt -> model.resume.pt."""
    out = Path(out)
    return out.with_name(f"{out.stem}.resume.pt")


def check_output_files(out: Path, resume: bool, overwrite: bool) -> None:
    """Refuse to train if files next to `out` belong to no training, or would be replaced."""
    resume_file = resume_path(out)
    for path in (resume_file, epochs_path(out), weights_path(out)):
        if path.is_dir():
            raise PlifError(f"{path}: is a folder; expected a place for a file, give another --out")
    check_header(epochs_path(out), EPOCHS)
    check_header(weights_path(out), WEIGHTS)
    if resume and not resume_file.exists():
        raise PlifError(f"{resume_file}: no such file, so there is nothing to resume; train without --resume first")
    if resume or overwrite:
        return
    if resume_file.exists():
        try:
            epochs_done = int(_read_progress(checkpoint.read_checkpoint(resume_file), resume_file)["epoch"])
        except PlifError as error:
            raise PlifError(f"{error}; --overwrite replaces it") from None
        if epochs_done:
            epochs = "1 epoch" if epochs_done == 1 else f"{epochs_done} epochs"
            raise PlifError(f"{resume_file}: holds {epochs}: add --resume to continue, or --overwrite to begin again")


def shared_settings(recipe: Recipe) -> dict[str, object]:
    """Return the recipe settings that a resumed run must share with the run that it continues.

    The network, samples and augmentation are compared by their actual values.
    """
    full_recipe = make_explicit(recipe)
    names = [
        name
        for name, declared in KEYS.items()
        if declared.metadata["group"] == TRAINING and not declared.metadata["free"]
    ]
    names += [
        name for name, declared in KEYS.items() if declared.metadata["group"] == DATA and not name.startswith("limit")
    ]
    return {name: getattr(full_recipe, name) for name in names if name != "augment"}


class ResumeFile(TrainingRecorder):
    """The recorder of a training that writes its last epoch to the resume file next to `out` (model.pt)."""

    def __init__(self, out: Path, resume: bool) -> None:
        self.out, self.path, self.resume = out, resume_path(out), resume

    def compare(self, state: TrainingState) -> list[str]:
        t_max = self._read(state)[1].get("t_max") if self.resume else None
        if state.recipe.t_max is not None or t_max in (None, state.recipe.epochs):
            return []
        return [f"the cosine keeps its half period of {t_max} epochs; --set t_max=N changes it"]

    def restore(self, state: TrainingState) -> None:
        if not self.resume:
            if state.world.rank == 0:
                self.save_epoch(state)
            return
        content, progress, saved = self._read(state)
        state.net.load_state_dict(saved.state_dict())
        try:
            state.optimizer.load_state_dict(content["optimizer"])
            state.scaler.load_state_dict(content["scaler"])
        except (KeyError, TypeError, ValueError):
            raise PlifError(
                f"{self.path}: its optimiser does not fit the network; the file was damaged, train again"
            ) from None
        state.epochs_done, state.processes = int(progress["epoch"]), max(state.processes, progress["processes"])
        state.best = dict(progress["best"]) if self.out.exists() else state.best
        if state.recipe.t_max is None and progress.get("t_max") != state.recipe.epochs:  # the cosine does not change
            state.recipe = replace(state.recipe, t_max=progress.get("t_max"))

    def save_epoch(self, state: TrainingState) -> None:
        progress = {
            "epoch": state.epochs_done,
            "best": state.best,
            "t_max": state.recipe.t_max or state.recipe.epochs,
            "processes": state.processes,
            "settings": {"recipe": state.recipe.to_dict(), **state.samples},
            "about": _without_command(state.about),
        }
        content = {
            **checkpoint.pack_checkpoint(state.net),
            "optimizer": state.optimizer.state_dict(),
            "scaler": state.scaler.state_dict(),
            "progress": json.dumps(progress),
        }
        checkpoint.save_atomically(content, self.path)

    def resume_hint(self) -> str | None:
        text = f"{self.path} holds the last whole epoch; add --resume to the command to continue"
        return text if self.path.exists() else None

    def _read(self, state: TrainingState) -> tuple[dict[str, Any], dict[str, Any], Network]:
        """Read the resume file and check that it belongs to this training: (contents, progress, network).

        Raises PlifError, with the first difference, if it does not.
        """
        content = checkpoint.read_checkpoint(self.path)
        progress = _read_progress(content, self.path)
        saved = checkpoint.unpack_network(content, self.path)
        before = {**progress["settings"], **progress["about"]}
        try:
            previous = {**before, **shared_settings(read_recorded_recipe(before))}
        except PlifError as error:
            raise PlifError(f"{self.path}: {error}") from None
        previous |= _network_settings(saved)
        current = {
            **state.samples,
            **json.loads(json.dumps(_without_command(state.about))),
            **shared_settings(state.recipe),
        }
        current |= _network_settings(state.net)
        for key in sorted(set(previous) | set(current)):
            if key in ("recipe", "mixture"):  # compared by shared_settings
                continue
            if previous.get(key) != current.get(key):
                raise PlifError(
                    f"{self.path}: trained with {key} {previous.get(key)}, asked for {current.get(key)}; resume with the same"
                )
        return content, progress, saved


def _read_progress(content: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        progress = json.loads(content["progress"])
        kinds = (("epoch", int), ("best", dict), ("settings", dict), ("about", dict), ("processes", int))
        if all(isinstance(progress[key], kind) for key, kind in kinds) and "recipe" in progress["settings"]:
            return dict(progress)
    except PARSE_ERRORS:
        pass
    raise PlifError(f"{path}: not a resume file, expected one written by plif train")


def _network_settings(net: Network) -> dict[str, object]:
    meta = net.meta
    return {
        "network": str(net.notation),
        "options": net.options,
        "T": net.T,
        "framing": net.framing,
        "input": tuple(meta.shape),
        "classes": tuple(meta.classes),
    }


def _without_command(about: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in about.items() if key != "command"}
