"""Several networks as one of the same kind, whose output is the mean of theirs: an ensemble that exports and streams as one.

    W = diag(W_1, ..., W_n)      the channels of a layer are those of the networks, side by side, with no weights between networks
    y = (y_1 + ... + y_n) / n    each class has the voters of all of them

What the networks have in common from the input on (layers that were `fixed` while they were trained) is there once. The mean of
networks that were trained with other seeds is right more often than each (Hansen & Salamon, PAMI 1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from plif_train.network.network import Network
from runtime.base.errors import PlifError
from runtime.model import notation as nt


@torch.no_grad()
def ensemble(nets: Sequence[Network]) -> Network:
    """One network with the layers of `nets`, wider. In eval mode, reset; its training record is that of the first, and the key
    `ensemble` of it has those of the others.

    PlifError where they are not alike in notation, options, input and classes, have no vote, or where a layer has one tau that is
    not the same in all.
    """
    first, count = nets[0], len(nets)
    _check_alike(nets)
    shared = _shared(nets)
    readout = [named.name for named in first.named_layers if named.op == "Linear"][-1]
    layers = [_wider(named, 1 if named.name in shared else count) for named in first.named_layers if named.layer]
    wide = Network(nt.Notation(tuple(layers)), first.options, first.meta)
    to = wide.state_dict()
    at = [torch.arange(first.meta.shape[0])] * count  # which channels of the wide network are those of each network
    for named in first.named_layers:
        inputs = at
        if named.op == "Flatten":
            places = torch.arange(named.in_shape[1] * named.in_shape[2])
            at = [(channels[:, None] * len(places) + places).flatten() for channels in at]
        elif named.op in ("Conv", "Linear"):
            n = named.out_shape[0]
            run = n // len(first.classes) if named.name == readout else n
            at = [torch.arange(n)] * count if named.name in shared else _side_by_side(n, run, count)
            to[f"{named.name}.weight"].zero_()
        for net, rows, columns in zip(nets, at, inputs, strict=True):
            for name, value in net.state_dict().items():
                if name.rpartition(".")[0] != named.name:
                    continue
                if value.dim() < 2:
                    to[name][rows if value.dim() else ...] = value
                else:
                    to[name][rows[:, None], columns] = value
    records = [net.meta.training for net in nets]
    wide.meta = replace(first.meta, training={**(records[0] or {}), "ensemble": records[1:]}, decide=None)
    return wide.eval()


def _side_by_side(channels: int, run: int, count: int) -> list[Tensor]:
    """The places of the channels of each of `count` networks: `run` of the first one, as many of the next, and so on. Runs of a
    readout are the voters of a class."""
    one = torch.arange(channels)
    return [one // run * run * count + k * run + one % run for k in range(count)]


def _wider(named: nt.NamedLayer, times: int) -> nt.Layer:
    layer = named.layer
    assert layer is not None
    if isinstance(layer, nt.Conv):
        return replace(layer, channels=layer.channels * times)
    if isinstance(layer, nt.FC):
        return replace(layer, features=layer.features * times)
    if isinstance(layer, nt.Pool) and named.op == "Vote":
        return replace(layer, kernel=layer.kernel * times, stride=layer.stride * times)
    return layer


def _shared(nets: Sequence[Network]) -> set[str]:
    """The layers before the first one whose weights, BN or neurons differ."""
    found: set[str] = set()
    block: list[str] = []
    states = [net.state_dict() for net in nets]
    for named in nets[0].named_layers:
        if named.op in ("Conv", "Linear", "Dropout", "Flatten"):
            found, block = found | set(block), []
        block.append(named.name)
        mine = [name for name in states[0] if name.rpartition(".")[0] == named.name]
        if not all(torch.equal(states[0][name], other[name]) for name in mine for other in states[1:]):
            return found
    return set()  # all the same: nothing to share but everything, and an ensemble of copies


def _check_alike(nets: Sequence[Network]) -> None:
    if len(nets) < 2:
        raise PlifError(f"an ensemble of {len(nets)}: expected two networks or more")
    first = nets[0]
    if first.named_layers[-1].op != "Vote":
        raise PlifError(f"network '{first.notation}' has no vote at its end, expected one such as APk10s10")
    for net in nets[1:]:
        for what, mine, theirs in (
            ("notation", str(first.notation), str(net.notation)), ("options", first.options, net.options),
            ("input and classes", first.meta, net.meta),
        ):  # fmt: skip
            if mine != theirs:
                raise PlifError(f"an ensemble of networks whose {what} differ: {mine} and {theirs}; expected the same")
        for name, value in net.state_dict().items():
            if name.endswith(".w") and not value.dim() and not torch.equal(value, first.state_dict()[name]):
                raise PlifError(f"{name}: one tau a layer, which differs; expected networks with --set tau=channel")
