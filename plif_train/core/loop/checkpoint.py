"""Checkpoints (model.pt): the tensors of a network and its card, a JSON string that describes them.

    torch.save({"card": json text, "weights": {name: tensor}})

A file is written next to its place and renamed, so it is whole or absent. PyTorch does not open it; our reader does
(runtime/core/model/readers/torch_zip.py). It refuses a pickle that would call anything but the functions that rebuild
tensors. All contents are untrusted: every part has a checksum, shapes are compared with those of the card's notation,
and a NaN is refused here, before it reaches a decision.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plif_train.core.network.network import Meta, Network, Options
from runtime.core.base.errors import PARSE_ERRORS, PlifError
from runtime.core.base.files import atomic_write, open_regular
from runtime.core.base.version import __version__
from runtime.core.events.framing import Framing, is_native
from runtime.core.model import card as cards
from runtime.core.model.notation import parse_notation
from runtime.core.model.readers.torch_zip import Storage, read_index

DTYPES = {
    "Bool": torch.bool, "Byte": torch.uint8, "Char": torch.int8, "Short": torch.int16, "Int": torch.int32,
    "Long": torch.int64, "Half": torch.float16, "BFloat16": torch.bfloat16, "Float": torch.float32, "Double": torch.float64,
}  # fmt: skip


def save(net: Network, path: str | Path, training: dict[str, Any] | None = None) -> None:
    """Write a network to a model.pt file, with a metadata card that contains the record `training`.

    Without `training` the network's record is kept. The state (membrane potentials) is not part of a model. Raises
    PlifError when the file cannot be written, and for a module that is no Network.
    """
    if not isinstance(net, Network):
        raise PlifError(
            f"{path}: a {type(net).__name__} has no notation, which a model.pt is built from; expected a Network of plif.build; "
            "a module of your own is exported as it is: plif.export(module, 'model.onnx', example)"
        )
    save_atomically(pack_checkpoint(net, training), path)


def load(path: str | Path, device: str = "cpu") -> Network:
    """Load a network from a model.pt file, in evaluation mode and with cleared membranes.

    Raises PlifError for a file that is no checkpoint, has code inside or another version, for layers or shapes that
    differ from its notation, and for numbers that are not finite.
    """
    content = read_checkpoint(path)
    return unpack_network(content, path).to(device)


def pack_checkpoint(net: Network, training: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the contents of a model.pt file: the metadata card as JSON text, and the weights by name, on the CPU."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    return {"card": cards.encode_card(make_card(net, training)), "weights": weights}


def make_card(net: Network, training: dict[str, Any] | None = None) -> cards.Card:
    """Make the metadata card of a network, the JSON text that its model.pt contains."""
    meta = net.meta
    card: cards.Card = {
        "format": cards.MODEL_FORMAT,
        "format_version": cards.MODEL_FORMAT_VERSION,
        "notation": str(net.notation),
        "options": asdict(net.options),
        "input": {"kind": meta.kind, "shape": list(meta.shape)},
        "T": meta.T,
        "classes": list(meta.classes),
        "framing": meta.framing,
        "normalisation": meta.normalisation,
        "training": training if training is not None else meta.training,
        "versions": get_versions(),
        **({"view": meta.view} if meta.view else {}),
        **({"sensor": list(meta.sensor)} if meta.sensor else {}),
        **({"trained_on": meta.trained_on} if meta.trained_on else {}),
        **(meta.rules if training is None else {}),  # decision rules of other weights do not apply
    }
    # Trained just now: the framing names the resize mode that was used.
    if meta.framing and meta.trained_on and training is not None:
        card["framing"] = str(Framing.parse(meta.framing, is_native(card)))
    cards.check_model_card(card)
    return card


def get_versions() -> dict[str, str]:
    """Return the versions of plif and torch that a model's metadata card records."""
    return {"plif": __version__, "torch": str(torch.__version__)}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint file into a dict: the metadata card as text, the weights, and any further entries.

    Raises PlifError with one line for any other file.
    """
    content = load_torch_file(path, "a checkpoint such as model.pt")
    if not isinstance(content, dict) or not isinstance(content.get("card"), str):
        raise PlifError(f"{path}: a torch file without a card, expected one written by plif_train.save")
    return content


def load_torch_file(path: str | Path, expected: str) -> Any:
    """Load a file written by torch.save, if it has only tensors and plain values (no code).

    Raises EmbeddedCode if it has more, PlifError if there is no such file.
    """
    with open_regular(path, expected) as file:
        return read_index(file, path, expected, _TensorBuilder())


class _TensorBuilder:
    """A builder of CPU tensors for the checkpoint reader; tensors that shared memory when saved share it again."""

    def __init__(self) -> None:
        self.storages: dict[str, torch.UntypedStorage] = {}

    def tensor(
        self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool
    ) -> Tensor:
        empty = torch.empty(0, dtype=DTYPES[storage.kind])
        if storage.name not in self.storages:
            data = torch.empty(storage.numbers * empty.itemsize, dtype=torch.uint8)
            storage.archive.read(storage.name, data.numpy().data)
            self.storages[storage.name] = data.untyped_storage()
        return empty.set_(self.storages[storage.name], offset, shape, stride).requires_grad_(requires_grad)

    def parameter(self, tensor: object, requires_grad: bool) -> Tensor:
        assert isinstance(tensor, Tensor)
        return torch.nn.Parameter(tensor, requires_grad)


def unpack_network(content: dict[str, Any], path: str | Path) -> Network:
    """Build the network of a checkpoint that was read from a model.pt; `load` lists the errors."""
    try:
        card = json.loads(content["card"])
    except PARSE_ERRORS:
        raise PlifError(f"{path}: its card is not JSON; the file was damaged or not written by plif") from None
    if not isinstance(card, dict):
        raise PlifError(f"{path}: its card is a JSON {type(card).__name__}, expected an object")
    cards.check_model_card(card, str(path))
    weights = content.get("weights")
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise PlifError(f"{path}: holds no weights by name, expected tensors")
    try:
        net = _build_without_memory(card)
    except PlifError as error:
        raise PlifError(f"{path}: {error}") from None
    _check_weights(net, weights, path)
    net.load_state_dict(weights, assign=True)  # the tensors of the file: none were allocated before
    return net.eval()


def _build_without_memory(card: cards.Card) -> Network:
    """Build the network that a metadata card describes on torch's meta device, without memory for weights.

    An untrusted card can therefore ask for weights of any size.
    """
    options = read_options(card)
    shape = card["input"]["shape"]
    meta = Meta(
        kind=card["input"]["kind"],
        shape=(shape[0], shape[1], shape[2]),
        T=card["T"],
        classes=tuple(card["classes"]),
        framing=card["framing"],
        normalisation=card["normalisation"],
        training=card["training"],
        view=card.get("view"),
        sensor=(card["sensor"][0], card["sensor"][1]) if "sensor" in card else None,
        rules=cards.get_rules(card),
        trained_on=card.get("trained_on"),
    )
    with torch.device("meta"):
        return Network(parse_notation(card["notation"]), options, meta)


def read_options(card: cards.Card, context: object = "") -> Options:
    """Read the network options from the metadata card of a model.

    Raises PlifError, after `context`, for an option that this version does not know or accept.
    """
    names = {field.name for field in fields(Options)}
    try:
        if unknown := sorted(set(card["options"]) - names):
            raise PlifError(f"options {unknown} are not known to this version, expected some of {sorted(names)}")
        return Options(**card["options"])
    except PlifError as error:
        raise PlifError(f"{context}: {error}" if context else str(error)) from None


def _check_weights(net: Network, weights: dict[str, Tensor], path: str | Path) -> None:
    expected = net.state_dict()
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    if missing or unexpected:
        faults = [
            f"{verb} {_shorten_names(names)}" for verb, names in (("lacks", missing), ("has also", unexpected)) if names
        ]
        raise PlifError(f"{path}: its weights do not fit its notation '{net.notation}': it {' and '.join(faults)}")
    for name, tensor in expected.items():
        weight = weights[name]
        if weight.shape != tensor.shape or weight.dtype != tensor.dtype:
            raise PlifError(
                f"{path}: {name} is {_describe_tensor(weight)}, "
                f"expected {_describe_tensor(tensor)} from its notation '{net.notation}'"
            )
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            bad = int((~torch.isfinite(weight)).sum())
            raise PlifError(f"{path}: {name} has {bad} of {weight.numel()} numbers NaN or infinite; train it again")


def _shorten_names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _describe_tensor(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def save_atomically(content: dict[str, Any], path: str | Path) -> None:
    """Save a checkpoint under a temporary name and rename it, so that readers never see half a file.

    Readers see the old file or the new one.
    """
    # Through memory: PyTorch's writer of zips turns a full disk into an error that does not name the cause.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_write(Path(path)) as (temporary_path,), open(temporary_path, "wb") as file:
        file.write(buffer.getbuffer())
