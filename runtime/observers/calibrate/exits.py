"""Calibration of the early-exit margin on a data set; the margin is written into the card of a new artifact.

    lost     samples that are right with all their steps and wrong with an early exit
    allowed  a margin with a loss that is small with confidence: the upper end of the 95 % interval of lost / n is at
             most `lose`

The calibration takes the smallest such margin. The number of samples bounds its loss on other data: with n samples no
loss below about 3.84 / n can be shown. Calibrate on other recordings than those of the final evaluation. Simulated
recordings suffice if they resemble the real ones.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.core.api import Model
from runtime.core.base.declared import SampleOptions
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.base.files import atomic_write, check_replaceable, read_regular
from runtime.core.base.options import with_fields
from runtime.core.measure.evaluate.samples import DatasetSplit
from runtime.core.measure.metrics import wilson_interval
from runtime.core.model.artifacts import CARD_KEY, Kind, detect_kind
from runtime.core.model.card import encode_card, read_card
from runtime.core.model.digest import write_digest
from runtime.core.model.readers.onnx_contents import read_model
from runtime.core.model.readers.onnx_wire import (
    MODEL_METADATA,
    copy_field,
    encode_field,
    iterate_fields,
    read_metadata_entry,
)
from runtime.core.model.readers.torch_zip import read_card_text
from runtime.core.observers import find_observers
from runtime.observers.evaluation_report.curves import exit_curve
from runtime.observers.evaluation_report.trace import trace_samples

KEY = "exit"


@dataclass(frozen=True)
class ExitCalibration:
    """The result of an early-exit calibration; it is stored under the key `exit` of the artifact's metadata card.

    margin      of an early exit
    lose        the share of samples that may be lost;  lost_at_most: the bound that was shown
    data, split, samples   the calibration data;  mean_steps, accuracy: measured there;  accuracy_all_steps: without
                           an exit
    """

    margin: float
    lose: float
    lost_at_most: float
    data: str
    split: str
    samples: int
    mean_steps: float
    accuracy: float
    accuracy_all_steps: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@with_fields(SampleOptions)
def calibrate_exit(
    model: Model, data: str, lose: float, *, progress: Callable[[int, int], None] | None = None, **options: Any
) -> ExitCalibration:
    """Find the smallest early-exit margin that makes at most the share `lose` (0..1) of a data set's answers wrong.

    Raises CheckFailed if no margin can be shown to keep that bound, PlifError if the artifact cannot exit early.
    """
    options_ = SampleOptions(**options)
    if not 0 < lose < 1:
        raise PlifError(f"--calibrate-exit {lose:g}: expected a share between 0 and 1, e.g. 0.5% or 0.005")
    for part in find_observers("exits"):
        part.load("check_exits")(model)
    dataset = DatasetSplit(data, options_.split).open(model)
    count = len(dataset) if options_.limit is None else min(options_.limit, len(dataset))
    traces = trace_samples(model, dataset, range(count), progress=progress)
    n = len(traces)
    if n == 0:
        raise PlifError(f"{data}: none of {count} recordings can be read")
    if wilson_interval(0, n)[1] > lose:
        raise CheckFailed(
            f"{data}: on {n} samples no loss below {100 * wilson_interval(0, n)[1]:.2f} % can be shown, even if none is lost; "
            f"--calibrate-exit {100 * lose:g}% needs {_samples_needed(lose)} samples"
        )
    rows = exit_curve(traces, model.voters, model.T)
    chosen = None
    for row in reversed(rows):
        if wilson_interval(row["lost"], n)[1] > lose:
            break
        chosen = row
    if chosen is None:
        raise CheckFailed(f"{data}: no margin loses at most {100 * lose:g} % of {n} samples; nothing was written")
    full = sum(int(sample.answers[-1] == sample.truth) for sample in traces) / n
    return ExitCalibration(
        chosen["margin"],
        lose,
        wilson_interval(chosen["lost"], n)[1],
        data,
        options_.split,
        n,
        chosen["steps"],
        chosen["accuracy"],
        full,
    )


def check_writable(artifact: Path, path: Path, key: str = KEY) -> Kind:
    """Check that a copy of an artifact with a calibration in its card can be written; return its file kind.

    key is "exit", "decide" or "follow". The check runs before minutes of calibration. Raises PlifError if the artifact is
    neither an ONNX nor a .plif file (nor, but for "exit", a model.pt), and if `path` is that file or cannot be
    written.
    """
    kind = detect_kind(artifact)
    if kind.no_exit and key == KEY:
        raise PlifError(
            f"{artifact}: {kind.no_exit}; calibrate its ONNX artifact, and compare the votes with that margin"
        )
    if kind.with_card is None and kind.name != "onnx" and (kind.name, key == KEY) != ("model", False):
        content = "an early exit" if key == KEY else "a rule of deciding"
        raise PlifError(
            f"{artifact}: is {kind.name}; {content} is written into an ONNX artifact or a .plif file: export it to one"
        )
    if path.exists() and path.samefile(artifact):
        raise PlifError(f"{path}: is the artifact itself; name a new file with -o")
    check_replaceable(path)
    if not path.parent.is_dir():
        raise PlifError(f"{path}: there is no folder {path.parent} to write it into")
    return kind


def write_exit(artifact: str | Path, calibration: ExitCalibration, path: str | Path) -> Path:
    """Write a copy of an artifact to `path`, with an early-exit calibration in its metadata card.

    The digest in the card is updated. Raises PlifError as `check_writable` does.
    """
    return write_key(artifact, KEY, calibration.to_dict(), path)


def write_key(artifact: str | Path, key: str, record: dict[str, object], path: str | Path) -> Path:
    """Write a copy of an artifact to `path`, with a calibration record under a key of its metadata card.

    The digest in the card is updated. Raises PlifError as `check_writable` does.
    """
    artifact, path = Path(artifact), Path(path)
    kind = check_writable(artifact, path, key)
    card = read_card(artifact)
    card[key] = record
    if kind.with_card is not None:
        content = kind.write_card(artifact, card)
    elif kind.name == "model":
        content = _replace_model_card(artifact, encode_card(card))
    else:
        write_digest(card, kind.read_contents(artifact))
        content = _replace_onnx_card(read_model(artifact), encode_card(card))
    with atomic_write(path) as (part,):
        part.write_bytes(content)
    return path


def _samples_needed(lose: float) -> int:
    """Return the number of samples needed to show a loss of at most `lose`, if an early exit loses none of them."""
    n = 1
    while wilson_interval(0, n)[1] > lose:
        n = int(n * 1.02) + 1
    return n


def _replace_onnx_card(model: bytes, card: str) -> bytes:
    """Return the bytes of an ONNX model with its metadata card replaced, everything else unchanged."""
    file = io.BytesIO(model)
    spans = list(iterate_fields(file, 0, len(model)))
    card_spans = [
        span
        for span in spans
        if span[:2] == (MODEL_METADATA, 2) and read_metadata_entry(file, *span[2:])[0] == CARD_KEY
    ]
    content = b"".join(copy_field(file, span) for span in spans if span not in card_spans)
    return content + encode_field(MODEL_METADATA, encode_field(1, CARD_KEY.encode()) + encode_field(2, card.encode()))


def _replace_model_card(path: Path, text: str) -> bytes:
    """Return the bytes of a model.pt file with its metadata card replaced, everything else unchanged."""
    old, buffer = read_card_text(path).encode(), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(read_regular(path))) as source, zipfile.ZipFile(buffer, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("/data.pkl"):
                content = content.replace(_pickle_text(old), _pickle_text(text.encode()), 1)
            copy.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _pickle_text(text: bytes) -> bytes:
    return pickle.BINUNICODE + len(text).to_bytes(4, "little") + text
