"""Finds the margin of an early exit on a data set, and writes it into the card of a new artifact.

    b      samples that are right with all their steps and wrong with an early exit
    kept   a margin whose loss is surely small: the upper end of the 95 % interval of b / n is at most `lose`

The smallest such margin is taken, so that what it loses elsewhere is bounded by the samples that it was found on, and not by
luck: with n samples no loss below about 3.84 / n can be shown. Calibrate on other recordings than those that judge the
network; simulated ones will do where they resemble real ones.
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
from runtime.core.base.files import check_replaceable, read_regular, whole_or_nothing
from runtime.core.base.options import with_fields
from runtime.core.measure.evaluate.samples import SplitOf
from runtime.core.measure.metrics import wilson
from runtime.core.model.artifacts import CARD_KEY, Kind, kind_of
from runtime.core.model.card import encode, read_card
from runtime.core.model.digest import seal
from runtime.core.model.readers.onnx_contents import read_model
from runtime.core.model.readers.onnx_wire import MODEL_METADATA, copied, fields, metadata_entry, put
from runtime.core.model.readers.torch_zip import read_card_text
from runtime.core.observers import hearing
from runtime.observers.evaluation_report.curves import exit_curve
from runtime.observers.evaluation_report.trace import trace

KEY = "exit"


@dataclass(frozen=True)
class ExitCalibration:
    """The card's key `exit`.

    margin      of an early exit
    lose        the share of samples that may be lost;  lost_at_most: the bound that was shown
    data, split, samples   what it was found on;  mean_steps, accuracy: there;  accuracy_all_steps: there, without an exit
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
    """The smallest margin that loses at most the share `lose` (0..1) of the samples of `NAME:DIR`.

    Raises CheckFailed where no margin can be shown to keep that bound, PlifError where the artifact cannot exit early.
    """
    some = SampleOptions(**options)
    if not 0 < lose < 1:
        raise PlifError(f"--calibrate-exit {lose:g}: expected a share between 0 and 1, e.g. 0.5% or 0.005")
    for part in hearing("exits"):
        part.load("check_exits")(model)
    dataset = SplitOf(data, some.split).open(model)
    count = len(dataset) if some.limit is None else min(some.limit, len(dataset))
    traces = trace(model, dataset, range(count), progress=progress)
    n = len(traces)
    if n == 0:
        raise PlifError(f"{data}: none of {count} recordings can be read")
    if wilson(0, n)[1] > lose:
        raise CheckFailed(
            f"{data}: on {n} samples no loss below {100 * wilson(0, n)[1]:.2f} % can be shown, even if none is lost; "
            f"--calibrate-exit {100 * lose:g}% needs {_needed(lose)} samples"
        )
    rows = exit_curve(traces, model.voters, model.T)
    chosen = None
    for row in reversed(rows):
        if wilson(row["lost"], n)[1] > lose:
            break
        chosen = row
    if chosen is None:
        raise CheckFailed(f"{data}: no margin loses at most {100 * lose:g} % of {n} samples; nothing was written")
    full = sum(int(one.answers[-1] == one.truth) for one in traces) / n
    return ExitCalibration(
        chosen["margin"],
        lose,
        wilson(chosen["lost"], n)[1],
        data,
        some.split,
        n,
        chosen["steps"],
        chosen["accuracy"],
        full,
    )


def require_room(artifact: Path, path: Path, key: str = KEY) -> Kind:
    """The kind of a file whose card with `exit`, or `decide`, can be written to `path`; asked before minutes are spent.

    Raises PlifError for what is neither an ONNX nor a .plif file, nor with `decide` a model.pt, and where `path` is that file or
    no place for one.
    """
    kind = kind_of(artifact)
    if kind.no_exit and key == KEY:
        raise PlifError(
            f"{artifact}: {kind.no_exit}; calibrate its ONNX artifact, and compare the votes with that margin"
        )
    if kind.with_card is None and kind.name != "onnx" and (kind.name, key) != ("model", "decide"):
        what = "an early exit" if key == KEY else "a rule of deciding"
        raise PlifError(
            f"{artifact}: is {kind.name}; {what} is written into an ONNX artifact or a .plif file: export it to one"
        )
    if path.exists() and path.samefile(artifact):
        raise PlifError(f"{path}: is the artifact itself; name a new file with -o")
    check_replaceable(path)
    if not path.parent.is_dir():
        raise PlifError(f"{path}: there is no folder {path.parent} to write it into")
    return kind


def write_exit(artifact: str | Path, found: ExitCalibration, path: str | Path) -> Path:
    """Writes `artifact` with the key `exit` in its card, and the digest that fits, to `path`. Raises as `require_room` does."""
    return write_key(artifact, KEY, found.to_dict(), path)


def write_key(artifact: str | Path, key: str, record: dict[str, object], path: str | Path) -> Path:
    """Writes `artifact` with this key in its card, and the digest that fits, to `path`. Raises as `require_room` does."""
    artifact, path = Path(artifact), Path(path)
    kind = require_room(artifact, path, key)
    card = read_card(artifact)
    card[key] = record
    if kind.with_card is not None:
        whole = kind.write_card(artifact, card)
    elif kind.name == "model":
        whole = _model_with_card(artifact, encode(card))
    else:
        seal(card, kind.read_contents(artifact))
        whole = _onnx_with_card(read_model(artifact), encode(card))
    with whole_or_nothing(path) as (part,):
        part.write_bytes(whole)
    return path


def _needed(lose: float) -> int:
    """Samples with which, if none is lost, the loss is shown to be at most `lose`."""
    n = 1
    while wilson(0, n)[1] > lose:
        n = int(n * 1.02) + 1
    return n


def _onnx_with_card(model: bytes, card: str) -> bytes:
    """The ONNX model with another card; everything else stays as it was."""
    file = io.BytesIO(model)
    spans = list(fields(file, 0, len(model)))
    of_card = [
        span for span in spans if span[:2] == (MODEL_METADATA, 2) and metadata_entry(file, *span[2:])[0] == CARD_KEY
    ]
    kept = b"".join(copied(file, span) for span in spans if span not in of_card)
    return kept + put(MODEL_METADATA, put(1, CARD_KEY.encode()) + put(2, card.encode()))


def _model_with_card(path: Path, text: str) -> bytes:
    """The bytes of a model.pt with this card in place of its own."""
    old, found = read_card_text(path).encode(), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(read_regular(path))) as whole, zipfile.ZipFile(found, "w") as copy:
        for name in whole.namelist():
            content = whole.read(name)
            if name.endswith("/data.pkl"):
                content = content.replace(_pickled(old), _pickled(text.encode()), 1)
            copy.writestr(zipfile.ZipInfo(name), content)
    return found.getvalue()


def _pickled(text: bytes) -> bytes:
    return pickle.BINUNICODE + len(text).to_bytes(4, "little") + text
