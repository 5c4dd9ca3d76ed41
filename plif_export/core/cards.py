"""The card of an artifact: the facts of a model, its graph and the export options, as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch

from plif_export.core.readers.facts import ModelFacts
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.base.version import __version__
from runtime.core.model.card import ARTIFACT_FORMAT, ARTIFACT_FORMAT_VERSION, CARD_KEY, Card, encode_card
from runtime.core.model.digest import write_digest
from runtime.core.model.graph import Graph, make_output_record, make_state_record
from runtime.core.model.neurons import get_equation
from runtime.core.model.readers.onnx_contents import INITIAL, hash_contents
from runtime.core.parts import load_from_parts
from runtime.native import flushes_caller

KEEP = "call torch.set_flush_denormal(False)"


def find_flush_effect(graph: Graph) -> str | None:
    """Return a sentence that names the layer whose spikes change if subnormal numbers are flushed to zero.

    None if nothing changes.
    """
    notices = load_from_parts("checks", "flushing")
    sentence: str | None = (
        "no installed part can tell whether that changes spikes" if notices is None else notices(graph)
    )
    return sentence


def describe_flushing(graph: Graph, card: Card, name: str) -> list[str]:
    """Return a note if subnormal numbers change spikes of a graph, as its card says; `name` is of the artifact.

    Raises PlifError if the caller's process flushes them: its module then does not do what the artifact will do.
    """
    if "flush_denormals" not in card:
        return []
    effect = find_flush_effect(graph)
    if flushes_caller():
        raise PlifError(f"{name}: subnormal numbers are 0 in this process and decide: {effect}; {KEEP}")
    return [f"subnormal numbers are kept, and long silence may be slow: {effect}"]


def can_check_flushing() -> bool:
    """Return whether an installed plug-in part can tell what flushing subnormal numbers to zero changes."""
    return load_from_parts("checks", "flushing") is not None


def make_card(
    facts: ModelFacts | Network, graph: Graph, *, form: str, T: int, precision: str, math: str, batch: int | None,
    source_sha256: str | None,
) -> Card:  # fmt: skip
    """Build the metadata card of an artifact exported from `graph` (after all graph passes).

    It has no parity result yet: "parity" is "not run".
    """
    if isinstance(facts, Network):
        facts = ModelFacts.from_network(facts)
    last = graph[graph.output]
    return {
        "format": ARTIFACT_FORMAT,
        "format_version": ARTIFACT_FORMAT_VERSION,
        "notation": facts.notation,
        "input": {"kind": facts.kind, "shape": list(facts.shape)},
        "T": T,
        "classes": list(facts.classes),
        "classes_named": facts.classes_named,
        "form": form,
        "precision": precision,
        "math": math,
        "batch": batch,
        "states": [
            make_state_record(n.layer, n.shape, value, variable)
            for n in graph.neurons
            for variable, value in n.initial.items()
        ],
        "taus": {
            n.layer: _time_constant(get_equation(n.attrs["kind"]).alpha(n.params))
            for n in graph.neurons
            if n.attrs["kind"] != "Traced"  # its time constant is one of the numbers of its program
        },
        "v_threshold": _common_or_by_layer(graph, "v_threshold"),
        "v_reset": _common_or_by_layer(graph, "v_reset"),
        "output": make_output_record(last.op, last.attrs.get("voters", 1), last.values, last.shape),
        "framing": facts.framing,
        "normalisation": facts.normalisation,
        **({"view": facts.view} if facts.view else {}),
        **({"sensor": list(facts.sensor)} if facts.sensor else {}),
        **({"trained_on": facts.trained_on} if facts.trained_on else {}),
        **facts.rules,
        **({"flush_denormals": False} if find_flush_effect(graph) else {}),
        "graph": graph.to_record(),
        "source_sha256": source_sha256,
        "parity": "not run",
        "versions": {"plif": __version__, "torch": torch.__version__.split("+")[0], "onnx": onnx.__version__},
    }


def _time_constant(alpha: np.ndarray | None) -> float | list[float] | None:
    """Return the time constant 1 / alpha of a neuron layer: one number, one per channel, or None without leak."""
    if alpha is None or not np.all(alpha):
        return None
    tau = 1.0 / np.asarray(alpha).astype(np.float64)
    return float(tau) if tau.ndim == 0 else [float(t) for t in tau.ravel()]


def _common_or_by_layer(graph: Graph, attribute: str) -> object:
    """Return an attribute of all neuron layers for the card: one value if all are equal, else {layer: value}."""
    values = {n.layer: n.attrs[attribute] for n in graph.neurons}
    return next(iter(values.values())) if len(set(values.values())) == 1 else values


def set_card(proto: onnx.ModelProto, card: Card) -> None:
    """Store the metadata card and its digest (content hash) in an ONNX file.

    The initial state values are stored as separate metadata, for programs that read no JSON.
    """
    del proto.metadata_props[:]
    proto.metadata_props.add(key=INITIAL, value=" ".join(str(state["initial"]) for state in card["states"]))
    write_digest(card, hash_contents(proto.SerializeToString(), Path("artifact")))
    proto.metadata_props.add(key=CARD_KEY, value=encode_card(card))


def collect_provenance(model: object, metadata: Mapping[str, str]) -> dict[str, object] | None:
    """Return the provenance of a network for its card, as the part that knows it collects it; None without one."""
    collect = load_from_parts("observers", "provenance")
    if collect is None and metadata:
        raise PlifError("--metadata: no installed part writes it into the card; leave it out")
    record: dict[str, object] | None = None if collect is None else collect(model, metadata)
    return record
