"""Readers: a trained model -> SNN graph; plif networks are read here (ours.py), all others by parts.

    facts   the result of every reader: TrainedModel
    ours    a plif network -> graph
    rules   why a layer cannot be read, and what to do instead

A reader is a part of plif_export/readers with reader.py. Readers of files, known by their first bytes (MAGIC in
part.py), have `read(path, caller, sha256)`; readers of live modules, without MAGIC, have `read(module, caller,
example_input)`. `check`, with the same arguments, reports the result for every layer.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from torch import nn

import plif_train
from plif_export.core.options import CallerFacts
from plif_export.core.readers.facts import ModelCheck, TrainedModel
from plif_export.core.readers.ours import has_card, to_trained_model
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular
from runtime.core.parts import Part, find_parts, load_from_parts

CHUNK = 1 << 24  # bytes
MODELS = "a model.pt, a state_dict or a NIR file"


def read_model(
    model: str | Path | nn.Module, example_input: object = None, caller: CallerFacts | None = None
) -> TrainedModel:
    """Read a model.pt, a state_dict, a NIR file or a PyTorch module into a network graph.

    example_input  one step [B, ...], or the input of forward (a sequence, an image); the shape is used. A module that
                   is not a plif network needs it, or the caller's shape of one step
    caller         facts that the model does not state itself; not used for a model with a card
    Raises PlifError for a model that cannot be exported.
    """
    caller = caller or CallerFacts()
    if isinstance(model, str | Path):
        path = Path(model)
        part = _find_file_reader(path, caller)
        if part is None:
            return to_trained_model(plif_train.load(path), _hash_file(path), has_card=True)
        trained: TrainedModel = part.load("reader:read")(path, caller, _hash_file(path))
        return trained
    if isinstance(model, Network):
        return to_trained_model(model, has_card=True)
    trained = _find_module_reader(model).load("reader:read")(model, caller, example_input)
    return trained


def check_model(
    model: str | Path | nn.Module, example_input: object = None, caller: CallerFacts | None = None
) -> ModelCheck:
    """Report for each layer of a model its node in the graph, or why it cannot be exported.

    Raises PlifError for an input that is no model at all.
    """
    caller = caller or CallerFacts()
    part: Part | None = None
    argument: object = None
    if isinstance(model, str | Path):
        part = _find_file_reader(Path(model), caller)
    elif not isinstance(model, Network):
        part, argument = _find_module_reader(model), example_input
    if part is None:
        return ModelCheck.from_model(read_model(model, None, caller))
    model_check: ModelCheck = part.load("reader:check")(model, caller, argument)
    return model_check


def _find_module_reader(model: nn.Module) -> Part:
    if not isinstance(model, nn.Module):
        raise PlifError(f"cannot export a {type(model).__name__}; expected a file such as model.pt, or an nn.Module")
    part = next((part for part in find_parts("readers").values() if part.names != () and not part.magic), None)
    if part is None:
        raise PlifError(
            f"cannot export a {type(model).__name__}: this plif has no reader of live modules; expected a model.pt"
        )
    return part


def _find_file_reader(path: Path, caller: CallerFacts) -> Part | None:
    """Return the plug-in part that reads a model file; None for model.pt, and for a file load_torch_file refuses."""
    with open_regular(path, MODELS) as file:
        head = file.read(8)
    if path.suffix in (".onnx", ".engine", ".plif"):
        raise PlifError(
            f"{path}: is an exported artifact, not a model; expected the model.pt, state_dict or NIR file it was made from"
        )
    part = next((part for part in find_parts("readers").values() if part.magic and head.startswith(part.magic)), None)
    return None if part is None or (head[:2] == b"PK" and caller.network is None and has_card(path)) else part


def _hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces since it may be larger than memory."""
    digest = hashlib.sha256()
    with open_regular(path, MODELS) as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _split_code(model: str | Path | nn.Module) -> tuple[str | None, str]:
    """Split `path.py:NAME` into the path and the name; the path is None for a model that is no code."""
    path, _, name = str(model).rpartition(":") if isinstance(model, str | Path) else ("", "", "")
    if name.endswith(".py"):
        path, name = str(model), ""
    return (path, name) if path.endswith(".py") and not (name and os.path.lexists(str(model))) else (None, "")


def leave_code_to_child(model: str | Path) -> None:
    """Go on in a child process if a command's model is code, `path.py:NAME`, so that a crash of it is one line."""
    if _split_code(model)[0] is not None and (run := load_from_parts("readers", "continue_in_child")) is not None:
        run(str(model))


def resolve_network(model: str | Path | nn.Module) -> str | Path | nn.Module:
    """Run the Python code that `path.py:NAME` names and return its torch module; return other models unchanged.

    A path of an existing file stays a path, whatever its name.
    """
    path, name = _split_code(model)
    if path is None:
        return model
    run_code = load_from_parts("readers", "run_code")
    if run_code is None:
        raise PlifError(f"{model}: this plif runs no code that makes a network; expected {MODELS}")
    network: nn.Module = run_code(path, name)
    return network
