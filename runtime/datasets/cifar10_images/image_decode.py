"""A program that decodes PNG and JPEG images from standard input, run as a child process (set.py).

Each input image has its size before it (uint64 LE). The answer to each, on standard output: height, width, length of
the error message (uint32 LE); then the pixels, height x width x RGB, or the message, where the height is 0.
"""

from __future__ import annotations

import struct
import sys
from io import BytesIO

from runtime.formats.child.children import limit_resources

MOST_SIDE = 4096
MEMORY = 512 << 20  # bytes: several images of the largest size


def decode_image(data: bytes) -> bytes:
    """Decode an image file to the bytes that the child process answers: pixels, or an error message.

    Pillow may raise any exception for invalid images, or for those that claim to be huge.
    """
    try:
        from PIL import Image

        with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as image:
            if max(image.size) > MOST_SIDE:
                raise ValueError(f"{image.size[0]} x {image.size[1]} pixels, expected 32 x 32")
            pixels = image.convert("RGB").tobytes()
            return struct.pack("<III", image.height, image.width, 0) + bytes(pixels)
    except Exception as error:
        message = " ".join(str(error).partition(" <")[0].split()).encode() or type(error).__name__.encode()
        return struct.pack("<III", 0, 0, len(message[:500])) + message[:500]


if __name__ == "__main__":
    limit_resources(int(sys.argv[1]), MEMORY)
    while len(head := sys.stdin.buffer.read(8)) == 8:
        sys.stdout.buffer.write(decode_image(sys.stdin.buffer.read(int.from_bytes(head, "little"))))
        sys.stdout.buffer.flush()
