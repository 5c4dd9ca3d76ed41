"""Reads the members of a zip that torch.save wrote: stored, not deflated, and not overlapping.

    local header, name, extra, data [, sizes again]     once a member
    central header, name, extra                         once a member: the directory
    [the directory's place in 64 bits, and where that stands]
    the directory's place                               the last 22 bytes of the file

Programs that read zips differ in which record they believe if two contradict each other, and a deflated member may be
1000 times its size in the file. So anything but the plain form is refused, before a byte of a member is read.
"""

from __future__ import annotations

import io
import struct
import zlib
from itertools import pairwise
from typing import BinaryIO, NamedTuple

END, END64, CENTRAL, LOCAL = 0x06054B50, 0x06064B50, 0x02014B50, 0x04034B50  # "PK" and two bytes
LOCATOR = b"PK\x06\x07"
MAX_DIRECTORY = 4 << 20  # bytes: some 50,000 members
SIZES_FOLLOW, UTF8 = 0x0008, 0x0800  # the two flags that torch.save sets
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF


class UnsupportedZip(Exception):
    """The error for a zip that is damaged or not of the form that torch.save writes, as half a sentence."""


class Member(NamedTuple):
    """The place of a zip member's data in the file, in bytes, and their CRC-32."""

    start: int
    size: int
    crc: int


class StoredZip:
    """The members of an open zip without compression, by name. Raises UnsupportedZip."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        try:
            self.members = _read_members(file, file.seek(0, io.SEEK_END))
        except (struct.error, UnicodeDecodeError):
            raise UnsupportedZip("its zip directory is damaged or cut short") from None
        self._unread = set(self.members)

    def read(self, name: str, into: memoryview | None = None) -> bytes:
        """Read the bytes of a zip member, or read them into a buffer and return no bytes.

        Raises UnsupportedZip if their CRC-32 differs.
        """
        member = self.members[name]
        data = memoryview(bytearray(member.size)) if into is None else into
        self.file.seek(member.start)
        if self.file.readinto(data) != member.size or zlib.crc32(data) != member.crc:  # type: ignore[attr-defined]
            raise UnsupportedZip(f"{name} was damaged: its bytes do not have the sum that its directory says")
        self._unread.discard(name)
        return b"" if into is not None else bytes(data)

    def check_unread(self) -> None:
        """Check the CRC-32 of the zip members that were not read yet."""
        for name in sorted(self._unread):
            self.read(name)


def _read_members(file: BinaryIO, size: int) -> dict[str, Member]:
    count, start, end = _read_directory(file, size)
    if end - start > MAX_DIRECTORY:
        raise UnsupportedZip(f"its directory claims {end - start} bytes; expected under {MAX_DIRECTORY}")
    directory = _read_at(file, start, end - start)
    members: dict[str, Member] = {}
    places, position = [], 0
    while position < len(directory):
        sign, flags, method, crc, packed, length, n, x, c, offset = _unpack(
            "<I4xHH4xIIIHHH8xI", directory[position : position + 46]
        )
        name = directory[position + 46 : position + 46 + n].decode()
        extra = directory[position + 46 + n : position + 46 + n + x]
        position += 46 + n + x + c
        packed, length, offset = _apply_zip64([packed, length, offset], extra)
        if sign != CENTRAL or position > len(directory):
            raise UnsupportedZip("its zip directory is damaged or cut short")
        if method != 0 or packed != length:
            raise UnsupportedZip(f"{name} is compressed to {packed} bytes of {length}, and torch.save never compresses")
        if flags & ~(SIZES_FOLLOW | UTF8):
            raise UnsupportedZip(f"{name} is encrypted, or marked as torch.save never does")
        data = _find_member_data(file, offset, name, flags, crc, length)
        members[name] = Member(data, length, crc)
        places.append((offset, data + length))
    places = [*sorted(places), (start, end)]
    if any(after < stop for (_, stop), (after, _) in pairwise(places)):
        raise UnsupportedZip("two of its members lie in one place, or one beyond the end")
    if len(places) - 1 != count or len({name.lower() for name in members}) != count:
        raise UnsupportedZip("its directory names a member twice, or counts others than it names")
    if len({name.partition("/")[0] for name in members}) > 1:
        raise UnsupportedZip("its members are in several folders")
    return members


def _read_directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Return (members, start, end) of a zip's directory; both end records of the file must agree."""
    position = size - 22
    end = _read_at(file, max(position, 0), 22)
    sign, disk, disk2, count, count2, length, start, comment = _unpack("<IHHHHIIH", end)
    if sign != END or comment:
        raise UnsupportedZip("it does not end like a zip: it was cut short, or data was appended")
    if position >= 76 and (locator := _read_at(file, position - 20, 20)).startswith(LOCATOR):
        position -= 76
        _, disk3, place, disks = _unpack("<IIQI", locator)
        sign, record_size, disk4, disk5, n, n2, length64, start64 = _unpack("<IQ4xIIQQQQ", _read_at(file, position, 56))
        pairs = [(count, n, _MAX16), (count2, n2, _MAX16), (length, length64, _MAX32), (start, start64, _MAX32)]
        if sign != END64 or record_size != 44 or place != position or disks > 1 or any((disk3, disk4, disk5)):
            raise UnsupportedZip("its directory is not where it says")
        if any(short not in (long, most) for short, long, most in pairs):
            raise UnsupportedZip("it tells two places of its directory")
        count, count2, length, start = n, n2, length64, start64
    if disk or disk2 or count != count2 or start + length != position:
        raise UnsupportedZip("its directory is not where it says")
    return count, start, position


def _apply_zip64(values: list[int], extra: bytes) -> list[int]:
    """Replace compressed size, size and offset of a zip member by their 64-bit fields where needed."""
    fields = []
    while extra:
        kind, length = _unpack("<HH", extra[:4])
        if kind == 1:
            fields.append(extra[4 : 4 + length])
        extra = extra[4 + length :]
    order = [i for i in (1, 0, 2) if values[i] == _MAX32]  # the field's order: size, packed size, offset
    if order:
        if len(fields) != 1:
            raise UnsupportedZip("a size in its directory is missing, or there twice")
        for i, value in zip(order, _unpack(f"<{len(order)}Q", fields[0][: 8 * len(order)]), strict=True):
            values[i] = value
    return values


def _find_member_data(file: BinaryIO, offset: int, name: str, flags: int, crc: int, length: int) -> int:
    """Return the position of a zip member's data.

    Its local header must agree with the directory, or leave its values out.
    """
    sign, flags2, method, crc2, packed, size, n, x = _unpack("<I2xHH4xIIIHH", _read_at(file, offset, 30))
    same = sign == LOCAL and (flags2, method) == (flags, 0) and _read_at(file, offset + 30, n) == name.encode()
    if flags & SIZES_FOLLOW:
        same &= crc2 in (0, crc) and packed in (0, length, _MAX32) and size in (0, length, _MAX32)
    else:
        same &= crc2 == crc and packed in (length, _MAX32) and size in (length, _MAX32)
    if not same:
        raise UnsupportedZip(f"{name} is another in its place than in the directory")
    return offset + 30 + n + x


def _read_at(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _unpack(form: str, data: bytes) -> tuple[int, ...]:
    return struct.unpack(form, data)
