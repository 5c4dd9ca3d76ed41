"""The network that a `plif train` command asks for, and what to say where the two do not go together."""

from __future__ import annotations

import re
from typing import Any

from plif_train.network import Network
from plif_train.presets import PRESETS, build
from runtime.base.errors import PlifError
from runtime.data import DATASETS
from runtime.events.size import parse_size


def check_sizes(network: str, *, neuron: str, pool: str | None, **sizes: int | None) -> None:
    """What only presets have: a notation string says it itself."""
    if neuron not in ("PLIF", "LIF", "IF"):
        raise PlifError(f"--neuron {neuron}: expected PLIF, LIF or IF")
    if pool not in (None, "MP", "AP"):
        raise PlifError(f"--pool {pool}: expected MP or AP")
    if network.partition(":")[0] in PRESETS:
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise PlifError(f"--{name} {size}: expected at least 1")
        return
    given = {"neuron": neuron if neuron != "PLIF" else None, "pool": pool, **sizes}
    if wrong := [name for name, value in given.items() if value is not None]:
        raise PlifError(f"--{wrong[0]} belongs to presets; '{network}' is none: write it in the notation")


def say_outputs(name: str, classes: int, network: str, net: Network) -> str:
    """What to say when a network has not as many outputs as the data set classes."""
    vote = re.search(r"-APk(\d+)s\1$", str(net.notation))
    neuron = next((one.kind for one in reversed(net.neurons().values())), "PLIF")
    end = f"DP-FC{int(vote[1]) * classes}-{neuron}{vote[0]}" if vote else f"FC{classes}-{neuron}"
    preset = network.partition(":")[0] in PRESETS
    how = f"give a notation string that ends in {end}" if preset else f"end the network in {end}"
    return f"data set {name} has {classes} classes, but the network {len(net.classes)} outputs: {how}"


def network_for(network: str, data: str, **asked: Any) -> Network:
    """The network; a notation string takes its input from the data set, T and framing from the set's preset."""
    overrides = {key: value for key, value in asked.items() if value is not None}
    name = data.partition(":")[0]
    if network.partition(":")[0] not in PRESETS and name in DATASETS:
        about = DATASETS[name].about
        overrides = {"shape": about.shape, "kind": about.kind} | overrides
        preset = PRESETS.get(name)
        steps = overrides.get("T", preset.meta.T if preset else 10)
        if about.kind == "static":
            overrides |= {"T": steps, "normalisation": preset.meta.normalisation if preset else None}
        elif "framing" not in overrides:
            overrides["framing"] = f"count:T={steps}"
    return build(network, **overrides)


def shape_of(size: str | None, network: str, data: str) -> tuple[int, int, int] | None:
    """--size as the shape of an input with two polarities; the data sets with a name have theirs."""
    if size is None:
        return None
    if data.partition(":")[0] != "folder" or network.partition(":")[0] in PRESETS:
        raise PlifError(
            f"--size {size}: belongs to a notation string and --data folder:DIR; the others have their sizes"
        )
    width, height = parse_size(f"--size {size}", size)
    return 2, height, width
