"""Kinds of files that carry a card: how its content tells the kind, where its card is, and what is beside it.

    model      model.pt, a zip of torch.save: tensors and the card's text
    onnx       one file; the card is in its metadata

Every other kind is a part: a folder of runtime/artifacts, whose part.py says how it is recognised (MAGIC, PATTERN, or HOLDS of a
folder) and whose kind.py has its KINDS. Any other file is taken for ONNX, and the reader of ONNX refuses it where it is not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular
from runtime.core.model.readers import onnx_wire, torch_zip
from runtime.core.parts import Part, find_parts, parts_of_others

if TYPE_CHECKING:
    from runtime.core.model.readers.contents import Contents

CARD_KEY = "plif.card"  # the card's key among ONNX metadata_props, and in the metadata of a NIR graph
CARD_FILE = "card.json"  # the card of an artifact that is a folder
MOST_CARD = 64 << 20  # bytes; a card is a few kB, and a wrong length must not make us read more than this
HEAD = 8  # bytes at the start of a file that tell its kind
ZIP, ONNX_BEGINS, PICKLE = b"PK\x03\x04", b"\x08", b"\x80"


@dataclass(frozen=True)
class Kind:
    """One kind of model or artifact.

    suffix     the end of its file names; engines list the suffixes that they open
    card_text  path -> the card as JSON text
    instead    what else to do with it than to run it
    is_it      path -> whether it is this one, of a part with several kinds; the last takes what is left

    Functions that are imported when asked for, since they need NumPy, are "module:function":

    contents   path -> what the digest binds to the card. None: of a model nothing; an engine is only opened by the SHA-256 of
               its file
    with_card  path, card -> the bytes of the file with this card, which differs from its own in `exit` or `decide`, and the
               digest that fits; None where a card cannot be changed, or where its writer is core
    program    path, card -> a program of libplif that is in it, as the bytes of a .plif file, checked against its card
    no_exit    why its card can have no `exit`
    """

    name: str
    suffix: str
    card_text: Callable[[Path], str]
    instead: str = ""
    is_it: Callable[[Path], bool] = lambda path: True
    contents: str | None = None
    with_card: str | None = None
    program: str | None = None
    no_exit: str = ""

    def read_contents(self, path: Path) -> Contents:
        """What is beside the card of the artifact at `path`, which is read whole. Raises PlifError where it cannot be."""
        from runtime.core.model.readers.contents import Contents

        return Contents() if self.contents is None else _function(self.contents)(path)

    def write_card(self, path: Path, card: dict[str, object]) -> bytes:
        """The file at `path` with this card, of a kind that has `with_card`."""
        assert self.with_card is not None
        made: bytes = _function(self.with_card)(path, card)
        return made

    def read_program(self, path: Path, card: dict[str, object]) -> bytes:
        """The program of libplif in the file at `path`, of a kind that has `program`."""
        assert self.program is not None
        found: bytes = _function(self.program)(path, card)
        return found


def _function(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def _onnx_card(path: Path) -> str:
    text = onnx_wire.read_metadata(path).get(CARD_KEY)
    if text is None:
        raise PlifError(
            f"{path}: an ONNX file without a plif card, so its states and classes are unknown; "
            "make one with: plif export model.pt"
        )
    return text


def read_folder_card(path: Path) -> str:
    """The card of an artifact that is a folder."""
    file = path / CARD_FILE
    with open_regular(file, "the card of an artifact; export the model again") as opened:
        text = opened.read(MOST_CARD + 1)
    if len(text) > MOST_CARD:
        raise PlifError(f"{file}: more than {MOST_CARD} bytes; expected a card; export the model again")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise PlifError(f"{file}: is not text; the file was damaged or not written by plif") from None


MODEL = Kind("model", ".pt", torch_zip.read_card_text)
ONNX = Kind("onnx", ".onnx", _onnx_card, contents="runtime.core.model.readers.onnx_contents:read_contents")


def suffixes() -> set[str]:
    """What the names of models and artifacts end in, as pathlib has it: none of a folder's."""
    known = (MODEL.suffix, ONNX.suffix, *(part.suffix for part in find_parts("artifacts").values()))
    return {Path(f"_{suffix}").suffix for suffix in known}


def kind_of(path: Path) -> Kind:
    """The kind of the file or folder at `path`. Raises PlifError where there is none, or none of ours."""
    folder = os.path.isdir(path)  # pathlib's is_dir raises where a folder on the way may not be searched
    head = b"" if folder else _head(path)
    if found := _found(find_parts("artifacts").values(), path, head, folder):
        return found
    if head[:1] == PICKLE:
        raise PlifError(
            f"{path}: a bare pickle, which may run code; refused. Expected a model.pt written by plif_train.save"
        )
    if head[:4] == ZIP:
        return MODEL
    if head[:1] != ONNX_BEGINS and (found := _found(parts_of_others("artifacts").values(), path, head, folder)):
        return found
    if folder:
        raise PlifError(
            f"{path}: is a folder, and no artifact; expected a model.pt or an exported artifact such as model.onnx"
        )
    return ONNX


def _found(parts: Iterable[Part], path: Path, head: bytes, folder: bool) -> Kind | None:
    for part in parts:
        if is_of(part, path, head, folder):
            kinds: tuple[Kind, ...] = part.load("kind:KINDS")
            return next(kind for kind in kinds if kind.is_it(path))
    return None


def is_of(part: Part, path: Path, head: bytes, folder: bool) -> bool:
    """Whether a file or folder is what a part recognises;  head: the first HEAD bytes of a file."""
    if folder:
        return bool(part.holds) and next(path.glob(part.holds), None) is not None
    return head.startswith(part.magic) or bool(part.pattern and re.match(part.pattern, head, re.DOTALL))


def _head(path: Path) -> bytes:
    with open_regular(path, "a model.pt or an exported artifact such as model.onnx") as file:
        return file.read(HEAD)
