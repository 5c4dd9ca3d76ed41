"""model.resume.pt: the last whole epoch with all that its continuation needs, and what a continuation must share with it.

A continuation has the same network, the same recipe except for its length, and the same data: set, options, classes in
order, numbers of samples.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from plif_train.hooks.kept_epochs.log import EPOCHS, WEIGHTS, check_header, epochs_path, weights_path
from plif_train.hooks.kept_epochs.recorded import explicit, recipe_of
from plif_train.keys import DATA, TRAINING
from plif_train.loop import checkpoint
from plif_train.network.network import Network
from plif_train.recipe import KEYS, Recipe
from runtime.base.errors import NONSENSE, PlifError


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


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """What a resumed run must share with the run that it continues. The network, samples and augmentation are compared as they
    turned out."""
    kept = explicit(recipe)
    names = [name for name, each in KEYS.items() if each.metadata["group"] == TRAINING and not each.metadata["free"]]
    names += [name for name, each in KEYS.items() if each.metadata["group"] == DATA and not name.startswith("limit")]
    return {name: getattr(kept, name) for name in names if name != "augment"}


@dataclass
class ResumeFile:
    """The resume file of the training of `net` by `recipe`, at `path`.

    about      what the training record says of the data; samples: how many of each kind (train_samples, ...)
    processes  the most that have trained it together
    """

    path: Path
    net: Network
    recipe: Recipe
    about: dict[str, Any]
    samples: dict[str, int]
    processes: int = 1

    def write(
        self, epoch: int, best: dict[str, Any], optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> None:
        """After `epoch` epochs, the best of which was `best`."""
        progress = {
            "epoch": epoch,
            "best": best,
            "t_max": self.recipe.t_max or self.recipe.epochs,
            "processes": self.processes,
            "settings": {"recipe": self.recipe.to_dict(), **self.samples},
            "about": _identity(self.about),
        }
        content = {
            **checkpoint.content_of(self.net),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "progress": json.dumps(progress),
        }
        checkpoint.write_atomically(content, self.path)

    def read(self) -> ResumePoint:
        """The file, when it belongs to this training. PlifError, with the first difference, when it does not."""
        content = checkpoint.read_tensors(self.path)
        progress = _progress_of(content, self.path)
        saved = checkpoint.network_of(content, self.path)
        before = {**progress["settings"], **progress["about"]}
        try:
            then = {**before, **settings_of(recipe_of(before))}
        except PlifError as error:
            raise PlifError(f"{self.path}: {error}") from None
        then |= _network_settings(saved)
        now = {**self.samples, **json.loads(json.dumps(_identity(self.about))), **settings_of(self.recipe)}
        now |= _network_settings(self.net)
        for key in sorted(set(then) | set(now)):
            if key in ("recipe", "mixture"):  # by settings_of
                continue
            if then.get(key) != now.get(key):
                raise PlifError(
                    f"{self.path}: trained with {key} {then.get(key)}, asked for {now.get(key)}; resume with the same"
                )
        return ResumePoint(
            int(progress["epoch"]), dict(progress["best"]), progress.get("t_max"), progress["processes"],
            content, saved,
        )  # fmt: skip

    def restore(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> ResumePoint:
        """Reads the file, and makes network and optimiser what they were."""
        point = self.read()
        self.net.load_state_dict(point.net.state_dict())
        try:
            optimizer.load_state_dict(point.content["optimizer"])
            scaler.load_state_dict(point.content["scaler"])
        except (KeyError, TypeError, ValueError):
            raise PlifError(
                f"{self.path}: its optimiser does not fit the network; the file was damaged, train again"
            ) from None
        return point


@dataclass
class ResumePoint:
    """Where a training goes on: after `epoch` epochs, with the cosine's half period `t_max` in epochs."""

    epoch: int
    best: dict[str, Any]
    t_max: int | None
    processes: int
    content: dict[str, Any]
    net: Network


def _progress_of(content: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        progress = json.loads(content["progress"])
        kinds = (("epoch", int), ("best", dict), ("settings", dict), ("about", dict), ("processes", int))
        if all(isinstance(progress[key], kind) for key, kind in kinds) and "recipe" in progress["settings"]:
            return dict(progress)
    except NONSENSE:
        pass
    raise PlifError(f"{path}: not a resume file, expected one written by plif train")


def _network_settings(net: Network) -> dict[str, Any]:
    meta = net.meta
    return {
        "network": str(net.notation),
        "options": net.options,
        "T": net.T,
        "framing": net.framing,
        "input": tuple(meta.shape),
        "classes": tuple(meta.classes),
    }


def _identity(about: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key != "command"}
