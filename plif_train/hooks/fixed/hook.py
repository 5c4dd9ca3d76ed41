"""Frozen layers: they get no gradient, and none is computed before the first layer that learns.

A training step costs less if the first layers are frozen.
"""

from __future__ import annotations

from plif_train.core.loop.hooks import Hook
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import parse_list


class FrozenLayers(Hook):
    def begin(self) -> None:
        freeze_layers(self.net, vars(self.recipe)["fixed"])


HOOK = FrozenLayers


def freeze_layers(net: Network, names: str) -> None:
    """Freeze the named layers (conv1,conv2), with their batch normalisation and neurons: training skips them.

    Raises PlifError for an unknown name, and if no layer remains to train.
    """
    fixed = set(parse_list("fixed", names, example="conv1,conv2"))
    layers = {_layer_of_parameter(name) for name, _ in net.named_parameters()}
    if unknown := sorted(fixed - layers):
        raise PlifError(f"fixed: no layer {unknown[0]} has weights, expected some of {', '.join(sorted(layers))}")
    if fixed == layers:
        raise PlifError(f"fixed: {names} are all layers; expected one at least that is trained")
    for name, parameter in net.named_parameters():
        if _layer_of_parameter(name) in fixed:
            parameter.requires_grad_(False)


def _layer_of_parameter(parameter: str) -> str:
    """Return the layer that a parameter belongs to: conv1.weight, conv1_bn.bias, conv1_neuron.w -> conv1."""
    return parameter.partition(".")[0].partition("_")[0]
