"""Readers: a trained model -> SNN graph. One folder per source.

    facts          what every reader gives: TrainedModel
    checkpoint     model.pt and our own live networks (ours.py); bare state_dicts, with their notation (spikingjelly.py)
    module         any live nn.Module, by running it: forms.py says how it is run, record.py and steps.py write it down, body.py
                   finds one step and its states, readout.py what is made of the steps, regions.py and neuron_program.py the
                   neurons, lower.py the graph; check.py compares it with the module; reader.py puts all this together
    libraries      neurons and layers of other libraries
    nir            a NIR file
    code           the module that `my_module.py:net` names

`read` looks at the model and calls the right reader.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from torch import nn

from plif_export.options import CallerFacts
from plif_export.readers.checkpoint.ours import trained_model
from plif_export.readers.facts import TrainedModel
from plif_train.network.network import Network
from runtime.base.errors import PlifError
from runtime.base.files import open_regular
from runtime.model.artifacts import HDF5


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
        return _read_file(Path(model), caller)
    if isinstance(model, Network):
        return trained_model(model, has_card=True)
    if not isinstance(model, nn.Module):
        raise PlifError(f"cannot export a {type(model).__name__}; expected a file such as model.pt, or an nn.Module")
    from plif_export.readers.code import example_of
    from plif_export.readers.module.reader import read_module

    return read_module(model, example_of(model, example_input, caller), caller)


def network_of(model: str | Path | nn.Module) -> str | Path | nn.Module:
    """The module that `path.py:NAME` names, whose code is run; any other model as it is, and a path where a file lies, whatever
    its name."""
    path, _, name = str(model).rpartition(":") if isinstance(model, str | Path) else ("", "", "")
    if name.endswith(".py"):
        path, name = str(model), ""
    if not path.endswith(".py") or (name and os.path.lexists(str(model))):
        return model
    from plif_export.readers.code import run_code

    return run_code(path, name)


def _read_file(path: Path, caller: CallerFacts) -> TrainedModel:
    import plif_train
    from plif_export.readers.checkpoint.spikingjelly import has_card, read_state_dict

    with open_regular(path, "a model.pt, a state_dict or a NIR file") as file:
        head, digest = file.read(8), hashlib.sha256()
        if head == HDF5 or head[:2] == b"PK":  # what is neither is refused below, and may be larger than memory
            file.seek(0)
            while block := file.read(1 << 24):
                digest.update(block)
    sha256 = digest.hexdigest()
    if path.suffix in (".onnx", ".engine", ".plif"):
        raise PlifError(
            f"{path}: is an exported artifact, not a model; expected the model.pt, state_dict or NIR file it was made from"
        )
    if head == HDF5:
        from plif_export.readers.nir.graph import read_nir

        return read_nir(path, caller, sha256)
    if caller.network is None and (head[:2] != b"PK" or has_card(path)):
        return trained_model(plif_train.load(path), sha256, has_card=True)
    return read_state_dict(path, caller, sha256)
