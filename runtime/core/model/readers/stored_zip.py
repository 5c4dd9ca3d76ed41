"""Where the members of a zip lie that torch.save wrote: stored, not deflated, each in a place of its own.

    local header, name, extra, data [, sizes again]     once a member
    central header, name, extra                         once a member: the directory
    [the directory's place in 64 bits, and where that stands]
    the directory's place                               the last 22 bytes of the file

Programs that read zips differ in what they believe where these tell different things, and a member that is deflated may be
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
MOST_DIRECTORY = 4 << 20  # bytes: some 50,000 members
SIZES_FOLLOW, UTF8 = 0x0008, 0x0800  # the two flags that torch.save sets
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF


class NotPlain(Exception):
    """The zip is damaged, or not of the form that torch.save writes; the message is half a sentence."""


class Member(NamedTuple):
    """Where the data of a member lie in the file, in bytes, and their CRC-32."""

    start: int
    size: int
    crc: int


class Stored:
    """The members of an open zip, by name. Raises NotPlain."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        try:
            self.members = _read_members(file, file.seek(0, io.SEEK_END))
        except (struct.error, UnicodeDecodeError):
            raise NotPlain("its directory is damaged or cut short") from None
        self._unread = set(self.members)

    def read(self, name: str, into: memoryview | None = None) -> bytes:
        """The bytes of a member; none where there are so many to read them into. Raises NotPlain where their sum is another."""
        member = self.members[name]
        data = memoryview(bytearray(member.size)) if into is None else into
        self.file.seek(member.start)
        if self.file.readinto(data) != member.size or zlib.crc32(data) != member.crc:  # type: ignore[attr-defined]
            raise NotPlain(f"{name} was damaged: its bytes do not have the sum that its directory says")
        self._unread.discard(name)
        return b"" if into is not None else bytes(data)

    def check_rest(self) -> None:
        """Reads the members that nobody has read."""
        for name in sorted(self._unread):
            self.read(name)


def _read_members(file: BinaryIO, size: int) -> dict[str, Member]:
    count, start, end = _directory(file, size)
    if end - start > MOST_DIRECTORY:
        raise NotPlain(f"its directory claims {end - start} bytes; expected under {MOST_DIRECTORY}")
    directory = _read(file, start, end - start)
    members: dict[str, Member] = {}
    places, at = [], 0
    while at < len(directory):
        sign, flags, method, crc, packed, length, n, x, c, offset = _unpack(
            "<I4xHH4xIIIHHH8xI", directory[at : at + 46]
        )
        name = directory[at + 46 : at + 46 + n].decode()
        extra = directory[at + 46 + n : at + 46 + n + x]
        at += 46 + n + x + c
        packed, length, offset = _in_64_bits([packed, length, offset], extra)
        if sign != CENTRAL or at > len(directory):
            raise NotPlain("its directory is damaged or cut short")
        if method != 0 or packed != length:
            raise NotPlain(f"{name} is compressed to {packed} bytes of {length}, and torch.save never compresses")
        if flags & ~(SIZES_FOLLOW | UTF8):
            raise NotPlain(f"{name} is encrypted, or marked as torch.save never does")
        data = _local(file, offset, name, flags, crc, length)
        members[name] = Member(data, length, crc)
        places.append((offset, data + length))
    places = [*sorted(places), (start, end)]
    if any(after < stop for (_, stop), (after, _) in pairwise(places)):
        raise NotPlain("two of its members lie in one place, or one beyond the end")
    if len(places) - 1 != count or len({name.lower() for name in members}) != count:
        raise NotPlain("its directory names a member twice, or counts others than it names")
    if len({name.partition("/")[0] for name in members}) > 1:
        raise NotPlain("its members are in several folders")
    return members


def _directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """(number of members, start of the directory, its end), as both records at the end of the file say."""
    at = size - 22
    end = _read(file, max(at, 0), 22)
    sign, disk, disk2, count, count2, length, start, comment = _unpack("<IHHHHIIH", end)
    if sign != END or comment:
        raise NotPlain("it does not end as a zip does: it was cut short, or something was added to it")
    if at >= 76 and (locator := _read(file, at - 20, 20)).startswith(LOCATOR):
        at -= 76
        _, disk3, place, disks = _unpack("<IIQI", locator)
        sign, own, disk4, disk5, n, n2, length64, start64 = _unpack("<IQ4xIIQQQQ", _read(file, at, 56))
        told = [(count, n, _MAX16), (count2, n2, _MAX16), (length, length64, _MAX32), (start, start64, _MAX32)]
        if sign != END64 or own != 44 or place != at or disks > 1 or any((disk3, disk4, disk5)):
            raise NotPlain("its directory is not where it says")
        if any(short not in (long, most) for short, long, most in told):
            raise NotPlain("it tells two places of its directory")
        count, count2, length, start = n, n2, length64, start64
    if disk or disk2 or count != count2 or start + length != at:
        raise NotPlain("its directory is not where it says")
    return count, start, at


def _in_64_bits(values: list[int], extra: bytes) -> list[int]:
    """packed size, size and offset, each from the field of 64 bits where it does not fit into 32."""
    fields = []
    while extra:
        kind, length = _unpack("<HH", extra[:4])
        if kind == 1:
            fields.append(extra[4 : 4 + length])
        extra = extra[4 + length :]
    order = [i for i in (1, 0, 2) if values[i] == _MAX32]  # the field's order: size, packed size, offset
    if order:
        if len(fields) != 1:
            raise NotPlain("a size in its directory is missing, or there twice")
        for i, value in zip(order, _unpack(f"<{len(order)}Q", fields[0][: 8 * len(order)]), strict=True):
            values[i] = value
    return values


def _local(file: BinaryIO, offset: int, name: str, flags: int, crc: int, length: int) -> int:
    """Where a member's data begin. Its local header has to say what the directory says, or nothing."""
    sign, flags2, method, crc2, packed, size, n, x = _unpack("<I2xHH4xIIIHH", _read(file, offset, 30))
    same = sign == LOCAL and (flags2, method) == (flags, 0) and _read(file, offset + 30, n) == name.encode()
    if flags & SIZES_FOLLOW:
        same &= crc2 in (0, crc) and packed in (0, length, _MAX32) and size in (0, length, _MAX32)
    else:
        same &= crc2 == crc and packed in (length, _MAX32) and size in (length, _MAX32)
    if not same:
        raise NotPlain(f"{name} is another in its place than in the directory")
    return offset + 30 + n + x


def _read(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)


def _unpack(form: str, data: bytes) -> tuple[int, ...]:
    return struct.unpack(form, data)
