"""`plif train` as a function: a recipe, a network, data -> model.pt and its record.

A loop of one's own needs less: plif_train.build gives the network, plif_train.load_samples a data set (docs/python.md).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from plif_train.core.loop.devices import World, check_device, parse_devices
from plif_train.core.loop.hooks import Epoch
from plif_train.core.loop.job import TrainingJob
from plif_train.core.options import TrainingOptions
from plif_train.core.recipe import Recipe, changed, chosen, option_of
from runtime.core.base.errors import PlifError
from runtime.core.base.options import options_of, with_fields
from runtime.core.parts import given_by_parts

LIKE_RECIPE = given_by_parts("hooks", "like_recipe")
Source = Recipe | Mapping[str, Any] | str | Path


@with_fields(TrainingOptions, Recipe)
def train(
    network: Source | None,
    data: str | Sequence[str],
    out: str | Path,
    recipe: Source | None = None,
    *,
    augment: str | bool | Callable[[Tensor], Tensor] = True,
    on_epoch: Callable[[Epoch], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Trains a network and writes its best epoch; returns the training record of the card (accuracy, rates, taus, ...).

    network      a preset ("nmnist") or a notation string; or a recipe, as below. None with `start`, or `like`
    data         NAME:DIR as `plif train --data` takes it, or several; read with the framing that the model's card will name
    out          model.pt; beside it appear .csv and .weights.csv (the course) and .resume.pt (for `resume`)
    recipe       a TOML file, the name of one that ships ("live"), a dict of its keys, or a Recipe; None: its defaults
    augment      the recipe's `augment`; or a function of recordings [B, T, C, H, W] or images [B, C, H, W] -> the same
    start        a model.pt to go on from (`--from`)
    like         a model.pt whose network, recipe and names of data are taken
    cache        a folder that keeps the frames for the next run
    on_epoch     called after each epoch, its files written; without it a line an epoch goes to stderr
    options      also keys of the recipe with other values: epochs=3, T=10, neuron="LIF,v_threshold=0.5", mix=[0.7, 0.3], ...

    Raises PlifError, before anything is read, for what cannot be; a KeyboardInterrupt leaves the last whole epoch for `resume`.
    """
    sets = [data] if isinstance(data, str) else data
    if not isinstance(sets, Sequence) or not all(isinstance(each, str) for each in sets):
        raise PlifError(
            f"data: a {type(data).__name__}; expected NAME:DIR, or a list of these (plif data lists the names)"
        )
    function = augment if callable(augment) else None
    if not callable(augment) and augment is not True:
        options["augment"] = augment or "none"
    of_run = {each.name: options.pop(each.name) for each in options_of(TrainingOptions) if each.name in options}
    how = TrainingOptions(data=list(sets), out=Path(out), **of_run)
    job = job_of(
        [word for word in (recipe, network) if word is not None], how, options, augment=function, on_epoch=on_epoch
    )
    devices = parse_devices(job.recipe.device)
    if len(devices) > 1:
        raise PlifError(f"device {job.recipe.device}: several devices belong to `plif train`; expected one")
    check_device(devices[0])
    job.check()
    return job.run(World(), devices[0])


def job_of(
    words: Sequence[Source], how: TrainingOptions, keys: Mapping[str, Any], *, text: bool = False, **rest: Any
) -> TrainingJob:
    """What `plif train` and plif_train.train do: a recipe (or that of a model, how.like), some of its keys changed.

    keys    other values of some keys; text: as the command line has them
    rest    the other fields of TrainingJob
    """
    if how.like is not None and words:
        raise PlifError(
            f"--like {how.like}: has its network and recipe; leave {words[0]} out, or change keys with --set"
        )
    if how.like is not None and LIKE_RECIPE is None:
        raise PlifError(f"--like {how.like}: this plif keeps no recipes of trainings; give a network")
    recipe = changed(chosen(words) if how.like is None else LIKE_RECIPE(how.like, how.start), keys, text=text)
    return TrainingJob(recipe, how, command=_command(words, how, keys), **rest)


def _command(words: Sequence[Source], how: TrainingOptions, keys: Mapping[str, Any]) -> str:
    """The command, without the folders of this machine, which tell the reader of a card nothing."""
    typed = [str(word) for word in words if isinstance(word, (str, Path))]
    shown = ["plif", "train", *(Path(word).name if word.endswith(".toml") else word for word in typed)]
    shown += [word for one in how.data for word in ("--data", one.partition(":")[0])] + ["--out", how.out.name]
    for option, path in (("--like", how.like), ("--from", how.start)):
        shown += [option, path.name] if path is not None else []
    return shlex.join(shown + [word for name, value in keys.items() for word in option_of(name, value)])
