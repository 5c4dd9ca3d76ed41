"""The six networks of the paper as presets, and `build`, which makes a network by preset name or notation.

A preset is the network that the authors' code trains, which the published accuracies come from; `NAME:paper` is the
text of Table S1. They differ in two networks (the code of CIFAR10-DVS has 2048 hidden neurons, not 512; that of
CIFAR-10 has no second dropout). Convolutions and fully connected layers have no bias in any of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from plif_train.core.network.network import Meta, Network, Options
from runtime.core.base.errors import PlifError
from runtime.core.events.framing import Framing
from runtime.core.model.notation import name_layers, parse_notation


@dataclass(frozen=True)
class Preset:
    """A preset: a network of the PLIF paper with its input, time-steps and classes.

    `paper` has the fields that differ in Table S1.
    """

    template: str
    channels: int
    hidden: int
    meta: Meta
    depth: int = 0
    paper: Mapping[str, Any] | None = None

    def notation(
        self,
        paper: bool = False,
        channels: int | None = None,
        hidden: int | None = None,
        neuron: str = "PLIF",
        pool: str = "MP",
    ) -> str:
        """Return the architecture string of a preset network; arguments that are None take the preset's size."""
        differs = (self.paper or {}) if paper else {}
        return str(differs.get("template", self.template)).format(
            channels=channels or self.channels,
            hidden=hidden or differs.get("hidden", self.hidden),
            depth=self.depth,
            outputs=10 * len(self.meta.classes),
            neuron=neuron,
            pool=pool,
        )


def _load_presets() -> dict[str, Preset]:
    """Load the networks of the PLIF paper (presets) from presets.json.

    CIFAR10-DVS is rotated, as the authors' loader rotated its pictures (x = 127 - x): weights fit one orientation
    only.
    """
    presets = {}
    for name, values in json.loads(Path(__file__).with_name("presets.json").read_text(encoding="utf-8")).items():
        meta: dict[str, Any] = values.pop("input")
        meta |= {"shape": tuple(meta["shape"]), "classes": tuple(meta["classes"])}
        presets[name] = Preset(**values, meta=Meta(**meta))
    return presets


PRESETS = _load_presets()
_SIZES = ("channels", "hidden", "neuron", "pool")
_META = ("kind", "shape", "T", "classes", "framing", "normalisation", "view", "sensor")
_OPTIONS = tuple(field.name for field in fields(Options))


def build(network: str, **overrides: Any) -> Network:
    """Build a new spiking network from a preset's name or an architecture string, in training mode.

    The weights are default-initialised.

    network      a preset (mnist, fashion-mnist, cifar10, nmnist, cifar10-dvs, dvs128-gesture), `PRESET:paper`, or a
                 notation string, which needs shape=(C, H, W)
    overrides    any field of Options; shape, kind ("events" | "static"), T, classes, framing, normalisation, view,
                 sensor; for presets also channels, hidden, neuron ("PLIF" | "LIF" | "IF"), pool ("MP" | "AP", Table 5)

    Raises PlifError for unknown names and for layers that do not fit.
    """
    name, _, variant = network.partition(":")
    preset = PRESETS.get(name) if variant in ("", "paper") else None
    allowed = (*_META, *_OPTIONS, *(_SIZES if preset else ()))
    if unknown := sorted(set(overrides) - set(allowed)):
        raise PlifError(f"build({network!r}): unknown {', '.join(unknown)}; expected some of {', '.join(allowed)}")

    def select(names: tuple[str, ...]) -> dict[str, Any]:
        return {key: overrides[key] for key in names if key in overrides}

    options, meta_fields = Options(**select(_OPTIONS)), select(_META)
    if "shape" in meta_fields:
        meta_fields["shape"] = _check_shape(meta_fields["shape"])
    if preset:
        notation, meta = parse_notation(preset.notation(variant == "paper", **select(_SIZES))), preset.meta
    else:
        if name in PRESETS or ("{" not in network and "-" not in network and not re.match(r"(c|FC)\d", network)):
            names = ", ".join((*PRESETS, *(f"{key}:paper" for key in PRESETS)))
            raise PlifError(f"network '{network}' is not known, expected one of {names}, or a notation string")
        notation = parse_notation(network)
        if "shape" not in meta_fields:
            raise PlifError(f"network '{network}': a notation string needs the input shape, e.g. shape=(2, 34, 34)")
        outputs = name_layers(notation, meta_fields["shape"])[-1].out_shape[0]
        meta = Meta("events", meta_fields["shape"], 10, tuple(str(i) for i in range(outputs)))
    return Network(notation, options, _update_meta(meta, meta_fields))


def _update_meta(meta: Meta, changes: dict[str, Any]) -> Meta:
    """Return the metadata of a network with new fields; refuse an event framing that disagrees with T.

    If only one of framing and T is set, the other follows it.
    """
    if "classes" in changes:
        changes["classes"] = tuple(changes["classes"])
    if changes.get("kind", meta.kind) == "static":
        if changes.setdefault("framing", None) is not None:
            raise PlifError(
                f"framing '{changes['framing']}' is for events, but the network takes static images; leave it out"
            )
    else:
        changes.setdefault("normalisation", None)  # event counts reach the network as they are
        text = changes.get("framing", meta.framing)
        if text is not None:
            framing = Framing.parse(text)
            if framing.T is not None and "framing" in changes and changes.setdefault("T", framing.T) != framing.T:
                raise PlifError(f"framing '{text}' says T={framing.T}, but T is {changes['T']}; expected equal numbers")
            if framing.T is not None and changes.get("T", 0) >= 1:
                framing = replace(framing, T=changes["T"])
            changes["framing"] = str(framing)
    return replace(meta, **changes)


def _check_shape(shape: object) -> tuple[int, int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 3 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise PlifError(f"input shape {shape}: expected three positive sizes (channels, height, width)")
    return (shape[0], shape[1], shape[2])
