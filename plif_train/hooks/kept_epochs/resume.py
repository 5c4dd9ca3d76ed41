"""model.resume.pt: the last whole epoch with all that its continuation needs, and what a continuation must share with it.

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
from plif_train.core.loop.hooks import TrainingCourse, TrainingState
from plif_train.core.network.network import Network
from plif_train.core.recipe import KEYS, Recipe
from plif_train.hooks.kept_epochs.log import EPOCHS, WEIGHTS, check_header, epochs_path, weights_path
from plif_train.hooks.kept_epochs.recorded import explicit, recipe_of
from runtime.core.base.errors import NONSENSE, PlifError


def resume_path(out: str | Path) -> Path:
    """model.pt -> model.resume.pt"""
    out = Path(out)
    return out.with_name(f"{out.stem}.resume.pt")


def check_place(out: Path, resume: bool, overwrite: bool) -> None:
    """PlifError when the files beside `out` are something else, or would be replaced."""
    kept = resume_path(out)
    for path in (kept, epochs_path(out), weights_path(out)):
        if path.is_dir():
            raise PlifError(f"{path}: is a folder; expected a place for a file, give another --out")
    check_header(epochs_path(out), EPOCHS)
    check_header(weights_path(out), WEIGHTS)
    if resume and not kept.exists():
        raise PlifError(f"{kept}: no such file, so there is nothing to resume; train without --resume first")
    if resume or overwrite:
        return
    if kept.exists():
        try:
            done = int(_progress_of(checkpoint.read_tensors(kept), kept)["epoch"])
        except PlifError as error:
            raise PlifError(f"{error}; --overwrite replaces it") from None
        if done:
            epochs = "1 epoch" if done == 1 else f"{done} epochs"
            raise PlifError(f"{kept}: holds {epochs}: add --resume to continue, or --overwrite to begin again")


def settings_of(recipe: Recipe) -> dict[str, object]:
    """What a resumed run must share with the run that it continues. The network, samples and augmentation are compared as they
    turned out."""
    kept = explicit(recipe)
    names = [name for name, each in KEYS.items() if each.metadata["group"] == TRAINING and not each.metadata["free"]]
    names += [name for name, each in KEYS.items() if each.metadata["group"] == DATA and not name.startswith("limit")]
    return {name: getattr(kept, name) for name in names if name != "augment"}


class LastEpoch(TrainingCourse):
    """The resume file of a training, beside `out`."""

    def __init__(self, out: Path, resume: bool) -> None:
        self.out, self.path, self.resume = out, resume_path(out), resume

    def compare(self, run: TrainingState) -> list[str]:
        t_max = self._read(run)[1].get("t_max") if self.resume else None
        if run.recipe.t_max is not None or t_max in (None, run.recipe.epochs):
            return []
        return [f"the cosine keeps its half period of {t_max} epochs; --set t_max=N changes it"]

    def restore(self, run: TrainingState) -> None:
        if not self.resume:
            if run.world.rank == 0:
                self.keep(run)
            return
        content, progress, saved = self._read(run)
        run.net.load_state_dict(saved.state_dict())
        try:
            run.optimizer.load_state_dict(content["optimizer"])
            run.scaler.load_state_dict(content["scaler"])
        except (KeyError, TypeError, ValueError):
            raise PlifError(
                f"{self.path}: its optimiser does not fit the network; the file was damaged, train again"
            ) from None
        run.done, run.processes = int(progress["epoch"]), max(run.processes, progress["processes"])
        run.best = dict(progress["best"]) if self.out.exists() else run.best
        if run.recipe.t_max is None and progress.get("t_max") != run.recipe.epochs:  # the cosine stays what it was
            run.recipe = replace(run.recipe, t_max=progress.get("t_max"))

    def keep(self, run: TrainingState) -> None:
        progress = {
            "epoch": run.done,
            "best": run.best,
            "t_max": run.recipe.t_max or run.recipe.epochs,
            "processes": run.processes,
            "settings": {"recipe": run.recipe.to_dict(), **run.samples},
            "about": _identity(run.about),
        }
        content = {
            **checkpoint.content_of(run.net),
            "optimizer": run.optimizer.state_dict(),
            "scaler": run.scaler.state_dict(),
            "progress": json.dumps(progress),
        }
        checkpoint.write_atomically(content, self.path)

    def left(self) -> str | None:
        text = f"{self.path} holds the last whole epoch; add --resume to the command to continue"
        return text if self.path.exists() else None

    def _read(self, run: TrainingState) -> tuple[dict[str, Any], dict[str, Any], Network]:
        """The file, its progress and its network, when it belongs to this training. PlifError, with the first difference, when it
        does not."""
        content = checkpoint.read_tensors(self.path)
        progress = _progress_of(content, self.path)
        saved = checkpoint.network_of(content, self.path)
        before = {**progress["settings"], **progress["about"]}
        try:
            then = {**before, **settings_of(recipe_of(before))}
        except PlifError as error:
            raise PlifError(f"{self.path}: {error}") from None
        then |= _network_settings(saved)
        now = {**run.samples, **json.loads(json.dumps(_identity(run.about))), **settings_of(run.recipe)}
        now |= _network_settings(run.net)
        for key in sorted(set(then) | set(now)):
            if key in ("recipe", "mixture"):  # by settings_of
                continue
            if then.get(key) != now.get(key):
                raise PlifError(
                    f"{self.path}: trained with {key} {then.get(key)}, asked for {now.get(key)}; resume with the same"
                )
        return content, progress, saved


def _progress_of(content: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        progress = json.loads(content["progress"])
        kinds = (("epoch", int), ("best", dict), ("settings", dict), ("about", dict), ("processes", int))
        if all(isinstance(progress[key], kind) for key, kind in kinds) and "recipe" in progress["settings"]:
            return dict(progress)
    except NONSENSE:
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


def _identity(about: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in about.items() if key != "command"}
