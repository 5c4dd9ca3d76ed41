"""model.pt: the tensors of a network and one JSON string, the card, that says what they are.

    torch.save({"card": json text, "weights": {name: tensor}})

Written beside its place and renamed, so that a file is whole or absent. It is not opened by PyTorch, but by a reader of our
own (runtime/core/model/readers/torch_zip.py), which refuses a pickle that would call anything but the functions that rebuild
tensors. Nothing in a file is trusted: every part has a sum, shapes are compared with those that follow from the card's
notation, and a NaN is refused here, before it reaches a decision.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plif_train.core.network.network import Meta, Network, Options
from runtime.core.base.errors import NONSENSE, PlifError
from runtime.core.base.files import open_regular, whole_or_nothing
from runtime.core.base.version import __version__
from runtime.core.events.framing import Framing, is_native
from runtime.core.model import card as cards
from runtime.core.model.notation import parse
from runtime.core.model.readers.torch_zip import Storage, read_index

DTYPES = {
    "Bool": torch.bool, "Byte": torch.uint8, "Char": torch.int8, "Short": torch.int16, "Int": torch.int32,
    "Long": torch.int64, "Half": torch.float16, "BFloat16": torch.bfloat16, "Float": torch.float32, "Double": torch.float64,
}  # fmt: skip


def save(net: Network, path: str | Path, training: dict[str, Any] | None = None) -> None:
    """Writes a network as model.pt. `training` is its record for the card; left out, the network's own is kept.

    The state (membrane potentials) is not part of a model. Raises PlifError when the file cannot be written, and for a module
    that is no Network.
    """
    if not isinstance(net, Network):
        raise PlifError(
            f"{path}: a {type(net).__name__} has no notation, which a model.pt is built from; expected a Network of plif.build; "
            "a module of your own is exported as it is: plif.export(module, 'model.onnx', example)"
        )
    write_atomically(content_of(net, training), path)


def load(path: str | Path, device: str = "cpu") -> Network:
    """A network from model.pt, in eval mode, reset. Raises PlifError: no checkpoint, code inside, other version, other
    layers or shapes than its notation says, numbers that are not finite."""
    content = read_tensors(path)
    return network_of(content, path).to(device)


def content_of(net: Network, training: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `save` writes: the card as JSON text, and the weights by name, on the CPU."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    return {"card": cards.encode(card_of(net, training)), "weights": weights}


def card_of(net: Network, training: dict[str, Any] | None = None) -> cards.Card:
    """The model card of a network (the JSON in model.pt)."""
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
        "versions": versions(),
        **({"view": meta.view} if meta.view else {}),
        **({"sensor": list(meta.sensor)} if meta.sensor else {}),
        **({"trained_on": meta.trained_on} if meta.trained_on else {}),
        **({"decide": meta.decide} if meta.decide and training is None else {}),  # one of other weights says nothing
    }
    if (
        meta.framing and meta.trained_on and training is not None
    ):  # trained just now: with the word of resize that was used
        card["framing"] = str(Framing.parse(meta.framing, is_native(card)))
    cards.check_model_card(card)
    return card


def versions() -> dict[str, str]:
    """The versions that a card records."""
    return {"plif": __version__, "torch": str(torch.__version__)}


def read_tensors(path: str | Path) -> dict[str, Any]:
    """The card and the tensors of a checkpoint, and what else it holds. Raises PlifError with one line for anything else."""
    content = load_torch(path, "a checkpoint such as model.pt")
    if not isinstance(content, dict) or not isinstance(content.get("card"), str):
        raise PlifError(f"{path}: a torch file without a card, expected one written by plif_train.save")
    return content


def load_torch(path: str | Path, expected: str) -> Any:
    """What torch.save wrote, tensors and plain values only. Raises HoldsCode where it has more, PlifError for no such file."""
    with open_regular(path, expected) as file:
        return read_index(file, path, expected, _Tensors())


class _Tensors:
    """Builds tensors on the CPU; those that shared a storage share it again."""

    def __init__(self) -> None:
        self.storages: dict[str, torch.UntypedStorage] = {}

    def tensor(
        self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool
    ) -> Tensor:
        empty = torch.empty(0, dtype=DTYPES[storage.kind])
        if storage.name not in self.storages:
            data = torch.empty(storage.numbers * empty.itemsize, dtype=torch.uint8)
            storage.within.read(storage.name, data.numpy().data)
            self.storages[storage.name] = data.untyped_storage()
        return empty.set_(self.storages[storage.name], offset, shape, stride).requires_grad_(requires_grad)

    def parameter(self, tensor: object, requires_grad: bool) -> Tensor:
        assert isinstance(tensor, Tensor)
        return torch.nn.Parameter(tensor, requires_grad)


def network_of(content: dict[str, Any], path: str | Path) -> Network:
    """The network of a read checkpoint; see `load` for the errors."""
    try:
        card = json.loads(content["card"])
    except NONSENSE:
        raise PlifError(f"{path}: its card is not JSON; the file was damaged or not written by plif") from None
    if not isinstance(card, dict):
        raise PlifError(f"{path}: its card is a JSON {type(card).__name__}, expected an object")
    cards.check_model_card(card, str(path))
    weights = content.get("weights")
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise PlifError(f"{path}: holds no weights by name, expected tensors")
    try:
        net = _empty(card)
    except PlifError as error:
        raise PlifError(f"{path}: {error}") from None
    _check_weights(net, weights, path)
    net.load_state_dict(weights, assign=True)  # the file's own tensors: none were allocated before
    return net.eval()


def _empty(card: cards.Card) -> Network:
    """The card's network on the meta device: without memory for its weights, however large a hostile card makes them."""
    options = options_of(card)
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
        decide=card.get("decide"),
        trained_on=card.get("trained_on"),
    )
    with torch.device("meta"):
        return Network(parse(card["notation"]), options, meta)


def options_of(card: cards.Card, where: object = "") -> Options:
    """The options of a model's card. PlifError, after `where`, for one that this version does not know or take."""
    known = {field.name for field in fields(Options)}
    try:
        if strangers := sorted(set(card["options"]) - known):
            raise PlifError(f"options {strangers} are not known to this version, expected some of {sorted(known)}")
        return Options(**card["options"])
    except PlifError as error:
        raise PlifError(f"{where}: {error}" if where else str(error)) from None


def _check_weights(net: Network, weights: dict[str, Tensor], path: str | Path) -> None:
    expected = net.state_dict()
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    if missing or unexpected:
        parts = [f"{what} {_some(names)}" for what, names in (("lacks", missing), ("has also", unexpected)) if names]
        raise PlifError(f"{path}: its weights do not fit its notation '{net.notation}': it {' and '.join(parts)}")
    for name, tensor in expected.items():
        found = weights[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise PlifError(
                f"{path}: {name} is {_kind(found)}, expected {_kind(tensor)} from its notation '{net.notation}'"
            )
        if found.is_floating_point() and not bool(torch.isfinite(found).all()):
            bad = int((~torch.isfinite(found)).sum())
            raise PlifError(f"{path}: {name} has {bad} of {found.numel()} numbers NaN or infinite; train it again")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def write_atomically(content: dict[str, Any], path: str | Path) -> None:
    """torch.save, beside and then renamed: readers see the old file or the new one, never half of it."""
    # Through memory: PyTorch's writer of zips turns a full disk into an error of its own that does not say so.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with whole_or_nothing(Path(path)) as (beside,), open(beside, "wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
