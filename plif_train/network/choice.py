"""The network that a `plif train` command names: preset or notation string, and what the data set decides of it."""

from __future__ import annotations

import re
from typing import Any

from plif_train.network.network import Network
from plif_train.network.presets import PRESETS, build
from runtime.base.errors import PlifError
from runtime.base.grammar import parse_size, read_items, word_of
from runtime.data import DATASETS

SIZES = ("channels", "hidden")
NEURON_SETTINGS = {
    "v_threshold": word_of(float, "a number"),
    "v_reset": word_of((float, type(None)), "a number or none"),
    "decay_input": word_of(bool, "true or false"),
}


def overrides_from(network: str | None, data: str, size: str | None, start: object, **options: Any) -> dict[str, Any]:
    """The keywords of `build`, or of start_from where there is a `start`, for options that were given; None is none."""
    if start is not None:
        return {
            name: value for name, value in (options | {"network": network, "size": size}).items() if value is not None
        }
    if network is None:
        raise PlifError("plif train: expected a network, or --from model.pt in place of one")
    return overrides_for(network, data, size, **options)


def overrides_for(network: str, data: str, size: str | None, **options: Any) -> dict[str, Any]:
    """The keywords of `build` for options of the command line; None is one that was not given.

    PlifError for a value that no network has, and for an option that is not for this network: what only presets have
    (channels, hidden, neuron, pool), a notation string says itself.
    """
    options["neuron"], settings = parse_neuron(options.get("neuron") or "PLIF")
    if options.get("pool") not in (None, "MP", "AP"):
        raise PlifError(f"--pool {options['pool']}: expected MP or AP")
    if options["neuron"] == "PLIF":
        options["neuron"] = None
    overrides = {name: value for name, value in options.items() if value is not None} | settings
    if _is_preset(network):
        for name in SIZES:
            if overrides.get(name, 1) < 1:
                raise PlifError(f"--{name} {overrides[name]}: expected at least 1")
    elif wrong := [name for name in ("neuron", "pool", *SIZES) if name in overrides]:
        raise PlifError(f"--{wrong[0]} belongs to presets; '{network}' is none: write it in the notation")
    if size is not None:
        if data.partition(":")[0] != "folder" or _is_preset(network):
            raise PlifError(
                f"--size {size}: belongs to a notation string and --data folder:DIR; the others have their sizes"
            )
        width, height = parse_size(f"--size {size}", size)
        overrides["shape"] = (2, height, width)  # two polarities
    return overrides


def parse_neuron(text: str) -> tuple[str, dict[str, Any]]:
    """ "PLIF,v_threshold=0.5,v_reset=none" -> ("PLIF", {"v_threshold": 0.5, "v_reset": None}); the kind may be left out."""
    first, _, rest = text.partition(",")
    if "=" in first:
        first, rest = "PLIF", text
    example = "PLIF,v_threshold=0.5,v_reset=none"
    if first not in ("PLIF", "LIF", "IF"):
        raise PlifError(f"--neuron {text}: expected PLIF, LIF or IF, and NAME=VALUE behind it, as in {example}")
    return first, read_items("--neuron", rest, NEURON_SETTINGS, example=example) if rest else {}


def network_for(network: str, data: str, overrides: dict[str, Any]) -> Network:
    """The network; a notation string takes its input from the data set, T and framing from the set's preset."""
    name = data.partition(":")[0]
    if not _is_preset(network) and name in DATASETS:
        about = DATASETS[name].about
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
