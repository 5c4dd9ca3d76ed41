"""A process that opens an HDF5 file, its standard input, and writes what is in it to standard output, for tree.py to check.

    python decode.py SECONDS BYTES_OF_MEMORY

Its library, in C, may crash on a damaged file, turn in a circle or inflate a chunk to any size: only this process does
(children.py). And HDF5 can take a data set from another file, anywhere on the disk: by an external or a soft link, as
external storage, as a virtual data set. This is refused here, by what the file says of its objects.

Each piece is its length (uint64 LE) and its bytes: JSON for each object, that of a group before those of what is in it, and
behind it the data of a data set, which is read when its JSON is out. The empty piece is the end.

    {"at": "node/nodes", "attributes": {name: repr}}    a group
    {..., "dtype": "<f4", "shape": [2, 3]}              a data set of numbers, or of texts of one length: a piece
    {..., "dtype": "text", "shape": [2]}                of texts, a piece each
    FAILED, in the place of a length                    a piece follows that says why the file is not read, and nothing else
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, BinaryIO

from runtime.formats.child.children import keep_within
from runtime.formats.hdf5.tree import FAILED, TEXT, Refused

if TYPE_CHECKING:
    import h5py

ECF, BLOSC = 36559, 32001
CODECS = {  # what packs a recording and may be missing, and what to do
    ECF: "Prophesee's own codec (ECF), which comes with their SDK only: metavision_file_to_csv -i FILE -o OUT.csv converts it",
    BLOSC: "Blosc: pip install hdf5plugin",
}


def member(group: h5py.Group, name: str, at: str) -> h5py.Group | h5py.Dataset:
    """An object of a group that lies in the file itself, by what its link says, before that is followed. Raises Refused."""
    import h5py
    from h5py import h5d, h5g, h5l, h5o, h5z

    link = name.encode("utf-8", "surrogateescape")
    if group.id.links.get_info(link).type != h5l.TYPE_HARD:
        raise Refused(f"/{at} is a link to another place or file")
    found = h5o.open(group.id, link)
    if isinstance(found, h5g.GroupID):
        return h5py.Group(found)
    if not isinstance(found, h5d.DatasetID):
        raise Refused(f"/{at} is neither a group nor data")
    made = found.get_create_plist()
    if made.get_external_count() or made.get_layout() == h5d.VIRTUAL:
        raise Refused(f"/{at} keeps its data in another file")
    for code in (made.get_filter(i)[0] for i in range(made.get_nfilters())):
        if code == BLOSC:
            with suppress(ImportError):
                import hdf5plugin  # noqa: F401  it makes Blosc known to HDF5
        if code in CODECS and not h5z.filter_avail(code):
            raise Refused(f"/{at} is packed by {CODECS[code]}")
    return h5py.Dataset(found)


def write(out: BinaryIO, piece: bytes | memoryview) -> None:
    out.write(len(piece).to_bytes(8, "little"))
    out.write(piece)


def write_group(out: BinaryIO, group: h5py.Group, within: str = "") -> None:
    import h5py

    for name in group:
        at = f"{within}{name}"
        found = member(group, name, at)
        about: dict[str, object] = {"at": at, "attributes": {key: repr(found.attrs[key]) for key in found.attrs}}
        if isinstance(found, h5py.Group):
            write(out, json.dumps(about).encode())
            write_group(out, found, f"{at}/")
        else:
            write_data(out, found, about)


def write_data(out: BinaryIO, found: h5py.Dataset, about: dict[str, object]) -> None:
    import h5py
    import numpy as np

    shape = (0,) if found.shape is None else found.shape
    string = h5py.check_string_dtype(found.dtype)
    texts = string is not None and string.length is None
    if not texts and found.dtype.kind not in "biufcS":
        raise Refused(f"/{about['at']} is of dtype {found.dtype}; expected numbers or texts")
    write(out, json.dumps(about | {"dtype": TEXT if texts else found.dtype.str, "shape": shape}).encode())
    out.flush()  # who reads it may have seen enough
    if texts:  # one after the other: many may be the same one
        for place in product(*map(range, shape)):
            write(out, found[place])
    else:
        write(out, b"" if 0 in shape else np.ascontiguousarray(found[()]).reshape(-1).view("u1").data)


def decode(file: BinaryIO, out: BinaryIO, seconds: int, memory: int) -> None:
    import h5py

    keep_within(seconds, memory)
    try:
        with h5py.File(file, "r") as opened:
            write_group(out, opened)
        write(out, b"")
    except Exception as error:  # h5py raises many kinds
        out.write(FAILED.to_bytes(8, "little"))
        write(out, (" ".join(str(error).split()) or type(error).__name__).encode(errors="replace"))


if __name__ == "__main__":
    decode(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]), int(sys.argv[2]))
