"""A child process that reads an HDF5 file from standard input and writes its contents to standard output for tree.py.

    python decode.py SECONDS BYTES_OF_MEMORY

The HDF5 library, in C, may crash on a damaged file, loop for ever or inflate a chunk to any size: only this process ends
(children.py). HDF5 can also take a data set from another file, anywhere on the disk: by an external or a soft link, by
external storage, or by a virtual data set. This program refuses them before it follows them.

The output is a sequence of pieces, each its length (uint64 LE) and its bytes. Each object is a piece of JSON, a group before
its members. The data of a data set follows its JSON. The empty piece is the end.

    {"at": "node/nodes", "attributes": {name: repr}}    a group
    {..., "dtype": "<f4", "shape": [2, 3]}              a data set of numbers, or of texts of one length: one piece of data
    {..., "dtype": "text", "shape": [2]}                a data set of texts, a piece each
    FAILED, in the place of a length                    the next piece is the reason why the file is refused, and the last one
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, BinaryIO

from runtime.formats.child.children import limit_resources
from runtime.formats.hdf5.tree import FAILED, TEXT, Refused

if TYPE_CHECKING:
    import h5py

ECF, BLOSC = 36559, 32001
CODECS = {  # codecs that may be missing, and what the user can do
    ECF: "Prophesee's own codec (ECF), which comes with their SDK only: metavision_file_to_csv -i FILE -o OUT.csv converts it",
    BLOSC: "Blosc: pip install hdf5plugin",
}


def open_member(group: h5py.Group, name: str, path: str) -> h5py.Group | h5py.Dataset:
    """Open the object `name` of an HDF5 group, if it is stored in the same file. Raises Refused for a link.

    The link is checked before it is followed. path: the object's path, for messages.
    """
    import h5py
    from h5py import h5d, h5g, h5l, h5o, h5z

    link = name.encode("utf-8", "surrogateescape")
    if group.id.links.get_info(link).type != h5l.TYPE_HARD:
        raise Refused(f"/{path} is a link to another place or file")
    object_id = h5o.open(group.id, link)
    if isinstance(object_id, h5g.GroupID):
        return h5py.Group(object_id)
    if not isinstance(object_id, h5d.DatasetID):
        raise Refused(f"/{path} is neither a group nor data")
    creation = object_id.get_create_plist()
    if creation.get_external_count() or creation.get_layout() == h5d.VIRTUAL:
        raise Refused(f"/{path} keeps its data in another file")
    for code in (creation.get_filter(i)[0] for i in range(creation.get_nfilters())):
        if code == BLOSC:
            with suppress(ImportError):
                import hdf5plugin  # noqa: F401  registers Blosc with HDF5
        if code in CODECS and not h5z.filter_avail(code):
            raise Refused(f"/{path} is packed by {CODECS[code]}")
    return h5py.Dataset(object_id)


def write_piece(out: BinaryIO, piece: bytes | memoryview) -> None:
    out.write(len(piece).to_bytes(8, "little"))
    out.write(piece)


def write_group(out: BinaryIO, group: h5py.Group, prefix: str = "") -> None:
    import h5py

    for name in group:
        path = f"{prefix}{name}"
        node = open_member(group, name, path)
        about: dict[str, object] = {"at": path, "attributes": {key: repr(node.attrs[key]) for key in node.attrs}}
        if isinstance(node, h5py.Group):
            write_piece(out, json.dumps(about).encode())
            write_group(out, node, f"{path}/")
        else:
            write_dataset(out, node, about)


def write_dataset(out: BinaryIO, dataset: h5py.Dataset, about: dict[str, object]) -> None:
    import h5py
    import numpy as np

    shape = (0,) if dataset.shape is None else dataset.shape
    string = h5py.check_string_dtype(dataset.dtype)
    texts = string is not None and string.length is None
    if not texts and dataset.dtype.kind not in "biufcS":
        raise Refused(f"/{about['at']} is of dtype {dataset.dtype}; expected numbers or texts")
    write_piece(out, json.dumps(about | {"dtype": TEXT if texts else dataset.dtype.str, "shape": shape}).encode())
    out.flush()  # the parent may refuse the file now
    if texts:  # one at a time: many entries may refer to the same text
        for index in product(*map(range, shape)):
            write_piece(out, dataset[index])
    else:
        write_piece(out, b"" if 0 in shape else np.ascontiguousarray(dataset[()]).reshape(-1).view("u1").data)


def decode(file: BinaryIO, out: BinaryIO, seconds: int, memory: int) -> None:
    import h5py

    limit_resources(seconds, memory)
    try:
        with h5py.File(file, "r") as opened:
            write_group(out, opened)
        write_piece(out, b"")
    except Exception as error:  # h5py raises many types
        out.write(FAILED.to_bytes(8, "little"))
        write_piece(out, (" ".join(str(error).split()) or type(error).__name__).encode(errors="replace"))


if __name__ == "__main__":
    decode(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]), int(sys.argv[2]))
