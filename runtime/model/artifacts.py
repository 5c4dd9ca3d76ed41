"""Kinds of files that carry a card: how its content tells the kind, where its card is, and which engine opens it.

    model      model.pt, a zip of torch.save: tensors and the card's text
    tensorrt, tensorrt-rtx   one file: the card, then the plan that TensorRT opens
    onnx       one file; the card is in its metadata
    plif       one flat file that C maps into memory: card, operations and weights of the event engine
    web        a web page with a .plif file in it, and libplif to run it
    c          NAME.c, whose last comment is the card, and NAME.h beside it; or an Arduino library, a folder, with both
    nir        one HDF5 file; the card is in the metadata of its graph
    openvino   a folder with model.xml, model.bin and card.json
    triton     a folder, the model repository of a Triton server, with card.json beside the model's folder

To add a kind, write functions for `is_it`, `card_text` and `contents` and enter it in KINDS, before `onnx`. Any other file
is taken for ONNX, and the reader of ONNX refuses it where it is not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.base.errors import PlifError
from runtime.base.files import open_regular
from runtime.model.readers import c_source, engine_file, onnx_wire, plif_file, torch_zip, web_page
from runtime.model.readers.engine_file import MOST_CARD

if TYPE_CHECKING:
    from runtime.model.readers.contents import Contents

CARD_KEY = "plif.card"  # the card's key among ONNX metadata_props, and in the metadata of a NIR graph
CARD_FILE = "card.json"  # the card of an artifact that is a folder
HEAD = 8  # bytes at the start of a file that tell its kind
HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Kind:
    """One kind of model or artifact.

    suffix     the end of its file names; engines list the suffixes that they open
    is_it      (path, first HEAD bytes; none of a folder) -> whether it is of this kind
    card_text  path -> the card as JSON text
    engine     the engine for `auto`; None: no engine of ours runs it
    instead    what else to do with it
    contents   "module:function" of readers/, path -> what the digest binds to the card; imported when asked for, since it
               needs NumPy. None: of a model nothing; an engine is only opened by the SHA-256 of its file (plan.py)
    """

    name: str
    suffix: str
    is_it: Callable[[Path, bytes], bool]
    card_text: Callable[[Path], str]
    engine: str | None
    instead: str = ""
    contents: str | None = None

    def read_contents(self, path: Path) -> Contents:
        """What is beside the card of the artifact at `path`, which is read whole. Raises PlifError where it cannot be."""
        module, _, function = (self.contents or "contents:nothing").partition(":")
        found: Contents = getattr(import_module(f"runtime.model.readers.{module}"), function)(path)
        return found


def _onnx_card(path: Path) -> str:
    text = onnx_wire.read_metadata(path).get(CARD_KEY)
    if text is None:
        raise PlifError(
            f"{path}: an ONNX file without a plif card, so its states and classes are unknown; "
            "make one with: plif export model.pt"
        )
    return text


def _nir_card(path: Path) -> str:
    from runtime.base.hdf5 import read_hdf5

    found = read_hdf5(path, "a NIR file").get(f"node/metadata/{CARD_KEY}")
    if found is None or not isinstance(found.values, bytes):
        raise PlifError(
            f"{path}: a NIR file without a plif card, so its states and classes are unknown; "
            f"export it: plif export {path}"
        )
    return found.values.decode("utf-8", "replace")


def _folder_card(path: Path) -> str:
    file = path / CARD_FILE
    with open_regular(file, "the card of an artifact; export the model again") as opened:
        text = opened.read(MOST_CARD + 1)
    if len(text) > MOST_CARD:
        raise PlifError(f"{file}: more than {MOST_CARD} bytes; expected a card; export the model again")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise PlifError(f"{file}: is not text; the file was damaged or not written by plif") from None


def _holds(name: str) -> Callable[[Path, bytes], bool]:
    """is_it of a folder: whether it has a file of that name; `*/name` means one folder further down."""
    return lambda path, head: path.is_dir() and next(path.glob(name), None) is not None


KINDS: list[Kind] = [
    Kind("model", ".pt", lambda path, head: head[:4] == b"PK\x03\x04", torch_zip.read_card_text, "torch"),
    Kind("openvino", "_openvino", _holds("model.xml"), _folder_card, "openvino", contents="contents:read_openvino"),
    Kind(
        "triton",
        "_triton",
        _holds("*/config.pbtxt"),
        _folder_card,
        None,
        "it is served: tritonserver --model-repository=FOLDER, and stepped with runtime.engines.triton_client.TritonSession",
        "onnx_contents:read_repository",
    ),
    Kind(
        "nir",
        ".nir",
        lambda path, head: head == HDF5,
        _nir_card,
        None,
        "NIR is for other tools; to run it here: plif export FILE.nir",
        "contents:read_nir",
    ),
    Kind(
        "tensorrt-rtx",
        ".rtx.engine",
        lambda path, head: engine_file.is_engine(head) and engine_file.is_rtx(path),
        engine_file.read_card_text,
        "tensorrt-rtx",
    ),
    Kind(
        "c",
        ".c",
        lambda path, head: c_source.is_library(path) if not head else head == c_source.FIRST,
        c_source.read_card_text,
        None,
        "it is source code: compile it into your program (docs/c.md)",
        "contents:read_c",
    ),
    Kind(
        "web",
        ".html",
        lambda path, head: head == web_page.FIRST,
        plif_file.read_card_of_page,
        "event",
        "open it in a browser, and drop a recording on it (docs/web.md)",
        contents="plif_program:read_contents",
    ),
    Kind("tensorrt", ".engine", lambda path, head: engine_file.is_engine(head), engine_file.read_card_text, "tensorrt"),
    Kind(
        "plif",
        ".plif",
        lambda path, head: plif_file.is_plif(head),
        plif_file.read_card_text,
        "event",
        contents="plif_program:read_contents",
    ),
    Kind(
        "onnx",
        ".onnx",
        lambda path, head: not path.is_dir(),
        _onnx_card,
        "onnxruntime",
        contents="onnx_contents:read_contents",
    ),
]


def kind_of(path: Path) -> Kind:
    """The kind of the file or folder at `path`. Raises PlifError where there is none, or none of ours."""
    head = b""
    if not os.path.isdir(path):  # pathlib's is_dir raises where a folder on the way may not be searched
        head = _head(path)
    if engine_file.is_bare_plan(head):
        raise PlifError(
            f"{path}: a bare plan of TensorRT without a card, so its states and classes are unknown; "
            "trtexec opens it, and plif one that was exported without --set raw=true"
        )
    if head[:1] == b"\x80" and not engine_file.is_engine(head):
        raise PlifError(
            f"{path}: a bare pickle, which may run code; refused. Expected a model.pt written by plif_train.save"
        )
    for kind in KINDS:
        if kind.is_it(path, head):
            return kind
    raise PlifError(
        f"{path}: is a folder, and no artifact; expected a model.pt or an exported artifact such as model.onnx"
    )


def _head(path: Path) -> bytes:
    with open_regular(path, "a model.pt or an exported artifact such as model.onnx") as file:
        return file.read(HEAD)
