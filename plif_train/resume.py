"""model.resume.pt: the last whole epoch with all that its continuation needs, and what a continuation must share with it.

Shared must be the network, the recipe but for its length, and the data: set, options, classes in order, numbers of
samples. What a file of an earlier version does not say is not compared.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from plif_train import checkpoint
from plif_train.log import EPOCHS, WEIGHTS, check_header, epochs_path, weights_path
from plif_train.network import Network
from plif_train.recipe import Recipe
from runtime.base.errors import PlifError
from runtime.model import card as cards

# Not in the files of before they were compared.
LATER = ("dataset_options", "train_samples", "val_samples", "test_samples")


@dataclass
class Kept:
    """A resume file that belongs to this training: `done` epochs, `t_max` the half period that it went by."""

    done: int
    best: dict[str, Any]
    t_max: int | None
    content: dict[str, Any]
    net: Network


def resume_path(out: str | Path) -> Path:
    """model.pt -> model.resume.pt"""
    out = Path(out)
    return out.with_name(f"{out.stem}.resume{out.suffix or '.pt'}")


def check_place(out: Path, resume: bool, overwrite: bool) -> None:
    """PlifError when a training that writes to `out` would find no place, or take that of something else."""
    kept = resume_path(out)
    for path in (out, kept, epochs_path(out), weights_path(out)):
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
            done = int(_progress(checkpoint.read_tensors(kept), kept)["epoch"])
        except PlifError as error:
            raise PlifError(f"{error}; --overwrite replaces it") from None
        if done:
            epochs = "1 epoch" if done == 1 else f"{done} epochs"
            raise PlifError(f"{kept}: holds {epochs}: add --resume to continue, or --overwrite to begin again")
    if out.exists():
        raise PlifError(f"{out}: is there already: add --overwrite to replace it, or give another --out")


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """What a resumed run must share with the run that it continues."""
    settings = asdict(recipe)
    for free in ("epochs", "t_max", "device", "patience", "compile"):
        del settings[free]
    return settings


def keep(
    net: Network,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    recipe: Recipe,
    about: dict[str, Any],
    samples: dict[str, int],
    path: Path,
    epoch: int,
    best: dict[str, Any],
) -> None:
    """Writes the resume file after `epoch` epochs. `samples`: how many of each kind (train_samples, ...)."""
    progress = {
        "epoch": epoch,
        "best": best,
        "t_max": recipe.t_max or recipe.epochs,
        "settings": {**settings_of(recipe), **samples},
        "about": _identity(about),
    }
    checkpoint.write_atomically(
        {
            "card": cards.encode(checkpoint.card_of(net)),
            "weights": {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()},
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "progress": json.dumps(progress),
        },
        path,
    )


def read_kept(path: Path, net: Network, recipe: Recipe, about: dict[str, Any], samples: dict[str, int]) -> Kept:
    """The resume file, when it belongs to this training. PlifError, with the first difference, when it does not."""
    content = checkpoint.read_tensors(path)
    progress = _progress(content, path)
    # What files of before these options were trained with.
    once = {"loss": "rate-mse", "bn": "joint", "rate_penalty": 0.0, "accumulate": 1}
    once |= {"recipe": "authors"} if "recipe" in about else {}
    then = {**once, **progress["settings"], **progress["about"]}
    saved = checkpoint.network_of(content, path)
    now = {**settings_of(recipe), **samples, **json.loads(json.dumps(_identity(about)))}
    then |= _shape_of(saved)
    now |= _shape_of(net)
    for key in sorted(set(then) | set(now)):
        if key in LATER and key not in then:
            continue
        if then.get(key) != now.get(key):
            raise PlifError(
                f"{path}: trained with {key} {then.get(key)}, asked for {now.get(key)}; resume with the same"
            )
    return Kept(int(progress["epoch"]), dict(progress["best"]), progress.get("t_max"), content, saved)


def restore(
    kept: Kept, net: Network, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, path: Path
) -> None:
    """Weights and optimiser as they were."""
    net.load_state_dict(kept.net.state_dict())
    try:
        optimizer.load_state_dict(kept.content["optimizer"])
        scaler.load_state_dict(kept.content["scaler"])
    except (KeyError, TypeError, ValueError):
        raise PlifError(f"{path}: its optimiser does not fit the network; the file was damaged, train anew") from None


def _progress(content: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        progress = json.loads(content["progress"])
        kinds = (("epoch", int), ("best", dict), ("settings", dict), ("about", dict))
        if all(isinstance(progress[key], kind) for key, kind in kinds):
            return dict(progress)
    except (KeyError, TypeError, ValueError):
        pass
    raise PlifError(f"{path}: not a resume file, expected one written by plif train")


def _shape_of(net: Network) -> dict[str, Any]:
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
