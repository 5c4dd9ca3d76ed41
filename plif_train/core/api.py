"""The Python function behind `plif train`: it trains a network and writes model.pt and its record.

A custom training loop needs less: plif_train.build makes the network, plif_train.load_samples reads a data set
(docs/python.md).
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
from plif_train.core.recipe import Recipe, format_option, replace_keys, select_recipe
from runtime.core.base.errors import PlifError
from runtime.core.base.options import list_options, with_fields
from runtime.core.parts import load_from_parts

LIKE_RECIPE = load_from_parts("hooks", "like_recipe")
RecipeSource = Recipe | Mapping[str, Any] | str | Path


@with_fields(TrainingOptions, Recipe)
def train(
    network: RecipeSource | None,
    data: str | Sequence[str],
    out: str | Path,
    recipe: RecipeSource | None = None,
    *,
    augment: str | bool | Callable[[Tensor], Tensor] = True,
    on_epoch: Callable[[Epoch], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train a network, write its best epoch to the file `out`, and return the record of the training.

    The record has accuracy, rates, taus, ...

    network      a preset ("nmnist") or a notation string; or a recipe, as below. None with `start`, or `like`
    data         NAME:DIR as `plif train --data` takes it, or several; read with the framing of the model's card
    out          model.pt; next to it appear .csv and .weights.csv (the course) and .resume.pt (for `resume`)
    recipe       a TOML file, the name of one that ships ("live"), a dict of its keys, or a Recipe; None: its defaults
    augment      the recipe's `augment`; or a function of recordings [B, T, C, H, W] or images [B, C, H, W] -> the same
    start        a model.pt with the initial weights (`--from`)
    like         a model.pt with the network, recipe and names of data to use again
    cache        a folder that keeps the frames for the next run
    on_epoch     called after each epoch, once its files are written; without it a line an epoch goes to stderr
    options      also keys of the recipe with other values: epochs=3, T=10, neuron="LIF,v_threshold=0.5", ...

    Raises PlifError, before any data are read, for settings that are impossible. A KeyboardInterrupt leaves the last
    complete epoch for `resume`.
    """
    sets = [data] if isinstance(data, str) else data
    if not isinstance(sets, Sequence) or not all(isinstance(name, str) for name in sets):
        raise PlifError(
            f"data: a {type(data).__name__}; expected NAME:DIR, or a list of these (plif data lists the names)"
        )
    function = augment if callable(augment) else None
    if not callable(augment) and augment is not True:
        options["augment"] = augment or "none"
    run_options = {
        field.name: options.pop(field.name) for field in list_options(TrainingOptions) if field.name in options
    }
    settings = TrainingOptions(data=list(sets), out=Path(out), **run_options)
    job = create_job(
        [word for word in (recipe, network) if word is not None], settings, options, augment=function, on_epoch=on_epoch
    )
    devices = parse_devices(job.recipe.device)
    if len(devices) > 1:
        raise PlifError(f"device {job.recipe.device}: several devices belong to `plif train`; expected one")
    check_device(devices[0])
    job.check()
    return job.run(World(), devices[0])


def create_job(
    words: Sequence[RecipeSource],
    options: TrainingOptions,
    keys: Mapping[str, Any],
    *,
    is_text: bool = False,
    **fields: Any,
) -> TrainingJob:
    """Create the training job that the words and options of the command `plif train` describe.

    The recipe is that of the words, or of the model options.like, with some keys changed.

    keys       other values of some recipe keys
    is_text    the values of `keys` are texts of the command line
    fields     the other fields of TrainingJob
    """
    if options.like is not None and words:
        raise PlifError(
            f"--like {options.like}: has its network and recipe; leave {words[0]} out, or change keys with --set"
        )
    if options.like is not None and LIKE_RECIPE is None:
        raise PlifError(f"--like {options.like}: this plif keeps no recipes of trainings; give a network")
    recipe = replace_keys(
        select_recipe(words) if options.like is None else LIKE_RECIPE(options.like, options.start),
        keys,
        is_text=is_text,
    )
    return TrainingJob(recipe, options, command=_format_command(words, options, keys), **fields)


def _format_command(words: Sequence[RecipeSource], options: TrainingOptions, keys: Mapping[str, Any]) -> str:
    """Return the `plif train` command that repeats a training job, without the folders of this machine.

    Folder names tell the reader of a card nothing.
    """
    texts = [str(word) for word in words if isinstance(word, (str, Path))]
    command = ["plif", "train", *(Path(word).name if word.endswith(".toml") else word for word in texts)]
    command += [word for data_set in options.data for word in ("--data", data_set.partition(":")[0])] + [
        "--out",
        options.out.name,
    ]
    for option, path in (("--like", options.like), ("--from", options.start)):
        command += [option, path.name] if path is not None else []
    return shlex.join(command + [word for name, value in keys.items() for word in format_option(name, value)])
