"""`plif train WIDER --from model.pt`: a wider network that begins as the one of the file.

Net2WiderNet (Chen, Goodfellow & Shlens, ICLR 2016). Of n channels of a layer, channel j becomes r_j that compute the same:

    W'[o', :] = W[j(o'), :]             rows, batch normalisation and tau repeated, j(o') = o' mod n
    W'[:, i'] = W[:, j(i')] / r_j(i')   so that what reads them gets the same sum

Copies would stay equal for ever, so the rows of a copy get noise, a few percent of their own size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plif_train.network.network import Network
from runtime.base.errors import PlifError
from runtime.model import notation as nt

NOISE = 0.05


@torch.no_grad()
def widen(narrow: Network, wide: Network, noise: float = NOISE) -> None:
    """Sets the weights of `wide` from those of `narrow`, which has the same layers with as many channels or fewer.

    PlifError when the layers differ in more than their width, or one is narrower.
    """
    refusal = f"network '{wide.notation}' is not '{narrow.notation}' with more channels or neurons"
    pairs = list(zip(narrow.named_layers, wide.named_layers, strict=False))
    if len(narrow.named_layers) != len(wide.named_layers) or any(a.name != b.name for a, b in pairs):
        raise PlifError(f"{refusal}: it has other layers")
    ours, theirs = wide.state_dict(), narrow.state_dict()
    source = torch.arange(narrow.meta.shape[0])  # which channel of the narrow network each channel is
    last = [now.name for _, now in pairs if now.op == "Linear"][-1:]
    for before, now in pairs:
        if now.name in last and before.out_shape != now.out_shape:
            raise PlifError(f"{refusal}: {now.name} is the readout, whose neurons vote for one class after the other")
        if now.op == "Flatten":
            places = before.in_shape[1] * before.in_shape[2]
            source = (source[:, None] * places + torch.arange(places)).flatten()
        elif now.op in ("Conv", "Linear"):
            columns, source = source, _rows(before, now, refusal)
            weight = theirs[f"{now.name}.weight"]
            copies = torch.bincount(columns).clamp(min=1).to(weight.dtype)
            weight = (weight / copies.reshape(1, -1, *[1] * (weight.dim() - 2)))[source][:, columns]
            if weight.shape != ours[f"{now.name}.weight"].shape:
                raise PlifError(f"{refusal}: {now.name} has another kernel")
            copied = source.numel() > before.out_shape[0]
            if copied and noise:
                added = torch.randn_like(weight) * weight.std() * noise
                added[: before.out_shape[0]] = 0
                weight = weight + added
            ours[f"{now.name}.weight"].copy_(weight)
            _repeat(ours, theirs, f"{now.name}.bias", source)
        else:
            if now.op.endswith("Pool") and before.layer != now.layer:
                raise PlifError(f"{refusal}: {now.name} is {now.layer}, and {before.layer} in the file")
            for name in ours:
                if name.startswith(f"{now.name}."):
                    _repeat(ours, theirs, name, source)


def _rows(before: nt.NamedLayer, now: nt.NamedLayer, refusal: str) -> Tensor:
    n, more = before.out_shape[0], now.out_shape[0]
    if more < n or before.out_shape[1:] != now.out_shape[1:]:
        raise PlifError(f"{refusal}: {now.name} is {now.out_shape}, and {before.out_shape} in the file")
    return torch.arange(more) % n


def _repeat(ours: dict[str, Tensor], theirs: dict[str, Tensor], name: str, source: Tensor) -> None:
    """Copies a tensor of one number a channel, or one of the whole layer."""
    if name in ours:
        value = theirs[name]
        ours[name].copy_(value[source] if value.dim() else value)
