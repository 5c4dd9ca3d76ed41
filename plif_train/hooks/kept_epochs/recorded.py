"""The recipe that the card of a model.pt holds: to train it again, and to compare trainings by what their networks became."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from plif_train.core.loop.checkpoint import options_of
from plif_train.core.network.choice import NEURON_SETTINGS
from plif_train.core.network.network import Options
from plif_train.core.recipe import KEYS, NETWORK, Recipe, changed
from runtime.core.base.errors import PlifError
from runtime.core.model.card import Card, read_card
from runtime.core.observers import hearing


def like_recipe(path: str | Path, start: Path | None) -> Recipe:
    """The recipe of a model.pt, as `--like` trains it again. PlifError where the weights that it began with are missing."""
    card = read_card(path)
    record = record_of(card, path)
    if (begun := record.get("from")) is not None and start is None:
        raise PlifError(f"--like {path}: went on from the weights of {begun}; add --from {begun}")
    if isinstance(record.get("recipe"), dict):
        return recipe_of(record, f"{path}: ")
    found = resolved(card, path)  # of a version before recipes
    of_file = {"network", "T", "framing", "dropout"}  # what may be said beside --from
    other = {name for name, each in KEYS.items() if each.metadata["group"] == NETWORK and name not in of_file}
    single = {} if found.data or "dataset" not in record else {"data": (str(record["dataset"]).partition(" ")[0],)}
    return changed(found, {**single, **(dict.fromkeys(other) if begun is not None else {})})


def record_of(card: Card, where: object) -> dict[str, Any]:
    """The training record of a model's card. PlifError for an exported network."""
    if "options" not in card:
        raise PlifError(f"{where}: an exported network; expected a model.pt of plif train")
    return card["training"] or {}


def keys_of(options: Options) -> dict[str, Any]:
    """Those that are keys of a recipe, too."""
    found = {name: value for name, value in asdict(options).items() if name in KEYS}
    return {**found, "bias": "all" if options.bias is True else options.bias or None}


def resolved(card: Card, where: object = "the card") -> Recipe:
    """The recipe of a card with its network as it is: notation, options, T, framing, and a share for each set."""
    options = options_of(card, where)
    recipe = explicit(recipe_of(record_of(card, where), f"{where}: "))
    settings = {name: getattr(options, name) for name in NEURON_SETTINGS}
    unusual = {name: value for name, value in settings.items() if value != getattr(Options(), name)}
    _, height, width = card["input"]["shape"]
    folder = str((card["training"] or {}).get("dataset")) == "folder" and card["input"]["kind"] == "events"
    return changed(recipe, {
        **keys_of(options), "network": card["notation"], "T": card["T"], "framing": card["framing"],
        "channels": None, "hidden": None, "pool": None, "size": f"{width}x{height}" if folder else None,
        "neuron": ",".join(["PLIF", *(f"{name}={value}".lower() for name, value in unusual.items())]) if unusual else None,
    })  # fmt: skip


# What a record of before recipes does not say: the values from before each could be chosen.
_THEN = {"loss": "rate-mse", "bn": "joint", "augment": "none", "epochs": 1}


def recipe_of(record: Mapping[str, Any], where: str = "") -> Recipe:
    """The recipe of a training record (a card's "training"). Of an earlier version: what it says of one, key by key."""
    kept = record.get("recipe")
    if isinstance(kept, Mapping):
        return changed(Recipe(), kept, where)
    names = [name for name, key in KEYS.items() if key.metadata["group"] != NETWORK and name not in ("device", "loss")]
    loss = record.get("objective", record.get("loss"))  # a card's "loss" is the last one, a number
    found = {name: record.get(name) for name in names}
    found |= {"loss": loss if isinstance(loss, str) else None, "augment": record.get("augmentation")}
    if isinstance(parts := record.get("mixture"), list) and all(isinstance(part, dict) for part in parts):
        found |= {
            name: tuple(part.get(old) for part in parts)
            for name, old in (("data", "data"), ("mix", "share"), ("vary", "vary"))
        }
    return changed(Recipe(), {**_THEN, **{name: value for name, value in found.items() if value is not None}}, where)


def explicit(recipe: Recipe) -> Recipe:
    """The recipe with what its parts of data take for granted."""
    for part in hearing("data", "hooks"):
        recipe = part.load("mixture:explicit")(recipe)
    return recipe
