"""The layout of .plif files: the program of the event engine, flat, so that C maps it into memory and runs it.

Everything is little-endian at the offsets in the header. runtime/native/session/file.h has the same for C.

    header      256 bytes: HEADER below. The SHA-256 at its end covers the file without these 32 bytes
    card        the card, UTF-8 JSON
    strings     UTF-8, each ended by a zero byte: the framing ("" for none), the classes, the states' names, and, if
                `decide` of the facts is 1, the decision rule of feeds
    states      16 bytes each: C, H, W (int32), the initial value (float32)
    programs    32 bytes each: its CPU path (PATHS), the number of operations (int32), the first of these, floats of
                the largest tile of sums, bytes of the arena (int64)
    operations  256 bytes each: the fields of Op in native/engine/event.h; its six pointers are numbers of arrays,
                from 1 on, 0 for none (int64)
    arrays      24 bytes each: offset in `weights` and size, in bytes (int64), the type of its numbers (int32: DTYPES,
                PAIRS or NIBBLES), and 0, or the bits of each number in the file: 4 or 2, the first in the lowest bits
                of a byte
    weights     the arrays, each at a multiple of 64 bytes

There is one program for each CPU path: they share the weights and differ in when a row of spikes is multiplied
instead of added up. A file is made for one version of the operations. A library with another version refuses it, and
the model must be exported again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular

MAGIC = b"PLIF\r\n\x1a\n"  # a transfer as text changes it
# PACKED has arrays whose numbers take less than a byte, KEPT is of networks that notice when subnormal numbers are flushed
VERSIONS = PLAIN, PACKED, KEPT = 3, 4, 5
EXPECTED = "a file made by: plif export model.pt --to plif"

SECTIONS = ("card", "strings", "states", "programs", "operations", "arrays", "weights")
FACTS = (
    *("c", "h", "w", "classes", "voters", "T", "static", "states", "rank", "int8", "upright"),
    *("exit", "decide", "native", "keeps"),  # LATER: of these older files have the first few, or none
)
LATER = 4
# magic, version, bytes of the header, bytes of the file, (offset, bytes) of each section, facts, zeros, SHA-256
HEADER = struct.Struct(f"<8sIIq{2 * len(SECTIONS)}q{len(FACTS)}i28x32s")
SHA256_AT = HEADER.size - 32
STATE = struct.Struct("<3if")
PROGRAM = struct.Struct("<2i3q")
OPERATION = struct.Struct("<20i4f12i14q")
ARRAY = struct.Struct("<2q2i")
DTYPES = ("<f4", "<i2", "i1", "<i4", "<i8")
PAIRS = len(
    DTYPES
)  # of a packed array: int8, of which every other one from the first on is plus 128 (native/engine/event.h)
NIBBLES = PAIRS + 1  # two whole numbers in a byte, each plus 8
ALIGNMENT = 64
MOST_CARD = 64 << 20

OPERATION_FIELDS = (
    *("kind", "from_", "ih", "iw", "ic", "oh", "ow", "oc", "kh", "kw", "stride", "pad"),
    *("charge", "soft", "state", "items", "parallel", "tile_h", "tile_w", "voters"),
    *("v_threshold", "v_reset", "dense_from", "area", "sums", "block", "pairs", "eager"),
    *("lines", "once", "registers", "gives", "stride_y", "pad_y", "dilation", "dilation_y"),
    *("in_", "in2", "out", "index", "values", "dense", "row_capacity", "dense_row"),
    *("weight", "weight_bytes", "bias", "scale", "alpha", "code"),
)
POINTERS = OPERATION_FIELDS[-6:]


def read_card_text(path: Path) -> str:
    """Read the text of a .plif file's card, and nothing else.

    Raise PlifError for a file that is cut short or contradicts itself.
    """
    with open_regular(path, EXPECTED) as file:
        head = file.read(HEADER.size)
        size = file.seek(0, 2)
        offset, length = parse_header(path, head, size)[0]["card"]
        if length > MOST_CARD:
            raise damage_error(path, f"its card has {length} bytes")
        file.seek(offset)
        return decode_text(path, file.read(length))


def pack_file(card: str, sections: dict[str, bytes], facts: tuple[int, ...]) -> bytes:
    """Pack the card, sections and facts of a .plif file into its bytes.

    sections: all but the card; facts: the numbers of the header, in the order of FACTS.
    """
    import hashlib  # with OpenSSL: not to show a card

    body, places = bytearray(), []
    for section in ({"card": card.encode()} | sections).values():
        body += bytes(-len(body) % ALIGNMENT)
        places += [HEADER.size + len(body), len(section)]
        body += section
    packed = any(bits for *_, bits in ARRAY.iter_unpack(sections["arrays"]))
    version = KEPT if facts[-1] else PACKED if packed else PLAIN
    header = HEADER.pack(MAGIC, version, HEADER.size, HEADER.size + len(body), *places, *facts, bytes(32))
    sha256 = hashlib.sha256(header[:SHA256_AT] + body).digest()
    return header[:SHA256_AT] + sha256 + bytes(body)


# --- taking apart ---------------------------------------------------------------------------------------------------------


def parse_header(path: Path, head: bytes, size: int) -> tuple[dict[str, tuple[int, int]], tuple[int, ...]]:
    """Parse the header of a .plif file: return ({section: (offset, bytes)}, the facts)."""
    if len(head) < HEADER.size:
        raise damage_error(path, f"it ends after {len(head)} bytes")
    magic, version, header, total, *values = HEADER.unpack(head)
    if magic != MAGIC or header != HEADER.size:
        raise damage_error(path, "its header is not that of a .plif file")
    if version not in VERSIONS:
        raise PlifError(f"{path}: version {version} of .plif files; this plif has version {KEPT}: export it again")
    if total != size:
        raise damage_error(path, f"it has {size} bytes, and says {total}")
    numbers, facts = values[: 2 * len(SECTIONS)], tuple(values[2 * len(SECTIONS) : -1])
    places = dict(zip(SECTIONS, zip(numbers[::2], numbers[1::2], strict=True), strict=True))
    for name, (offset, length) in places.items():
        if not (HEADER.size <= offset <= size and 0 <= length <= size - offset and offset % ALIGNMENT == 0):
            raise damage_error(path, f"its {name} would lie at {offset}, {length} bytes")
    return places, facts


def split_file(path: Path, data: bytes) -> tuple[dict[str, bytes], tuple[int, ...]]:
    """Split the bytes of a .plif file: return ({section: its bytes}, the facts)."""
    places, facts = parse_header(path, data[: HEADER.size], len(data))
    return {name: data[offset : offset + length] for name, (offset, length) in places.items()}, facts


def unpack_records(
    path: Path, sections: dict[str, bytes], name: str, record: struct.Struct
) -> Iterator[tuple[Any, ...]]:
    """Unpack the records of one section of a .plif file, each as its numbers."""
    if len(sections[name]) % record.size:
        raise damage_error(path, f"its {name} have {len(sections[name])} bytes, which is no multiple of {record.size}")
    return record.iter_unpack(sections[name])


def decode_text(path: Path, data: bytes) -> str:
    """Decode bytes of a .plif file as text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise damage_error(path, "a text in it is not UTF-8") from None


def damage_error(path: Path, problem: str) -> PlifError:
    """Create the error for a .plif file that contradicts itself.

    problem: half a sentence.
    """
    return PlifError(f"{path}: a .plif file that was damaged or cut short ({problem}); expected {EXPECTED}")
