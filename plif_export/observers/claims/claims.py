"""The statements of an artifact's card about its making: training, versions, proof."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

from plif_export.core.proof.report import Report
from runtime.core.base.errors import PlifError
from runtime.core.base.files import hash_artifact
from runtime.core.measure.metrics import wilson_interval
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import Card, read_card


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


def list_unconfirmed(card: Card, expected: Card, model: object, report: Report, default_input: bool) -> Iterator[str]:
    """Yield an artifact's statements about its export (versions, provenance) that a new proof cannot confirm.

    expected  the card of an export of today;  model: a file or a live module, with a provenance record of its own
    default_input  whether this proof took the input of an export
    """
    recorded = collect_provenance(model, {}) or {}
    stated, parity, summary = card.get("provenance", {}), card["parity"], report.summary()
    if not isinstance(stated, dict):
        yield "provenance"
    elif stated != recorded:
        yield f"provenance ({', '.join(key for key in {**recorded, **stated} if stated.get(key) != recorded.get(key))})"
    if card["versions"] != expected["versions"]:
        yield "versions"
    if "memory" in card and card["memory"] != expected.get("memory"):
        yield "memory"
    if isinstance(parity, dict):
        neurons = sum(prod(state["shape"]) for state in card["states"])
        counts = [parity.get(key) for key in ("steps", "streams", "spikes", "spike_mismatches", "excused")]
        steps, streams, spikes, mismatches, excused = [n if isinstance(n, int) else -1 for n in counts]
        is_consistent = (
            set(parity) == set(summary) and parity["passed"] is True and parity["untested"] == summary["untested"]
        )
        is_consistent = is_consistent and 0 <= mismatches == excused <= spikes <= steps * streams * neurons
        if not is_consistent or (default_input and steps != summary["steps"]):
            yield "parity"
    elif parity not in ("not run", None):
        yield "parity"
