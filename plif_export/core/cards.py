"""The card of an artifact: what a model, its graph and the choices of an export say, as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch

from plif_export.core.readers.facts import ModelFacts
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.base.files import measure
from runtime.core.base.version import __version__
from runtime.core.measure.metrics import wilson
from runtime.core.model.artifacts import kind_of
from runtime.core.model.card import ARTIFACT_FORMAT, ARTIFACT_FORMAT_VERSION, CARD_KEY, Card, encode, read_card
from runtime.core.model.digest import seal
from runtime.core.model.graph import Graph, output_record, state_record
from runtime.core.model.neurons import equation_of
from runtime.core.model.readers.onnx_contents import INITIAL, contents_of
from runtime.core.parts import given_by_parts


def notices_flushing(graph: Graph) -> str | None:
    """What notices that subnormal numbers are made zero, in a sentence; None where nothing does."""
    notices = given_by_parts("checks", "flushing")
    found: str | None = "nothing here tells whether that would show" if notices is None else notices(graph)
    return found


def flushing_is_known() -> bool:
    """Whether there is a part that tells; else subnormal numbers are kept."""
    return given_by_parts("checks", "flushing") is not None


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
        **({"trained_on": facts.trained_on} if facts.trained_on else {}),
        **({"decide": facts.decide} if facts.decide else {}),
        **({"flush_denormals": False} if notices_flushing(graph) else {}),
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


def _one_or_each(graph: Graph, attribute: str) -> object:
    """An attribute of all neurons: one value where all have the same, else {layer: value}."""
    values = {n.layer: n.attrs[attribute] for n in graph.neurons}
    return next(iter(values.values())) if len(set(values.values())) == 1 else values


def set_card(proto: onnx.ModelProto, card: Card) -> None:
    """Puts the card into the file, with its digest, and beside it where each state starts, for programs that read no JSON."""
    del proto.metadata_props[:]
    proto.metadata_props.add(key=INITIAL, value=" ".join(str(state["initial"]) for state in card["states"]))
    seal(card, contents_of(proto.SerializeToString(), Path("artifact")))
    proto.metadata_props.add(key=CARD_KEY, value=encode(card))


def provenance(model: object, metadata: Mapping[str, str]) -> dict[str, object] | None:
    """Where a network comes from, for its card: what its training recorded, and what `--metadata KEY=VALUE` adds.

        data, samples, accuracy, interval    the set it was judged on in training, and its 95 % interval
        simulated                            what of it was simulated
        command                              that trained it
        author, licence, date, ...           any other key that the user gives; the date too, so that an export is the same
                                             every day
        log                                  the SHA-256 of the file that `--metadata log=FILE` names

    It decides no answer, and the digest leaves it out (runtime/core/model/digest.py): who wants to trust it compares a signature.
    model: a file or a live module. None where nothing is known.

    Raises PlifError where the training log cannot be read.
    """
    found = _recorded(model)
    for key, value in metadata.items():
        if key == "log":
            path = Path(value)
            if path.is_dir():
                raise PlifError(f"--metadata log={value}: is a folder; expected the file with the training's log")
            found["log_sha256"] = measure(path)[1]
        else:
            found[key] = value
    return found or None


def _recorded(model: object) -> dict[str, object]:
    """What the training wrote into a model.pt."""
    if not isinstance(model, str | Path) or kind_of(Path(model)).name != "model":
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
    found = {"data": training.get("dataset"), "samples": samples, "accuracy": accuracy}
    if isinstance(accuracy, float) and isinstance(samples, int) and samples > 0:
        found["interval"] = [round(end, 4) for end in wilson(round(accuracy * samples), samples)]
    found |= {key: training.get(key) for key in ("simulated", "command")}
    return {key: value for key, value in found.items() if value is not None}
