"""Readers: a trained model -> SNN graph. A model.pt and our own networks are read here (ours.py), all others by parts.

    facts   what every reader gives: TrainedModel
    ours    a network of ours -> graph
    rules   what makes a layer impossible to read, and what to do instead

A reader is a part of plif_export/readers with reader.py: of files, which it knows by their first bytes (MAGIC in its part.py),
`read(path, caller, sha256)`; of live modules, where it says none, `read(module, caller, example_input)`. Its `check`, with the
same arguments, says of every layer what would become of it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from torch import nn

import plif_train
from plif_export.core.options import CallerFacts
from plif_export.core.readers.facts import Examined, TrainedModel
from plif_export.core.readers.ours import has_card, trained_model
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular
from runtime.core.parts import Part, find_parts, given_by_parts

CHUNK = 1 << 24  # bytes
MODELS = "a model.pt, a state_dict or a NIR file"


def read(
    model: str | Path | nn.Module, example_input: object = None, caller: CallerFacts | None = None
) -> TrainedModel:
    """Reads a model.pt, a state_dict, a NIR file or a live module. Raises PlifError for what cannot be exported.

    example_input  one step [B, ...], or what forward takes (a sequence, an image); the shape is used. A module that is not ours
                   needs it, or the caller's shape of one step
    caller         what the model does not say itself; of a model with a card nothing of it is used
    """
    caller = caller or CallerFacts()
    if isinstance(model, str | Path):
        path = Path(model)
        part = _reader_of_file(path, caller)
        if part is None:
            return trained_model(plif_train.load(path), _sha256(path), has_card=True)
        found: TrainedModel = part.load("reader:read")(path, caller, _sha256(path))
        return found
    if isinstance(model, Network):
        return trained_model(model, has_card=True)
    found = _reader_of_modules(model).load("reader:read")(model, caller, example_input)
    return found


def check(model: str | Path | nn.Module, example_input: object = None, caller: CallerFacts | None = None) -> Examined:
    """What becomes of each layer of a model, and why it cannot be exported. Raises PlifError for what is no model at all."""
    caller = caller or CallerFacts()
    part: Part | None = None
    beside: object = None
    if isinstance(model, str | Path):
        part = _reader_of_file(Path(model), caller)
    elif not isinstance(model, Network):
        part, beside = _reader_of_modules(model), example_input
    if part is None:
        return Examined.of(read(model, None, caller))
    found: Examined = part.load("reader:check")(model, caller, beside)
    return found


def _reader_of_modules(model: nn.Module) -> Part:
    if not isinstance(model, nn.Module):
        raise PlifError(f"cannot export a {type(model).__name__}; expected a file such as model.pt, or an nn.Module")
    part = next((part for part in find_parts("readers").values() if part.names != () and not part.magic), None)
    if part is None:
        raise PlifError(
            f"cannot export a {type(model).__name__}: this plif has no reader of live modules; expected a model.pt"
        )
    return part


def _reader_of_file(path: Path, caller: CallerFacts) -> Part | None:
    """None for a model.pt, and for what is refused as none."""
    with open_regular(path, MODELS) as file:
        head = file.read(8)
    if path.suffix in (".onnx", ".engine", ".plif"):
        raise PlifError(
            f"{path}: is an exported artifact, not a model; expected the model.pt, state_dict or NIR file it was made from"
        )
    part = next((part for part in find_parts("readers").values() if part.magic and head.startswith(part.magic)), None)
    return None if part is None or (head[:2] == b"PK" and caller.network is None and has_card(path)) else part


def _sha256(path: Path) -> str:
    """Of a file, which may be larger than memory."""
    digest = hashlib.sha256()
    with open_regular(path, MODELS) as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def network_of(model: str | Path | nn.Module) -> str | Path | nn.Module:
    """The module that `path.py:NAME` names, whose code is run; any other model as it is, and a path where a file lies, whatever
    its name."""
    path, _, name = str(model).rpartition(":") if isinstance(model, str | Path) else ("", "", "")
    if name.endswith(".py"):
        path, name = str(model), ""
    if not path.endswith(".py") or (name and os.path.lexists(str(model))):
        return model
    run_code = given_by_parts("readers", "run_code")
    if run_code is None:
        raise PlifError(f"{model}: this plif runs no code that makes a network; expected {MODELS}")
    network: nn.Module = run_code(path, name)
    return network
