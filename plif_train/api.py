"""`plif train` as a function: a network, a data set, a recipe -> model.pt and its record.

A loop of one's own needs less: plif_train.build gives the network, plif_train.load_samples a data set (docs/python.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from plif_train.data.mixture import parts_of
from plif_train.loop.job import Job
from plif_train.loop.log import Epoch
from plif_train.loop.parallel import World, check_device, parse_devices
from plif_train.loop.recipe import Recipe, method_named
from plif_train.network.choice import overrides_from
from runtime.base.errors import PlifError
from runtime.data import find


def train(
    network: str | None,
    data: str | Sequence[str],
    out: str | Path,
    recipe: Recipe | None = None,
    *,
    start: str | Path | None = None,
    mix: Sequence[float] | None = None,
    vary: Sequence[str] = (),
    method: str = "authors",
    augment: bool | Callable[[Tensor], Tensor] = True,
    size: str | None = None,
    limit_train: int | None = None,
    limit_test: int | None = None,
    cache: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
    **build: Any,
) -> dict[str, Any]:
    """Trains a network and writes its best epoch; returns the training record of the card (accuracy, rates, taus, ...).

    network      a preset ("nmnist") or a notation string; with `start` None, or a wider one
    data         NAME:DIR as `plif train --data` takes it, or several; read with the framing that the model's card will name
    out          model.pt; beside it appear .csv and .weights.csv (the course) and .resume.pt (for `resume`)
    recipe       epochs, batch size, learning rate, seed, protocol, device, ... (plif_train.Recipe); None: its defaults, with
                 the loss of the method
    start        a model.pt to go on from (`--from`)
    mix, vary    the shares of several sets in an epoch, and how recordings are varied: one text for all, or one for each
    method       "authors", "paper" or "live": loss and augmentation
    augment      the method's augmentation; or a function of recordings [B, T, C, H, W] or images [B, C, H, W] -> the same
    size         "WIDTHxHEIGHT" of the input, for a notation string on recordings of one's own
    limit_train, limit_test   only so many samples, spread over the split
    cache        a folder that keeps the frames for the next run
    on_epoch     called after each epoch, its files written; without it a line an epoch goes to stderr
    build        keywords of plif_train.build: T, framing, init_tau, tau, dropout, neuron="LIF,v_threshold=0.5", channels, ...

    Raises PlifError, before anything is read, for what cannot be; a KeyboardInterrupt leaves the last whole epoch for `resume`.
    """
    named = method_named(method)
    recipe = recipe or Recipe(loss=named.loss)
    devices = parse_devices(recipe.device)
    if len(devices) > 1:
        raise PlifError(f"device {recipe.device}: several devices belong to `plif train`; expected one")
    check_device(devices[0])
    sets = [data] if isinstance(data, str) else list(data)
    for one in sets:
        find(one)
    overrides = overrides_from(network, sets[0], size, start, **build)
    parts = parts_of(sets, mix, vary)
    own = named.augments(sets[0], varied=bool(parts))
    names = [one.partition(":")[0] for one in sets]
    job = Job(
        network, sets[0], overrides, recipe, Path(out),
        augmentation=own if augment is True else augment or None, cache=None if cache is None else Path(cache),
        about={"command": f"plif_train.train({network!r}, {names[0] if len(names) == 1 else names!r})", "recipe": method},
        limits={"train": limit_train, "test": limit_test},
        resume=resume, overwrite=overwrite, tensorboard=tensorboard, on_epoch=on_epoch,
        parts=parts, start=None if start is None else Path(start),
    )  # fmt: skip
    job.check()
    return job.run(World(), devices[0])
