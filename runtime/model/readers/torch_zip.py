"""model.pt without torch: the zip that torch.save writes, read with an unpickler that admits tensors and one string.

A pickle is a program that may call anything. The unpickler here admits the names that rebuild a tensor, and puts a function
that does nothing in the place of each; only OrderedDict is real. Any other name ends the reading.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from runtime.base.errors import PlifError

_MOST_PICKLE = 16 << 20  # bytes: names, shapes and the card; weights live in other members of the zip

_STORAGES = {("torch", f"{kind}Storage") for kind in ("Float", "Long", "Half", "BFloat16", "Double", "Int")}
_ADMITTED = _STORAGES | {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("collections", "OrderedDict"),
}


class _Refused(Exception):
    """The pickle names something that is not a tensor."""


class _CardOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise _Refused(f"{module}.{name}")
        if name == "OrderedDict":
            return OrderedDict
        return lambda *args: None  # stands for a tensor, whose data is not read

    def persistent_load(self, pid: object) -> None:
        return None


def read_card_text(path: str | Path) -> str:
    """The JSON text of the card in a model.pt. Runs no code of the file. Raises PlifError for any other file."""
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
        content = _CardOnly(io.BytesIO(data)).load()
    except _Refused as refused:
        raise PlifError(
            f"{path}: contains code ({refused}), not only tensors; refused. Expected a model.pt written by plif_train.save"
        ) from None
    except Exception:  # a damaged pickle fails in many ways, all of them mean the same
        raise PlifError(f"{path}: its index cannot be read; the file was damaged or not written by plif") from None
    if not isinstance(content, dict) or not isinstance(content.get("card"), str):
        raise PlifError(f"{path}: a PyTorch file without a plif card; expected a model.pt written by plif_train.save")
    return str(content["card"])
