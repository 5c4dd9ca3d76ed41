"""The recipe in the card of a model.pt, to train it again and to compare trainings by their networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from plif_train.core.loop.checkpoint import read_options
from plif_train.core.network.choice import NEURON_SETTINGS
from plif_train.core.network.network import Options
from plif_train.core.recipe import KEYS, NETWORK, Recipe, replace_keys
from runtime.core.base.errors import PlifError
from runtime.core.model.card import Card, read_card
from runtime.core.observers import find_observers


def read_model_recipe(path: str | Path, start: Path | None) -> Recipe:
    """Read the training recipe recorded in a model.pt, which `plif train --like` trains again.

    Raises PlifError if it began with weights that are missing.
    """
    card = read_card(path)
    record = training_record(card, path)
    if (start_name := record.get("from")) is not None and start is None:
        raise PlifError(f"--like {path}: went on from the weights of {start_name}; add --from {start_name}")
    if isinstance(record.get("recipe"), dict):
        return read_recorded_recipe(record, f"{path}: ")
    recipe = resolve_recipe(card, path)  # a card of a version before recipes
    from_keys = {"network", "T", "framing", "dropout"}  # keys that are allowed next to --from
    network_keys = {
        name for name, declared in KEYS.items() if declared.metadata["group"] == NETWORK and name not in from_keys
    }
    single = {} if recipe.data or "dataset" not in record else {"data": (str(record["dataset"]).partition(" ")[0],)}
    return replace_keys(recipe, {**single, **(dict.fromkeys(network_keys) if start_name is not None else {})})


def training_record(card: Card, context: object) -> dict[str, Any]:
    """Return the training record in the metadata card of a model.pt; refuse an exported network."""
    if "options" not in card:
        raise PlifError(f"{context}: an exported network; expected a model.pt of plif train")
    return card["training"] or {}


def options_to_keys(options: Options) -> dict[str, Any]:
    """Return the options of a network that are also keys of a training recipe, with their values."""
    values = {name: value for name, value in asdict(options).items() if name in KEYS}
    return {**values, "bias": "all" if options.bias is True else options.bias or None}


def resolve_recipe(card: Card, context: object = "the card") -> Recipe:
    """Return the recipe in a model's card with the values its network really has: notation, options, T, framing.

    Each data set has a share.
    """
    options = read_options(card, context)
    recipe = make_explicit(read_recorded_recipe(training_record(card, context), f"{context}: "))
    settings = {name: getattr(options, name) for name in NEURON_SETTINGS}
    unusual = {name: value for name, value in settings.items() if value != getattr(Options(), name)}
    _, height, width = card["input"]["shape"]
    folder = str((card["training"] or {}).get("dataset")) == "folder" and card["input"]["kind"] == "events"
    return replace_keys(recipe, {
        **options_to_keys(options), "network": card["notation"], "T": card["T"], "framing": card["framing"],
        "channels": None, "hidden": None, "pool": None, "size": f"{width}x{height}" if folder else None,
        "neuron": ",".join(["PLIF", *(f"{name}={value}".lower() for name, value in unusual.items())]) if unusual else None,
    })  # fmt: skip


# Defaults for records of versions before recipes, in which these keys could not be chosen.
_OLD_DEFAULTS = {"loss": "rate-mse", "bn": "joint", "augment": "none", "epochs": 1}


def read_recorded_recipe(record: Mapping[str, Any], context: str = "") -> Recipe:
    """Read the recipe in a training record (the entry "training" of a model's metadata card).

    For a record of an earlier version it is collected key by key.
    """
    recipe = record.get("recipe")
    if isinstance(recipe, Mapping):
        return replace_keys(Recipe(), recipe, context)
    names = [name for name, key in KEYS.items() if key.metadata["group"] != NETWORK and name not in ("device", "loss")]
    loss = record.get("objective", record.get("loss"))  # a card's "loss" is a number, the loss of the last epoch
    values = {name: record.get(name) for name in names}
    values |= {"loss": loss if isinstance(loss, str) else None, "augment": record.get("augmentation")}
    if isinstance(parts := record.get("mixture"), list) and all(isinstance(part, dict) for part in parts):
        values |= {
            name: tuple(part.get(old) for part in parts)
            for name, old in (("data", "data"), ("mix", "share"), ("vary", "vary"))
        }
    return replace_keys(
        Recipe(), {**_OLD_DEFAULTS, **{name: value for name, value in values.items() if value is not None}}, context
    )


def make_explicit(recipe: Recipe) -> Recipe:
    """Return a recipe with the data sets' default shares and variations written out."""
    for part in find_observers("data", "hooks"):
        recipe = part.load("mixture:make_explicit")(recipe)
    return recipe
