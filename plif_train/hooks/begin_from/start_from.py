"""`plif train --from model.pt`: the network goes on from weights that are there.

Same classes: every weight is kept. Other classes: all layers but the last fully connected one are kept, which is the readout
and begins anew. Another length of a step: the neurons forget as much in the same time,

    1 - alpha' = (1 - alpha)^(step' / step)

A network that is named with it has more channels, and begins as that of the file does: Net2WiderNet (Chen, Goodfellow & Shlens,
ICLR 2016). Of n channels of a layer, channel j becomes r_j that compute the same:

    W'[o', :] = W[j(o'), :]             rows, batch normalisation and tau repeated, j(o') = o' mod n
    W'[:, i'] = W[:, j(i')] / r_j(i')   so that what reads them gets the same sum

Copies would stay equal for ever, so the rows of a copy get noise, a few percent of their own size.
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
    """The network of a model.pt for a data set, and notes on what was not kept as it was.

    overrides  T, framing, dropout, tau ("channel": each has at first its layer's), and "network", the notation of a wider one

    A set whose classes are among the network's, or some of them, leaves these as they are. PlifError for what does not fit.
    """
    before = checkpoint.load(path)
    refused = sorted(set(overrides) - {"T", "framing", "dropout", "tau", "network"})
    if refused:
        raise PlifError(f"--from {path}: {refused[0]} is that of the file; expected T, framing, dropout or tau")
    meta = before.meta
    framing = overrides.get("framing", meta.framing)
    found = open_dataset(data, "train", framing=framing, shape=meta.shape, normalisation=meta.normalisation).classes
    classes = meta.classes if set(found) <= set(meta.classes) else tuple(found)
    ratio = _ratio(meta.framing, framing)
    options = replace(before.options, **{name: overrides[name] for name in ("dropout", "tau") if name in overrides})
    if any(neuron.kind == "LIF" for neuron in before.neurons().values()):  # whose tau is this one for good
        options = replace(options, init_tau=1 / _converted(1 / options.init_tau, ratio))
    notation = str(before.notation)
    anew = classes != meta.classes
    if len(classes) != len(meta.classes):
        notation = _with_outputs(notation, len(meta.classes), len(classes), str(path))
    net = build(
        notation, shape=meta.shape, kind=meta.kind, T=overrides.get("T", meta.T), framing=framing,
        normalisation=meta.normalisation,
        **asdict(options),
    )  # fmt: skip
    net.meta = replace(net.meta, classes=tuple(classes), view=meta.view)
    notes = []
    weights = before.state_dict()
    if anew:
        last = [named.name for named in before.named_layers if isinstance(named.layer, nt.FC)][-1]
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{last}.")}
        notes.append(f"--from {path}: other classes, so {last} begins anew; all other layers are kept")
    for name, neuron in net.neurons().items():
        if neuron.w is not None and f"{neuron.name}.w" in weights:
            weights[f"{neuron.name}.w"] = _spread(weights[f"{neuron.name}.w"], neuron.w, f"--from {path}: {name}")
    net.load_state_dict(weights, strict=False)
    if (wider := overrides.get("network")) is not None and nt.parse(wider) != net.notation:
        narrow, net = net, Network(nt.parse(wider), net.options, net.meta)
        widen(narrow, net)
        notes.append(f"--from {path}: wider, and begins as the network of the file")
    if ratio != 1:
        _convert_alpha(net, ratio)
        notes.append(f"--from {path}: steps are {ratio:g} times as long, so each neuron's 1/tau is converted")
    return net, notes


def _ratio(before: str | None, now: str | None) -> float:
    steps = [Framing.parse(text).step_us if text else None for text in (before, now)]
    return steps[1] / steps[0] if steps[0] and steps[1] else 1.0


@torch.no_grad()
def _convert_alpha(net: Network, ratio: float) -> None:
    for neuron in net.neurons().values():
        if neuron.w is not None:
            neuron.w.copy_(torch.logit(_converted(neuron.w.double().sigmoid(), ratio)))


def _converted(alpha: Any, ratio: float) -> Any:
    return 1 - (1 - alpha) ** ratio


def _with_outputs(notation: str, before: int, now: int, path: str) -> str:
    """The notation with another number of classes: the last FC has voters x classes features."""
    head, fc, rest = notation.rpartition("FC")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    features = int(rest[:digits] or 0)
    if not fc or features % before:
        raise PlifError(
            f"--from {path}: {before} classes, and its readout cannot be changed to {now}; write the network instead"
        )
    return f"{head}{fc}{features // before * now}{rest[digits:]}"


def _spread(w: Tensor, to: Tensor, where: str) -> Tensor:
    """A layer's w as that of each of its channels."""
    if w.dim() > to.dim():
        raise PlifError(f"{where} has one tau a channel, which cannot become one a layer; leave tau=layer out")
    return w.expand(to.shape)


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
