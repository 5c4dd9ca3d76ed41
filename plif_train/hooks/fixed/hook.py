"""Fixed layers get no gradient, and none is computed before the first layer that learns: fix the first, and a step costs less."""

from __future__ import annotations

from plif_train.core.loop.hooks import Hook
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import read_list


class Fixed(Hook):
    def begin(self) -> None:
        fix_layers(self.net, vars(self.recipe)["fixed"])


HOOK = Fixed


def fix_layers(net: Network, names: str) -> None:
    """The layers of these names (conv1,conv2) get no gradients any more, nor do their BN and neurons. PlifError for a name that
    is none, and where nothing is left to train."""
    fixed = set(read_list("fixed", names, example="conv1,conv2"))
    layers = {_block_of(name) for name, _ in net.named_parameters()}
    if strangers := sorted(fixed - layers):
        raise PlifError(f"fixed: no layer {strangers[0]} has weights, expected some of {', '.join(sorted(layers))}")
    if fixed == layers:
        raise PlifError(f"fixed: {names} are all layers; expected one at least that is trained")
    for name, parameter in net.named_parameters():
        if _block_of(name) in fixed:
            parameter.requires_grad_(False)


def _block_of(parameter: str) -> str:
    """The convolution or linear layer whose name a parameter carries: conv1.weight, conv1_bn.bias, conv1_neuron.w -> conv1"""
    return parameter.partition(".")[0].partition("_")[0]
