"""Readers: what somebody trained -> SNN graph. One file per source.

    checkpoint     model.pt and our own live networks
    module         any live nn.Module: trace.py records it, layers.py, functions.py and neuron_modules.py hold what is
                   understood, module_reference.py is what the artifact is proved against
    spikingjelly   a bare state_dict, with the notation of its network
    nir            a NIR file

`read` looks at what it got and calls the right one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from plif_export.proof.reference import NetworkReference, Reference
from plif_export.readers.checkpoint import read_network
from plif_train.network import Network
from runtime.base.errors import PlifError
from runtime.events.framing import Framing
from runtime.model.graph import Graph, Shape

HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Facts:
    """What a card says about a model beside its graph."""

    notation: str | None
    kind: str
    shape: Shape
    T: int
    classes: tuple[str, ...]
    framing: str | None = None
    normalisation: dict[str, list[float]] | None = None

    @classmethod
    def of(cls, net: Network) -> Facts:
        meta = net.meta
        return cls(str(net.notation), meta.kind, meta.shape, meta.T, meta.classes, meta.framing, meta.normalisation)


@dataclass(frozen=True)
class Given:
    """What the user said about a model that has no card; None where nothing was said."""

    classes: tuple[str, ...] | None = None
    framing: str | None = None
    kind: str | None = None
    T: int | None = None

    @classmethod
    def of(cls, classes: Sequence[str] | str | None, framing: str | None, kind: str | None, T: int | None) -> Given:
        if isinstance(classes, str):
            classes = [name.strip() for name in classes.split(",")]
        if kind not in (None, "events", "static"):
            raise PlifError(f"--kind {kind}: expected events or static")
        if T is not None and not 0 < T <= 4096:
            raise PlifError(f"--T {T}: expected 1 to 4096 time-steps")
        if framing is not None:
            framing = str(Framing.parse(framing))
        return cls(None if classes is None else tuple(classes), framing, kind, T)

    def facts(self, shape: Shape, outputs: int, notation: str | None = None) -> Facts:
        """The card's facts for a model with so many outputs. Raises PlifError when the classes are not as many."""
        classes = self.classes or tuple(str(i) for i in range(outputs))
        if len(classes) != outputs:
            raise PlifError(f"--classes: {len(classes)} names for a network of {outputs} outputs; give {outputs}")
        kind = self.kind or "events"
        if kind == "static" and self.framing is not None:
            raise PlifError(f"--framing {self.framing}: is for events, but the input is static images; leave it out")
        framing = None if self.framing is None else Framing.parse(self.framing)
        T = self.T or (framing.T if framing is not None and framing.T is not None else 1)
        if framing is not None and framing.T is not None and framing.T != T:
            raise PlifError(f"framing '{self.framing}' says T={framing.T}, but --T is {T}; expected equal numbers")
        return Facts(notation, kind, tuple(shape), T, tuple(classes), self.framing)


@dataclass(frozen=True)
class Read:
    """A model that was read: its graph, the reference that the artifact is proved against, and what the card says."""

    graph: Graph
    reference: Reference
    facts: Facts
    sha256: str | None = None
    has_card: bool = False
    notes: list[str] = field(default_factory=list)


def read(
    model: str | Path | nn.Module,
    example_input: Any = None,
    given: Given | None = None,
    *,
    network: str | None = None,
    shape: Sequence[int] | None = None,
    neuron: Mapping[str, Any] | str | None = None,
) -> Read:
    """Reads a model.pt, a state_dict, a NIR file or a live module. Raises PlifError for what cannot be exported."""
    given = given or Given()
    options = neuron_options(neuron)
    if isinstance(model, str | Path):
        return _read_file(Path(model), given, network, shape, options)
    if isinstance(model, Network):
        return Read(read_network(model), NetworkReference(model), Facts.of(model), has_card=True)
    if not isinstance(model, nn.Module):
        raise PlifError(f"cannot export a {type(model).__name__}; expected a file such as model.pt, or an nn.Module")
    from plif_export.readers.module import read_module

    if example_input is None:
        raise PlifError(
            f"a {type(model).__name__} does not say the shape of its input; give one step: "
            "export(module, 'm.onnx', torch.zeros(1, 2, 34, 34))"
        )
    return read_module(model, example_input, given)


def _read_file(
    path: Path, given: Given, network: str | None, shape: Sequence[int] | None, options: dict[str, Any]
) -> Read:
    import plif_train
    from plif_export.readers.spikingjelly import has_card, read_state_dict

    try:
        with path.open("rb") as file:
            head = file.read(8)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise PlifError(f"{path}: no such file; expected a model.pt, a state_dict or a NIR file") from None
    except OSError as error:
        raise PlifError(f"{path}: cannot be read ({error.strerror})") from None
    if path.suffix in (".onnx", ".engine"):
        raise PlifError(
            f"{path}: is an exported artifact, not a model; expected the model.pt, state_dict or NIR file it was made from"
        )
    if head == HDF5:
        from plif_export.readers.nir import read_nir

        return read_nir(path, given, sha256, **options)
    if network is None and (head[:2] != b"PK" or has_card(path)):
        net = plif_train.load(path)
        return Read(read_network(net), NetworkReference(net), Facts.of(net), sha256, has_card=True)
    return read_state_dict(path, network, given, sha256, shape=shape, options=options)


def neuron_options(text: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """ "v_threshold=1,v_reset=none,tau=2" -> {"v_threshold": 1.0, "v_reset": None, "tau": 2.0}"""
    if text is None or isinstance(text, Mapping):
        return dict(text or {})
    words = {"none": None, "null": None, "true": True, "false": False}
    found: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise PlifError(f"--neuron {text}: expected NAME=VALUE,... such as v_threshold=1,v_reset=none,tau=2")
        value = value.strip()
        try:
            found[key.strip()] = words[value.lower()] if value.lower() in words else float(value)
        except ValueError:
            found[key.strip()] = value
    return found
