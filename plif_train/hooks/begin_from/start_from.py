"""Training that starts from given weights: `plif train --from model.pt`.

Same classes: every weight is kept. Other classes: all layers but the last fully connected one are kept; that one is the
readout and begins anew. Another length of a step: the neurons forget as much in the same time,

    1 - alpha' = (1 - alpha)^(step' / step)

A network that is named with --from has more channels, and begins with the function of the file's network:
Net2WiderNet (Chen, Goodfellow & Shlens, ICLR 2016). Of n channels of a layer, channel j becomes r_j that compute the
same:

    W'[o', :] = W[j(o'), :]             rows, batch normalisation and tau repeated, j(o') = o' mod n
    W'[:, i'] = W[:, j(i')] / r_j(i')   so that layers that read them get the same sum

Copies would stay equal for ever, so the rows of a copy get noise, a few percent of their size.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plif_train.core.loop import checkpoint
from plif_train.core.network.network import Network
from plif_train.core.network.presets import build
from runtime.core.base.errors import PlifError
from runtime.core.data import open_dataset
from runtime.core.events.framing import Framing
from runtime.core.model import notation as nt


def start_from(path: str | Path, data: str, overrides: dict[str, Any]) -> tuple[Network, list[str]]:
    """Build a network for a data set with the weights of another model.pt; return it with notes on what changed.

    overrides    T, framing, dropout, tau ("channel": each has at first its layer's), and "network", the notation of a
                 wider one

    A set with classes that are the network's, or some of them, leaves these unchanged. Raises PlifError for settings
    that do not fit.
    """
    before = checkpoint.load(path)
    refused = sorted(set(overrides) - {"T", "framing", "dropout", "tau", "network"})
    if refused:
        raise PlifError(f"--from {path}: {refused[0]} is that of the file; expected T, framing, dropout or tau")
    meta = before.meta
    framing = overrides.get("framing", meta.framing)
    set_classes = open_dataset(
        data, "train", framing=framing, shape=meta.shape, normalisation=meta.normalisation
    ).classes
    classes = meta.classes if set(set_classes) <= set(meta.classes) else tuple(set_classes)
    ratio = _step_ratio(meta.framing, framing)
    options = replace(before.options, **{name: overrides[name] for name in ("dropout", "tau") if name in overrides})
    if any(neuron.kind == "LIF" for neuron in before.neurons().values()):  # their tau is init_tau for good
        options = replace(options, init_tau=1 / _convert_decay(1 / options.init_tau, ratio))
    notation = str(before.notation)
    new_readout = classes != meta.classes
    if len(classes) != len(meta.classes):
        notation = _resize_readout(notation, len(meta.classes), len(classes), str(path))
    net = build(
        notation, shape=meta.shape, kind=meta.kind, T=overrides.get("T", meta.T), framing=framing,
        normalisation=meta.normalisation,
        **asdict(options),
    )  # fmt: skip
    net.meta = replace(net.meta, classes=tuple(classes), view=meta.view)
    notes = []
    weights = before.state_dict()
    if new_readout:
        last = [named.name for named in before.named_layers if isinstance(named.layer, nt.FC)][-1]
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{last}.")}
        notes.append(f"--from {path}: other classes, so {last} begins anew; all other layers are kept")
    for name, neuron in net.neurons().items():
        if neuron.w is not None and f"{neuron.name}.w" in weights:
            weights[f"{neuron.name}.w"] = _expand_w(weights[f"{neuron.name}.w"], neuron.w, f"--from {path}: {name}")
    net.load_state_dict(weights, strict=False)
    if (wider := overrides.get("network")) is not None and nt.parse_notation(wider) != net.notation:
        narrow, net = net, Network(nt.parse_notation(wider), net.options, net.meta)
        widen(narrow, net)
        notes.append(f"--from {path}: wider, and begins as the network of the file")
    if ratio != 1:
        _convert_alpha(net, ratio)
        notes.append(f"--from {path}: steps are {ratio:g} times as long, so each neuron's 1/tau is converted")
    return net, notes


def _step_ratio(before: str | None, after: str | None) -> float:
    steps = [Framing.parse(text).step_us if text else None for text in (before, after)]
    return steps[1] / steps[0] if steps[0] and steps[1] else 1.0


@torch.no_grad()
def _convert_alpha(net: Network, ratio: float) -> None:
    for neuron in net.neurons().values():
        if neuron.w is not None:
            neuron.w.copy_(torch.logit(_convert_decay(neuron.w.double().sigmoid(), ratio)))


def _convert_decay(alpha: Any, ratio: float) -> Any:
    return 1 - (1 - alpha) ** ratio


def _resize_readout(notation: str, before: int, after: int, path: str) -> str:
    """Return a network's architecture string with its readout (last layer) sized for another number of classes.

    The last FC has voters x classes features.
    """
    head, fc, tail = notation.rpartition("FC")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    features = int(tail[:digits] or 0)
    if not fc or features % before:
        raise PlifError(
            f"--from {path}: {before} classes, and its readout cannot be changed to {after}; write the network instead"
        )
    return f"{head}{fc}{features // before * after}{tail[digits:]}"


def _expand_w(w: Tensor, target: Tensor, context: str) -> Tensor:
    """Expand a neuron layer's learned w (tau = 1 / sigmoid(w)) to one value per channel; refuse the reverse."""
    if w.dim() > target.dim():
        raise PlifError(f"{context} has one tau a channel, which cannot become one a layer; leave tau=layer out")
    return w.expand(target.shape)


NOISE = 0.05


@torch.no_grad()
def widen(narrow: Network, wide: Network, noise: float = NOISE) -> None:
    """Set the weights of a wider network so that it computes the same as a narrower one.

    Both have the same layers, and `wide` has as many channels or more. Raises PlifError when the layers differ in
    more than their width, or one is narrower.
    """
    refusal = f"network '{wide.notation}' is not '{narrow.notation}' with more channels or neurons"
    pairs = list(zip(narrow.named_layers, wide.named_layers, strict=False))
    if len(narrow.named_layers) != len(wide.named_layers) or any(a.name != b.name for a, b in pairs):
        raise PlifError(f"{refusal}: it has other layers")
    ours, theirs = wide.state_dict(), narrow.state_dict()
    source = torch.arange(narrow.meta.shape[0])  # [n]: the narrow network's channel of each channel
    last = [after.name for _, after in pairs if after.op == "Linear"][-1:]
    for before, after in pairs:
        if after.name in last and before.out_shape != after.out_shape:
            raise PlifError(f"{refusal}: {after.name} is the readout, whose neurons vote for one class after the other")
        if after.op == "Flatten":
            places = before.in_shape[1] * before.in_shape[2]
            source = (source[:, None] * places + torch.arange(places)).flatten()
        elif after.op in ("Conv", "Linear"):
            columns, source = source, _repeated_rows(before, after, refusal)
            weight = theirs[f"{after.name}.weight"]
            copies = torch.bincount(columns).clamp(min=1).to(weight.dtype)
            weight = (weight / copies.reshape(1, -1, *[1] * (weight.dim() - 2)))[source][:, columns]
            if weight.shape != ours[f"{after.name}.weight"].shape:
                raise PlifError(f"{refusal}: {after.name} has another kernel")
            has_copies = source.numel() > before.out_shape[0]
            if has_copies and noise:
                jitter = torch.randn_like(weight) * weight.std() * noise
                jitter[: before.out_shape[0]] = 0
                weight = weight + jitter
            ours[f"{after.name}.weight"].copy_(weight)
            _copy_channels(ours, theirs, f"{after.name}.bias", source)
        else:
            if after.op.endswith("Pool") and before.layer != after.layer:
                raise PlifError(f"{refusal}: {after.name} is {after.layer}, and {before.layer} in the file")
            for name in ours:
                if name.startswith(f"{after.name}."):
                    _copy_channels(ours, theirs, name, source)


def _repeated_rows(before: nt.NamedLayer, after: nt.NamedLayer, refusal: str) -> Tensor:
    n, n_wide = before.out_shape[0], after.out_shape[0]
    if n_wide < n or before.out_shape[1:] != after.out_shape[1:]:
        raise PlifError(f"{refusal}: {after.name} is {after.out_shape}, and {before.out_shape} in the file")
    return torch.arange(n_wide) % n


def _copy_channels(ours: dict[str, Tensor], theirs: dict[str, Tensor], name: str, source: Tensor) -> None:
    """Copy a tensor of a layer to the wider network, repeating its channels if it has one number a channel."""
    if name in ours:
        value = theirs[name]
        ours[name].copy_(value[source] if value.dim() else value)
