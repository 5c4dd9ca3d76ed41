"""Where a network comes from, for its card: what its training recorded, and what `--metadata KEY=VALUE` adds.

    data, samples, accuracy, interval    the set it was judged on in training, and its 95 % interval
    simulated                            what of it was simulated
    command                              that trained it
    author, licence, date, ...           any other key that the user gives; the date too, so that an export is the same every day
    log                                  the SHA-256 of the file that `--metadata log=FILE` names

It decides no answer, and the digest leaves it out (runtime/model/digest.py): who wants to trust it compares a signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.base.errors import PlifError
from runtime.base.files import measure
from runtime.measure.report.metrics import wilson
from runtime.model.artifacts import kind_of
from runtime.model.card import read_card

LOG = "log"


def provenance(model: object, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The card's record; None where nothing is known. `model` is a file or a live module.

    Raises PlifError where the training log cannot be read.
    """
    found = _recorded(model)
    for key, value in metadata.items():
        if key == LOG:
            path = Path(value)
            if path.is_dir():
                raise PlifError(f"--metadata log={value}: is a folder; expected the file with the training's log")
            found["log_sha256"] = measure(path)[1]
        else:
            found[key] = value
    return found or None


def _recorded(model: object) -> dict[str, Any]:
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
    found = {
        "data": training.get("dataset"),
        "samples": samples,
        "accuracy": accuracy,
        "interval": None,
        "simulated": training.get("simulated"),
        "command": training.get("command"),
    }
    if isinstance(accuracy, float) and isinstance(samples, int) and samples > 0:
        found["interval"] = [round(end, 4) for end in wilson(round(accuracy * samples), samples)]
    return {key: value for key, value in found.items() if value is not None}
