"""The network that a recipe names: preset or notation string, and what the data set decides of it."""

from __future__ import annotations

import re
from typing import Any

from plif_train.core.network.network import Network
from plif_train.core.network.presets import PRESETS, build
from plif_train.core.recipe import KEYS, NETWORK, Recipe
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import parse_size, read_items, word_of
from runtime.core.data import find_set

PRESETS_ALONE = ("neuron", "pool", "channels", "hidden")
NEURON_SETTINGS = {
    "v_threshold": word_of(float, "a number"),
    "v_reset": word_of((float, type(None)), "a number or none"),
    "decay_input": word_of(bool, "true or false"),
}


def overrides_of(recipe: Recipe, data: str, start: object = None) -> dict[str, Any]:
    """The keywords of `build` for the network's keys of a recipe, or of start_from where there is a `start`.

    PlifError for a key that is not for this network: what only presets have, a notation string says itself.
    """
    names = [name for name, each in KEYS.items() if each.metadata["group"] == NETWORK]
    given = {name: value for name in names if (value := getattr(recipe, name)) is not None}
    if start is not None:
        return given
    network = given.pop("network", None)
    if network is None:
        raise PlifError("plif train: expected a network, or --from model.pt in place of one")
    if "neuron" in given:
        given["neuron"], settings = parse_neuron(given["neuron"])
        if given["neuron"] == "PLIF":
            del given["neuron"]
        given |= settings
    if given.get("bias") == "all":
        given["bias"] = True
    if not _is_preset(network) and (wrong := [name for name in PRESETS_ALONE if name in given]):
        raise PlifError(f"{wrong[0]} belongs to presets; '{network}' is none: write it in the notation")
    if (size := given.pop("size", None)) is not None:
        if data.partition(":")[0] != "folder" or _is_preset(network):
            raise PlifError(
                f"size {size}: belongs to a notation string and --data folder:DIR; the others have their sizes"
            )
        width, height = parse_size(f"size {size}", size)
        given["shape"] = (2, height, width)  # two polarities
    return given


def parse_neuron(text: str) -> tuple[str, dict[str, Any]]:
    """ "PLIF,v_threshold=0.5,v_reset=none" -> ("PLIF", {"v_threshold": 0.5, "v_reset": None}); the kind may be left out."""
    first, _, rest = text.partition(",")
    if "=" in first:
        first, rest = "PLIF", text
    example = "PLIF,v_threshold=0.5,v_reset=none"
    if first not in ("PLIF", "LIF", "IF"):
        raise PlifError(f"neuron {text}: expected PLIF, LIF or IF, and NAME=VALUE behind it, as in {example}")
    return first, read_items("neuron", rest, NEURON_SETTINGS, example=example) if rest else {}


def network_for(network: str, data: str, overrides: dict[str, Any]) -> Network:
    """The network; a notation string takes its input from the data set, T and framing from the set's preset."""
    name = data.partition(":")[0]
    if not _is_preset(network) and (entry := find_set(name)) is not None:
        about = entry.about
        overrides = {"shape": about.shape, "kind": about.kind} | overrides
        preset = PRESETS.get(name)
        steps = overrides.get("T", preset.meta.T if preset else 10)
        if about.kind == "static":
            overrides |= {"T": steps, "normalisation": preset.meta.normalisation if preset else None}
        elif "framing" not in overrides:
            overrides["framing"] = f"count:T={steps}"
    return build(network, **overrides)


def check_outputs(net: Network, network: str, name: str, classes: int) -> None:
    """PlifError, with the layers that would do, when a network has not as many outputs as the data set classes."""
    if classes == len(net.classes):
        return
    vote = re.search(r"-APk(\d+)s\1$", str(net.notation))
    neuron = next((one.kind for one in reversed(net.neurons().values())), "PLIF")
    end = f"DP-FC{int(vote[1]) * classes}-{neuron}{vote[0]}" if vote else f"FC{classes}-{neuron}"
    how = f"give a notation string that ends in {end}" if _is_preset(network) else f"end the network in {end}"
    raise PlifError(f"data set {name} has {classes} classes, but the network {len(net.classes)} outputs: {how}")


def _is_preset(network: str) -> bool:
    return network.partition(":")[0] in PRESETS
