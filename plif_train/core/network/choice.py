"""The network of a recipe: a preset or a notation string, adapted to the data set.

The data set decides input shape, T and framing of a notation string.
"""

from __future__ import annotations

import re
from typing import Any

from plif_train.core.network.network import Network
from plif_train.core.network.presets import PRESETS, build
from plif_train.core.recipe import KEYS, NETWORK, Recipe
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import parse_items, parse_size, scalar_parser
from runtime.core.data import find_dataset

PRESET_KEYS = ("neuron", "pool", "channels", "hidden")
NEURON_SETTINGS = {
    "v_threshold": scalar_parser(float, "a number"),
    "v_reset": scalar_parser((float, type(None)), "a number or none"),
    "decay_input": scalar_parser(bool, "true or false"),
}


def network_overrides(recipe: Recipe, data: str, start: object = None) -> dict[str, Any]:
    """Return the keyword arguments for `build`, the network builder, that a recipe's network keys set.

    With `start` they are the keywords of start_from. Raises PlifError for a key that does not apply to this network:
    a notation string states itself the properties that are keys of a preset.
    """
    names = [name for name, declared in KEYS.items() if declared.metadata["group"] == NETWORK]
    overrides = {name: value for name in names if (value := getattr(recipe, name)) is not None}
    if start is not None:
        return overrides
    network = overrides.pop("network", None)
    if network is None:
        raise PlifError("plif train: expected a network, or --from model.pt in place of one")
    if "neuron" in overrides:
        overrides["neuron"], settings = parse_neuron(overrides["neuron"])
        if overrides["neuron"] == "PLIF":
            del overrides["neuron"]
        overrides |= settings
    if overrides.get("bias") == "all":
        overrides["bias"] = True
    if not _is_preset(network) and (misplaced := [name for name in PRESET_KEYS if name in overrides]):
        raise PlifError(f"{misplaced[0]} belongs to presets; '{network}' is none: write it in the notation")
    if (size := overrides.pop("size", None)) is not None:
        if data.partition(":")[0] != "folder" or _is_preset(network):
            raise PlifError(
                f"size {size}: belongs to a notation string and --data folder:DIR; the others have their sizes"
            )
        width, height = parse_size(f"size {size}", size)
        overrides["shape"] = (2, height, width)  # two polarities
    return overrides


def parse_neuron(text: str) -> tuple[str, dict[str, Any]]:
    """Parse a neuron text: "PLIF,v_threshold=0.5,v_reset=none" -> ("PLIF", {"v_threshold": 0.5, "v_reset": None}).

    The kind may be left out.
    """
    kind, _, settings = text.partition(",")
    if "=" in kind:
        kind, settings = "PLIF", text
    example = "PLIF,v_threshold=0.5,v_reset=none"
    if kind not in ("PLIF", "LIF", "IF"):
        raise PlifError(f"neuron {text}: expected PLIF, LIF or IF, and NAME=VALUE behind it, as in {example}")
    return kind, parse_items("neuron", settings, NEURON_SETTINGS, example=example) if settings else {}


def build_for_dataset(network: str, data: str, overrides: dict[str, Any]) -> Network:
    """Build the network that a recipe names, sized for a data set.

    A notation string takes its input from the data set, and T and framing from the preset of the set.
    """
    name = data.partition(":")[0]
    if not _is_preset(network) and (entry := find_dataset(name)) is not None:
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
    """Refuse a network with more or fewer outputs than the data set has classes.

    The PlifError names the layers that would fit.
    """
    if classes == len(net.classes):
        return
    vote = re.search(r"-APk(\d+)s\1$", str(net.notation))
    neuron = next((layer.kind for layer in reversed(net.neurons().values())), "PLIF")
    end = f"DP-FC{int(vote[1]) * classes}-{neuron}{vote[0]}" if vote else f"FC{classes}-{neuron}"
    advice = f"give a notation string that ends in {end}" if _is_preset(network) else f"end the network in {end}"
    raise PlifError(f"data set {name} has {classes} classes, but the network {len(net.classes)} outputs: {advice}")


def _is_preset(network: str) -> bool:
    return network.partition(":")[0] in PRESETS
