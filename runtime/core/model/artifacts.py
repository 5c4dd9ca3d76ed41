"""The kinds of files that carry a card: how to detect the kind, and where the card and the weights are.

    model      model.pt, a zip of torch.save: tensors and the card's text
    onnx       one file; the card is in its metadata

Every other kind is a part: a folder of runtime/artifacts. Its part.py says how to detect it (MAGIC, PATTERN, or HOLDS
of a folder) and its kind.py has its KINDS. Any other file is taken for ONNX, and the reader of ONNX refuses it if it
is not.
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
from runtime.core.parts import Part, find_parts, third_party_parts

if TYPE_CHECKING:
    from runtime.core.model.readers.contents import Contents

CARD_KEY = "plif.card"  # the card's key among ONNX metadata_props, and in the metadata of a NIR graph
CARD_FILE = "card.json"  # the card of an artifact that is a folder
MAX_CARD_BYTES = 64 << 20  # bytes; a card is a few kB; the limit stops a wrong length
HEAD_BYTES = 8  # bytes at the start of a file that identify its kind
ZIP, ONNX_BEGINS, PICKLE = b"PK\x03\x04", b"\x08", b"\x80"


@dataclass(frozen=True)
class Kind:
    """One kind of model or artifact file, and the functions that read it.

    suffix     the end of its file names; engines list the suffixes that they open
    card_text  path -> the card as JSON text
    instead    advice for a kind that no engine runs
    matches    path -> whether the file is of this kind, of a part with several kinds; the last one takes all
               others
    no_exit    the reason why its card can have no `exit`

    Functions that need NumPy are "module:function" and imported at their first call:

    contents   path -> the parts that the digest binds to the card. None: a model has none, and an engine is
               opened by the SHA-256 of its file only
    with_card  path, card -> the bytes of the file with this card, which differs from its own in `exit` or
               `decide`, and with the new digest; None if a card cannot be changed, or if its writer is in the
               core
    program    path, card -> the libplif program in the file, as the bytes of a .plif file, checked against its
               card
    """

    name: str
    suffix: str
    card_text: Callable[[Path], str]
    instead: str = ""
    matches: Callable[[Path], bool] = lambda path: True
    contents: str | None = None
    with_card: str | None = None
    program: str | None = None
    no_exit: str = ""

    def read_contents(self, path: Path) -> Contents:
        """Read a whole artifact and hash its parts except the card. Raises PlifError if it is unreadable."""
        from runtime.core.model.readers.contents import Contents

        return Contents() if self.contents is None else _import_function(self.contents)(path)

    def write_card(self, path: Path, card: dict[str, object]) -> bytes:
        """Return the bytes of an artifact file with another card, for a kind that has `with_card`."""
        assert self.with_card is not None
        data: bytes = _import_function(self.with_card)(path, card)
        return data

    def read_program(self, path: Path, card: dict[str, object]) -> bytes:
        """Return the libplif program stored in an artifact file; only for artifact kinds whose `program` is set."""
        assert self.program is not None
        program: bytes = _import_function(self.program)(path, card)
        return program


def _import_function(reference: str) -> Callable[..., Any]:
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def _read_onnx_card(path: Path) -> str:
    text = onnx_wire.read_metadata(path).get(CARD_KEY)
    if text is None:
        raise PlifError(
            f"{path}: an ONNX file without a plif card, so its states and classes are unknown; "
            "make one with: plif export model.pt"
        )
    return text


def read_folder_card(path: Path) -> str:
    """Read the card text of an artifact that is a folder."""
    file = path / CARD_FILE
    with open_regular(file, "the card of an artifact; export the model again") as opened:
        text = opened.read(MAX_CARD_BYTES + 1)
    if len(text) > MAX_CARD_BYTES:
        raise PlifError(f"{file}: more than {MAX_CARD_BYTES} bytes; expected a card; export the model again")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise PlifError(f"{file}: is not text; the file was damaged or not written by plif") from None


MODEL = Kind("model", ".pt", torch_zip.read_card_text)
ONNX = Kind("onnx", ".onnx", _read_onnx_card, contents="runtime.core.model.readers.onnx_contents:read_contents")


def list_suffixes() -> set[str]:
    """Return the file suffixes of models and artifacts, as pathlib sees them; folders have none."""
    names = (MODEL.suffix, ONNX.suffix, *(part.suffix for part in find_parts("artifacts").values()))
    return {Path(f"_{suffix}").suffix for suffix in names}


def detect_kind(path: Path) -> Kind:
    """Detect the kind of a model or artifact at a path. Raises PlifError for a missing file or an unknown kind."""
    folder = os.path.isdir(path)  # pathlib's is_dir raises where a folder on the way may not be searched
    head = b"" if folder else _read_head(path)
    if kind := _find_kind(find_parts("artifacts").values(), path, head, folder):
        return kind
    if head[:1] == PICKLE:
        raise PlifError(
            f"{path}: a bare pickle, which may run code; refused. Expected a model.pt written by plif_train.save"
        )
    if head[:4] == ZIP:
        return MODEL
    if head[:1] != ONNX_BEGINS and (kind := _find_kind(third_party_parts("artifacts").values(), path, head, folder)):
        return kind
    if folder:
        raise PlifError(
            f"{path}: is a folder, and no artifact; expected a model.pt or an exported artifact such as model.onnx"
        )
    return ONNX


def _find_kind(parts: Iterable[Part], path: Path, head: bytes, folder: bool) -> Kind | None:
    for part in parts:
        if has_mark(part, path, head, folder):
            kinds: tuple[Kind, ...] = part.load("kind:KINDS")
            return next(kind for kind in kinds if kind.matches(path))
    return None


def has_mark(part: Part, path: Path, head: bytes, folder: bool) -> bool:
    """Return whether a file or folder is of a plug-in part's artifact kind, by its first bytes or a file in it.

    head  the first HEAD_BYTES of a file
    """
    if folder:
        return bool(part.holds) and next(path.glob(part.holds), None) is not None
    return head.startswith(part.magic) or bool(part.pattern and re.match(part.pattern, head, re.DOTALL))


def _read_head(path: Path) -> bytes:
    with open_regular(path, "a model.pt or an exported artifact such as model.onnx") as file:
        return file.read(HEAD_BYTES)
