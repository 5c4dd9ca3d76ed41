"""The reader of a bare state_dict (SpikingJelly's, or of the PLIF authors' code) with the notation of its network.

The notation names the layers. They get the file's tensors in the order of the file, which is the order in which the
modules were made. The names of the keys do not matter (`conv_fc.0.weight`, `static_conv.0.weight`, `conv1.weight`),
but shapes do, and every tensor must fit its layer. The keys show whether layers have a bias. Facts in neither file
nor notation (threshold, reset, tau of LIF) have SpikingJelly's defaults, or come from the option `neuron`.

Only tensors are read: a pickle of a whole module, as the authors published theirs, can run any code and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import plif_train
from plif_export.core.options import CallerFacts
from plif_export.core.readers.facts import ModelCheck, TrainedModel, list_unstated, name_classes, number_classes
from plif_export.core.readers.ours import load_tensors, to_trained_model
from plif_train.core.network.network import Network
from plif_train.core.network.presets import PRESETS
from runtime.core.base.errors import PlifError
from runtime.core.model.notation import FC, Conv, NamedLayer, Notation, name_layers, parse_notation

STATE_DICT_KEYS = (
    "net",
    "state_dict",
    "model_state_dict",
    "model",
)  # keys of checkpoints under which the state_dict lies
EVENT_SIZES = (34, 128, 32, 64, 48, 96, 240)  # tried in this order for 2 channels: N-MNIST, DVS128, then common sizes
IMAGE_SIZES = (28, 32, 64, 96, 128, 224)  # tried for other channels: MNIST, CIFAR, ...
OPTIONS = ("v_threshold", "v_reset", "decay_input", "tau")


def read(path: Path, caller: CallerFacts, sha256: str | None = None) -> TrainedModel:
    """Read a state_dict file (PyTorch weights) into a graph, with the layers of the network that the caller names."""
    content = load_tensors(path)
    if isinstance(content, dict) and isinstance(content.get("card"), str):
        raise PlifError(f"{path}: is a model.pt with a card of its own; leave --network out")
    weights = _extract_tensors(content, path)
    if caller.network is None:
        raise PlifError(
            f"{path}: a bare state_dict ({len(weights)} tensors) does not say its layers; name them with --network, "
            "a preset or a notation string such as {c32k3s1-BN-IF-MPk2s2}*2-FC10-IF"
        )
    net, notes = _build_network(path, caller.network, caller, weights)
    caller = name_classes(caller, net.meta.shape, len(net.meta.classes))
    net.meta = replace(net.meta, classes=caller.classes or number_classes(len(net.meta.classes)))
    _load_weights(net, weights, path)
    model = to_trained_model(net, sha256, notes=notes)
    unsaid = list_unstated(caller)
    if str(caller.network).partition(":")[0] in PRESETS:  # the preset says the rest, but not the order of classes
        unsaid = tuple(name for name in unsaid if name in ("classes", "T"))
    return replace(model, facts=replace(model.facts, unstated=unsaid))


def check(path: str | Path, caller: CallerFacts, _: object) -> ModelCheck:
    """Return the graph node of each layer of a state_dict file (PyTorch weights); refuse a file with bad layers."""
    return ModelCheck.from_model(read(Path(path), caller))


def _extract_tensors(content: object, path: Path) -> dict[str, Tensor]:
    """Return the tensors {name: tensor} of a PyTorch weight file, from its top level or a key such as "model"."""
    for key in STATE_DICT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise PlifError(
            f"{path}: expected a state_dict, names and tensors, or a dict with one under {', '.join(STATE_DICT_KEYS)}"
        )
    weights = {str(key): value for key, value in content.items()}
    for key, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise PlifError(f"{path}: {key} has numbers that are NaN or infinite; train it again")
    return weights


# --- the network ---------------------------------------------------------------------------------------------------------


def _build_network(
    path: Path, network: str, caller: CallerFacts, weights: dict[str, Tensor]
) -> tuple[Network, list[str]]:
    """Build the network that a notation string and the caller's options describe; return it, and notes."""
    unknown = sorted(set(caller.neuron) - set(OPTIONS))
    if unknown:
        raise PlifError(f"--neuron {unknown[0]}: for a state_dict expected some of {', '.join(OPTIONS)}")
    overrides: dict[str, object] = {{"tau": "init_tau"}.get(key, key): value for key, value in caller.neuron.items()}
    overrides["bias"] = _infer_bias(weights, path)
    overrides["tau"] = "channel" if any(v.dim() == 1 for k, v in weights.items() if _last_part(k) == "w") else "layer"
    for name in ("kind", "framing", "T"):
        value = getattr(caller, name)
        if value is not None:
            overrides[name] = value
    notes: list[str] = []
    preset = PRESETS.get(network.partition(":")[0])
    if caller.shape is not None:
        overrides["shape"] = caller.shape
    elif preset is None:
        if not any(mark in network for mark in "-{"):  # no preset, and too short for a notation string
            names = ", ".join((*PRESETS, *(f"{name}:paper" for name in PRESETS)))
            raise PlifError(f"--network '{network}' is not known, expected one of {names}, or a notation string")
        notation = parse_notation(network)
        overrides["shape"], note = _infer_shape(notation, weights, path)
        notes.append(note)
    if preset is None and "T" not in overrides and "framing" not in overrides:
        overrides["T"] = 1
    net = plif_train.build(network, **overrides)
    if caller.T is None and caller.framing is not None and "T=" not in caller.framing and preset is None:
        net.meta = replace(net.meta, T=1)
    return net.eval(), notes


def _last_part(key: str) -> str:
    return key.rpartition(".")[2]


def _infer_bias(weights: dict[str, Tensor], path: Path) -> bool | str:
    """Infer from a state_dict's keys which layers have a bias: none, all, or fully connected ones (SpikingJelly)."""
    has_bias: dict[int, set[bool]] = {2: set(), 4: set()}
    for key, value in weights.items():
        if _last_part(key) == "weight" and value.dim() in has_bias:
            has_bias[value.dim()].add(f"{key.rpartition('.')[0]}.bias" in weights)
    linear, conv = has_bias[2] or {False}, has_bias[4] or has_bias[2] or {False}
    if (linear, conv) == ({False}, {False}):
        return False
    if (linear, conv) == ({True}, {True}):
        return True
    if (linear, conv) == ({True}, {False}):
        return "fc"
    raise PlifError(
        f"{path}: some of its layers have a bias and others of the same kind have none, which no notation says; "
        "build the module and export it: plif_export.export(module, 'm.onnx', example_input)"
    )


def _infer_shape(notation: Notation, weights: dict[str, Tensor], path: Path) -> tuple[tuple[int, int, int], str]:
    """Infer an input shape (C, H, W) of a network from the shapes of its weights.

    The channels follow from the first convolution, the size from the first fully connected layer.
    """
    kernels = [v for k, v in weights.items() if _last_part(k) == "weight" and v.dim() in (2, 4)]
    layers = list(notation.layers())
    first = next((layer for layer in layers if isinstance(layer, Conv | FC)), None)
    features = next((int(v.shape[1]) for v in kernels if v.dim() == 2), None)
    if not isinstance(first, Conv) or not kernels or kernels[0].dim() != 4 or features is None:
        raise PlifError(f"{path}: the input's shape cannot be read from its weights; say it: --shape C,H,W")
    channels = int(kernels[0].shape[1])

    def fits(size: int) -> bool:
        try:
            layers = name_layers(notation, (channels, size, size))
        except PlifError:
            return False
        return next(named.in_shape[0] for named in layers if named.op == "Linear") == features

    common_sizes = EVENT_SIZES if channels == 2 else IMAGE_SIZES
    sizes = [size for size in common_sizes if fits(size)] or [size for size in range(1, 513) if fits(size)]
    if not sizes:
        raise PlifError(
            f"{path}: no square input gives its first fully connected layer {features} features through '{notation}'; "
            "check --network, or say the input: --shape C,H,W"
        )
    shape = (channels, sizes[0], sizes[0])
    return shape, f"input {'x'.join(map(str, shape))}: fits the weights; another one is said with --shape C,H,W"


# --- its weights -----------------------------------------------------------------------------------------------------------


def _load_weights(net: Network, weights: dict[str, Tensor], path: Path) -> None:
    """Copy a state_dict's tensors into a network's layers, in order; keys with the same prefix are one layer."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in weights.items():
        prefix, _, last = key.rpartition(".")
        groups.setdefault(prefix, {})[last] = value
    slots = [
        named
        for named in net.named_layers
        if named.op in ("Conv", "Linear", "BatchNorm") or _has_learned_tau(net, named)
    ]
    names = list(groups)
    for i, named in enumerate(slots):
        if i == len(names):
            raise PlifError(
                f"{path}: holds {len(names)} layers with weights, and '{net.notation}' has {len(slots)}: none is left for "
                f"{named.name} ({named.op}); check --network"
            )
        _load_layer(net, named, names[i], groups[names[i]], path)
    if len(names) > len(slots):
        raise PlifError(
            f"{path}: '{names[len(slots)]}' and what follows ({len(names) - len(slots)} layers) has no place in "
            f"'{net.notation}'; check --network"
        )


def _has_learned_tau(net: Network, named: NamedLayer) -> bool:
    return named.op == "Neuron" and getattr(net, named.name).kind == "PLIF"


def _load_layer(net: Network, named: NamedLayer, prefix: str, tensors: dict[str, Tensor], path: Path) -> None:
    module = net.get_submodule(named.name)
    expected = module.state_dict()
    loaded = {key: value for key, value in tensors.items() if key != "num_batches_tracked"}
    required = {key: value for key, value in expected.items() if key != "num_batches_tracked"}
    kinds = {key: list(value.shape) for key, value in loaded.items()}
    if set(loaded) != set(required):
        raise PlifError(
            f"{path}: {prefix} holds {kinds}, where '{net.notation}' has {named.name} ({named.op}) with "
            f"{sorted(required)}; check --network (and LIF or IF instead of PLIF, where no w was learned)"
        )
    for key, value in loaded.items():
        if value.shape != required[key].shape:
            raise PlifError(
                f"{path}: {prefix}.{key} is {list(value.shape)}, where '{net.notation}' has {named.name} with "
                f"{list(required[key].shape)}; check --network and --shape"
            )
    values = {key: value.to(torch.float32) for key, value in loaded.items()}
    if "num_batches_tracked" in expected:
        values["num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    module.load_state_dict(values)
