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
from runtime.core.base.files import hash_artifact
from runtime.core.base.version import __version__
from runtime.core.measure.metrics import wilson_interval
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import ARTIFACT_FORMAT, ARTIFACT_FORMAT_VERSION, CARD_KEY, Card, encode_card, read_card
from runtime.core.model.digest import write_digest
from runtime.core.model.graph import Graph, make_output_record, make_state_record
from runtime.core.model.neurons import get_equation
from runtime.core.model.readers.onnx_contents import INITIAL, hash_contents
from runtime.core.parts import load_from_parts


def find_flush_effect(graph: Graph) -> str | None:
    """Return a sentence that names the layer whose spikes change if subnormal numbers are flushed to zero.

    None if nothing changes.
    """
    notices = load_from_parts("checks", "flushing")
    sentence: str | None = (
        "no installed part can tell whether that changes spikes" if notices is None else notices(graph)
    )
    return sentence


def can_check_flushing() -> bool:
    """Return whether an installed plug-in part can tell what flushing subnormal numbers to zero changes."""
    return load_from_parts("checks", "flushing") is not None


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
        **({"decide": facts.decide} if facts.decide else {}),
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
    """Return the provenance of a network for its card: its training record and the `--metadata KEY=VALUE` texts.

        data, samples, accuracy, interval    the test set of the training, and the 95 % interval of the accuracy
        simulated                            the simulated share of the data
        command                              the training command
        author, licence, date, ...           any other key that the user gives; the date too, so that an export is the
                                             same every day
        log                                  the SHA-256 of the file that `--metadata log=FILE` names

    The provenance changes no answer, and the digest omits it (runtime/core/model/digest.py): to trust it, compare a
    signature. model: a file or a live module. None if nothing is known.

    Raises PlifError if the training log cannot be read.
    """
    record = _read_training_record(model)
    for key, value in metadata.items():
        if key == "log":
            path = Path(value)
            if path.is_dir():
                raise PlifError(f"--metadata log={value}: is a folder; expected the file with the training's log")
            record["log_sha256"] = hash_artifact(path)[1]
        else:
            record[key] = value
    return record or None


def _read_training_record(model: object) -> dict[str, object]:
    """Return data set, accuracy and command from the training record of a model.pt, for an artifact's card."""
    if not isinstance(model, str | Path) or detect_kind(Path(model)).name != "model":
        return {}
    try:
        training = read_card(model).get("training")
    except (
        PlifError
    ):  # weights of another library: no card, and the reader of the export says what is wrong with others
        return {}
    if not isinstance(training, dict):
        return {}
    accuracy, samples = training.get("test_accuracy"), training.get("test_samples")
    record = {"data": training.get("dataset"), "samples": samples, "accuracy": accuracy}
    if isinstance(accuracy, float) and isinstance(samples, int) and samples > 0:
        record["interval"] = [round(end, 4) for end in wilson_interval(round(accuracy * samples), samples)]
    record |= {key: training.get(key) for key in ("simulated", "command")}
    return {key: value for key, value in record.items() if value is not None}
