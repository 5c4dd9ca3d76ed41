"""A process that looks at an HDF5 file, its standard input, and says on standard output what is wrong with it, in half a line.

    python hdf5_look.py SECONDS MOST_BYTES read|walk|pieces

HDF5 can take a data set from another file, anywhere on the disk: by an external or a soft link, as external storage, as a
virtual data set. It can be compressed to a thousandth, or claim values that are stored nowhere. All this is refused, by what
the file says of its objects. And its library, in C, may crash on a damaged file or turn in a circle: so it is tried here,
under limits of memory and time (children.py), before open_hdf5 (hdf5.py) opens the file.
`read` reads all data, too; `pieces` reads them a piece at a time, and lets them be packed by Blosc, as recordings are.
"""

from __future__ import annotations

import io
import math
import sys
import zlib
from itertools import product
from typing import TYPE_CHECKING, BinaryIO

from runtime.base.children import keep_within

if TYPE_CHECKING:
    import h5py

MOST_OBJECTS = 20_000  # groups, data sets and texts
MOST_DEPTH = 32  # groups within groups
# How much more than the file the data may be: a parameter for each neuron, all of them equal, is compressed well.
FREE_BYTES, MOST_TIMES = 64 << 20, 100
DEFLATE, DEFLATE_TIMES = 1, 1032  # the filter, and how many times its input its output can be
FILTERS = {DEFLATE, 2, 3, 4, 32000}  # and shuffle, checksums, szip, lzf: what NIR's writer and its like use
BLOSC, BLOSC_CHUNK = 32001, 64 << 20  # bytes of one chunk, where all is read in pieces
CODECS = {  # what packs a recording and cannot be read, and what to do
    36559: "Prophesee's own codec (ECF), which comes with their SDK only: metavision_file_to_csv -i FILE -o OUT.csv converts it",
    BLOSC: "Blosc: pip install hdf5plugin",
}


class Refused(Exception):
    """Half a line: what in the file is not read."""


class Walk:
    """most_bytes: of all data together, as they are in memory; mode: as at the top of this file."""

    def __init__(self, most_bytes: int, mode: str) -> None:
        self.most_bytes, self.mode = most_bytes, mode
        self.filters = FILTERS | ({BLOSC} if mode == "pieces" and _has_blosc() else set())
        self.objects = self.bytes = 0

    def group(self, group: h5py.Group, where: str, depth: int) -> None:
        """Looks at each object of a group: by what the links say, without opening what they lead to."""
        from h5py import h5d, h5g, h5l, h5o

        if depth > MOST_DEPTH:
            raise self.refuse(where, f"lies in more than {MOST_DEPTH} groups")
        for name in group:
            at = f"{where}/{name.decode('utf-8', 'replace')}"
            self.objects += 1
            if self.objects > MOST_OBJECTS:
                raise self.refuse(where, f"makes it more than {MOST_OBJECTS} objects and texts")
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                raise self.refuse(at, "is a link to another place or file")
            found = h5o.open(group, name)
            if isinstance(found, h5g.GroupID):
                self.group(found, at, depth + 1)
            elif isinstance(found, h5d.DatasetID):
                self.data_set(found, at)
            else:
                raise self.refuse(at, "is neither a group nor data")

    def data_set(self, found: h5py.Dataset, at: str) -> None:
        import h5py
        from h5py import h5d, h5s, h5t

        made, kind, space = found.get_create_plist(), found.get_type(), found.get_space()
        if made.get_external_count() or made.get_layout() == h5d.VIRTUAL:
            raise self.refuse(at, "keeps its data in another file")
        text = kind.get_class() == h5t.STRING
        if (
            kind.detect_class(h5t.REFERENCE)
            or kind.detect_class(h5t.VLEN)
            or (not text and kind.detect_class(h5t.STRING))
        ):
            raise self.refuse(at, "has values that lead elsewhere in the file")
        empty = space.get_simple_extent_type() == h5s.NULL
        numbers = 0 if empty else math.prod(space.get_simple_extent_dims())
        if made.get_layout() == h5d.CHUNKED:
            chunk = math.prod(made.get_chunk()) * kind.get_size()
            self.bytes += max(
                0, chunk - numbers * kind.get_size()
            )  # a chunk is made whole, however little of it is used
            self.chunks(found, made, chunk, at)
        self.bytes += numbers * kind.get_size()
        self.within(at)
        if text and kind.is_variable_str() and not empty:
            self.texts(found, numbers, at)
        elif self.mode == "pieces" and made.get_layout() == h5d.CHUNKED:
            for piece in h5py.Dataset(found).iter_chunks():
                h5py.Dataset(found)[piece]
        elif self.mode != "walk":
            h5py.Dataset(found)[()]

    def chunks(self, found: h5py.Dataset, made: h5py.h5p.PropDCID, chunk: int, at: str) -> None:
        """Looks at how chunks are stored: HDF5 inflates one to its end, whatever its size should be."""
        filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
        if len(set(filters)) < len(filters) or not self.filters.issuperset(filters):
            known = next((CODECS[one] for one in filters if one in CODECS), None) if self.mode == "pieces" else None
            expected = f"the filters {filters}, expected some of {sorted(self.filters)}, each once"
            raise self.refuse(at, f"is packed by {known or expected}")
        if self.mode == "pieces" and chunk > BLOSC_CHUNK:
            raise self.refuse(at, f"has chunks of {chunk} bytes, expected at most {BLOSC_CHUNK}")
        large: list[tuple[int, ...]] = []

        def look(stored: h5py.h5d.StoreInfo) -> None:
            if stored.size > chunk + chunk // 64 + 1024:
                raise self.refuse(at, "has a chunk that is larger in the file than it should be in memory")
            if BLOSC in filters:  # bytes 4 to 7 of a chunk are the size that it is unpacked to
                claimed = int.from_bytes(found.read_direct_chunk(stored.chunk_offset)[1][4:8], "little")
                if claimed > chunk:
                    raise self.refuse(
                        at, f"has a chunk that claims {claimed} bytes, more than the {chunk} that it should be"
                    )
            if stored.size * DEFLATE_TIMES > FREE_BYTES:
                large.append(stored.chunk_offset)

        found.chunk_iter(look)
        for offset in large if DEFLATE in filters else ():
            inflate, (_, packed) = zlib.decompressobj(), found.read_direct_chunk(offset)
            length = 0
            while length <= chunk and not inflate.eof and packed:
                length += len(inflate.decompress(packed, 1 << 20))
                packed = inflate.unconsumed_tail
            if length > chunk:
                raise self.refuse(at, f"has a chunk that is more than the {chunk} bytes that it should be")

    def texts(self, found: h5py.Dataset, numbers: int, at: str) -> None:
        """The length of a text is known when it is read, and many may be the same one: one after the other is read."""
        import h5py

        self.objects += numbers
        if self.objects > MOST_OBJECTS:
            raise self.refuse(at, f"makes it more than {MOST_OBJECTS} objects and texts")
        data = h5py.Dataset(found)
        for place in product(*map(range, data.shape)):
            self.bytes += len(data[place])
            self.within(at)

    def within(self, at: str) -> None:
        if self.bytes > self.most_bytes:
            raise self.refuse(at, f"makes it more than {self.most_bytes} bytes of data, of a file of this size")

    def refuse(self, at: str, what: str) -> Refused:
        return Refused(f"{at or '/'} {what}")


def _has_blosc() -> bool:
    try:
        import hdf5plugin  # noqa: F401  it makes Blosc known to HDF5
    except ImportError:
        return False
    return True


def look(file: BinaryIO, seconds: int, most_bytes: int, mode: str) -> None:
    """Raises Refused, and whatever h5py raises for a file that is damaged."""
    import h5py

    size = file.seek(0, io.SEEK_END)
    most_bytes = min(most_bytes, FREE_BYTES + MOST_TIMES * size)
    keep_within(seconds, 2 * most_bytes, size)
    with h5py.File(file, "r") as opened:
        Walk(most_bytes, mode).group(opened.id, "", 0)


def main() -> int:
    try:
        look(sys.stdin.buffer, int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    except Refused as found:
        print(found)
        return 3
    except Exception as error:
        print(" ".join(str(error).split())[:120] or type(error).__name__)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
