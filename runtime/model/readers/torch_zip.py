"""model.pt without torch: the zip that torch.save writes, read by an unpickler that accepts tensors and one string.

A pickle is a program. The unpickler here knows only the names with which tensors are rebuilt, and replaces them by functions
that do nothing; any other name ends the reading.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from runtime.base.errors import PlifError

_MOST_PICKLE = 16 << 20  # bytes of names, shapes and the card; weights are in other members of the zip

_ADMITTED = {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("collections", "OrderedDict"),
    ("torch", "FloatStorage"),
    ("torch", "LongStorage"),
    ("torch", "HalfStorage"),
    ("torch", "BFloat16Storage"),
    ("torch", "DoubleStorage"),
    ("torch", "IntStorage"),
}


class _ForbiddenName(Exception):
    """The pickle names something that is no part of a tensor."""


class _CardUnpickler(pickle.Unpickler):
    """Rebuilds the card; in the place of every tensor stands None."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise _ForbiddenName(f"{module}.{name}")
        if name == "OrderedDict":
            return OrderedDict
        return lambda *args: None  # in the place of a tensor, whose data is not read

    def persistent_load(self, pid: object) -> None:
        return None


def read_card_text(path: str | Path) -> str:
    """The JSON text of the card in a model.pt. PlifError for any other file; no code that is in the file is run."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
            if len(members) != 1:
                raise PlifError(
                    f"{path}: a zip, but not one that torch.save wrote; expected a model.pt written by plif"
                )
            if members[0].file_size > _MOST_PICKLE:
                raise PlifError(f"{path}: its index claims {members[0].file_size} bytes; expected under {_MOST_PICKLE}")
            with archive.open(members[0]) as member:
                data = member.read(_MOST_PICKLE + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise PlifError(
            f"{path}: cannot be opened as a model.pt ({error}); the file was damaged or cut short"
        ) from None
    try:
        content = _CardUnpickler(io.BytesIO(data)).load()
    except _ForbiddenName as refused:
        raise PlifError(
            f"{path}: contains code ({refused}), not only tensors; refused. Expected a model.pt written by plif_train.save"
        ) from None
    except Exception:  # a damaged pickle can fail in many ways
        raise PlifError(f"{path}: its index cannot be read; the file was damaged or not written by plif") from None
    if not isinstance(content, dict) or not isinstance(content.get("card"), str):
        raise PlifError(f"{path}: a PyTorch file without a plif card; expected a model.pt written by plif_train.save")
    return str(content["card"])
