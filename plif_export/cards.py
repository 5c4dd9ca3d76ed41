"""The card of an artifact: what a model, its graph and the choices of an export say, as one JSON document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from plif_export.readers.facts import ModelFacts
from plif_train.network.network import Network
from runtime.base.version import __version__
from runtime.model.card import ARTIFACT_FORMAT, ARTIFACT_FORMAT_VERSION, CARD_KEY, Card, encode
from runtime.model.digest import seal
from runtime.model.graph import Graph, output_record, state_record
from runtime.model.neurons import equation_of
from runtime.model.readers.onnx_contents import INITIAL, contents_of


def make_card(
    facts: ModelFacts | Network,
    graph: Graph,
    *,
    form: str,
    T: int,
    precision: str,
    math: str,
    batch: int | None,
    source_sha256: str | None,
) -> Card:
    """The card of an artifact of `graph` (after all passes), still without a parity result: "parity" is "not run"."""
    if isinstance(facts, Network):
        facts = ModelFacts.of(facts)
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
            state_record(n.layer, n.shape, value, variable)
            for n in graph.neurons
            for variable, value in n.initial.items()
        ],
        "taus": {
            n.layer: _tau(equation_of(n.attrs["kind"]).alpha(n.params))
            for n in graph.neurons
            if n.attrs["kind"] != "Traced"  # whose time constant is a number among others in its program
        },
        "v_threshold": _one_or_each(graph, "v_threshold"),
        "v_reset": _one_or_each(graph, "v_reset"),
        "output": output_record(last.op, last.attrs.get("voters", 1), last.values, last.shape),
        "framing": facts.framing,
        "normalisation": facts.normalisation,
        **({"view": facts.view} if facts.view else {}),
        **({"sensor": list(facts.sensor)} if facts.sensor else {}),
        "graph": graph.record(),
        "source_sha256": source_sha256,
        "parity": "not run",
        "versions": {"plif": __version__, "torch": torch.__version__.split("+")[0], "onnx": onnx.__version__},
    }


def _tau(alpha: np.ndarray | None) -> float | list[float] | None:
    """1 / alpha: a number, one per channel, or None for neurons that do not leak, whose tau is infinite."""
    if alpha is None or not np.all(alpha):
        return None
    tau = 1.0 / np.asarray(alpha).astype(np.float64)
    return float(tau) if tau.ndim == 0 else [float(t) for t in tau.ravel()]


def _one_or_each(graph: Graph, attribute: str) -> Any:
    values = {n.layer: n.attrs[attribute] for n in graph.neurons}
    return next(iter(values.values())) if len(set(values.values())) == 1 else values


def set_card(proto: onnx.ModelProto, card: Card) -> None:
    """Puts the card into the file, with its digest, and beside it where each state starts, for programs that read no JSON."""
    del proto.metadata_props[:]
    proto.metadata_props.add(key=INITIAL, value=" ".join(str(state["initial"]) for state in card["states"]))
    seal(card, contents_of(proto.SerializeToString(), Path("artifact")))
    proto.metadata_props.add(key=CARD_KEY, value=encode(card))
