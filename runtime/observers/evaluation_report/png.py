"""Pictures without an image library: arrays as PNG, and events as colours."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from runtime.core.base.text import printable

MAX_NAME = 60  # characters of a name in a picture
MAX_CLASSES = 100  # with names and numbers
ON, OFF = "#1f6fb4", "#d1495b"
HEIGHT = 8  # pixels of a character
# A small font: ASCII in 5 x 8 pixels and a gap, any other character a box.
# Each character from the blank to "~" has five columns from the left; bit 0 of a column is the top pixel.
_COLUMNS = bytes.fromhex(
    "000000000000005f00000007000700147f147f14242a7f2a12231308646236495620500000070000001c2241000041221c00"
    "2a1c7f1c2a08083e080800806000000808080808000060000020100804023e4149413e00427f400062514949462241494936"
    "1814127f1027454545393e4949493201710905033649494936264949493e0000240000008064000008142241001414141414"
    "004122140802015109063e415d551e7c1211127c7f494949363e414141227f4141413e7f494949417f090909013e4149493a"
    "7f0808087f00417f4100204040403f7f081422417f404040407f020c027f7f0408107f3e4141413e7f090909063e4151215e"
    "7f09192946264949493201017f01013f4040403f1f2040201f3f4038403f631408146303047804036151494543007f414100"
    "02040810200041417f0004020102048080808080000102040020545454787f444444383844444428384444447f3854545418"
    "087e09010218a4a4a47c7f0404047800447d40004080847d007f1028440000417f40007c047804787c040404783844444438"
    "fc2424241818242424fc7c080404084854545424043f4444203c4040407c1c2040201c3c4030403c44281028441ca0a0a07c"
    "4464544c44083641410000007f000000414136080804081008"
)
_BOX = bytes((0x7F, 0x41, 0x41, 0x41, 0x7F))


def draw_events(frame: np.ndarray) -> np.ndarray:
    """Draw event counts float32 [2, H, W] (OFF, ON) as an image float64 [H, W, 3] in 0..1: ON blue, OFF red.

    The background is white.
    """
    image = np.ones((*frame.shape[1:], 3))
    for channel, colour in ((0, OFF), (1, ON)):
        strength = np.clip(frame[channel] / max(float(np.percentile(frame, 99)), 1.0), 0, 1)[..., None]
        image -= strength * (1 - parse_colour(colour))
    return np.clip(image, 0, 1)


def draw_input(x: np.ndarray) -> np.ndarray:
    """Draw a network input float32 [C, H, W] as an image float64 [H, W, 3] in 0..1.

    Two channels are events, three are colours, one is grey.
    """
    if len(x) == 2:
        return draw_events(x)
    low, high = float(x.min()), float(x.max())
    image = (x - low) / (high - low) if high > low else np.zeros_like(x)
    return np.moveaxis(np.repeat(image[:1], 3, 0) if len(x) < 3 else image[:3], 0, 2)


def draw_confusion_image(counts: np.ndarray, names: Sequence[str], title: str) -> np.ndarray:
    """Draw a confusion matrix, int [true, predicted], as an image float64 [H, W, 3] in 0..1.

    Darker is a larger share of the row. With more than MAX_CLASSES classes it has only the shares, a pixel each.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    if len(counts) > MAX_CLASSES:
        return np.asarray(1 - shares[..., None] * (1 - parse_colour(ON)))
    labels = [render_text(printable(name, MAX_NAME)) for name in names]
    numbers = [[render_text(str(n) if n else "") for n in row] for row in counts.tolist()]
    n, head, label = len(counts), render_text(printable(title)), max(label.shape[1] for label in labels)
    cell = max(14, 4 + max(number.shape[1] for row in numbers for number in row))
    margin, top, end = label + 6, HEIGHT + 6, label + 6 + n * cell
    image = np.ones((top + n * cell + label + 6, max(end, head.shape[1]) + 4, 3))
    _draw_text(image, head, 2, 2)
    for i, share in enumerate(shares):
        _draw_text(image, labels[i], top + i * cell + (cell - HEIGHT) // 2, margin - 3 - labels[i].shape[1])
        _draw_text(image, np.rot90(labels[i]), top + n * cell + 3, margin + i * cell + (cell - HEIGHT) // 2)
        for j, number in enumerate(numbers[i]):
            y, x = top + i * cell, margin + j * cell
            image[y : y + cell - 1, x : x + cell - 1] = 1 - (0.04 + 0.96 * share[j]) * (1 - parse_colour(ON))
            y, x = y + (cell - HEIGHT) // 2, x + (cell - number.shape[1]) // 2
            _draw_text(image, number, y, x, 1.0 if share[j] > 0.5 else 0.0)
    return image.repeat(2, 0).repeat(2, 1)


def _draw_text(image: np.ndarray, pixels: np.ndarray, y: int, x: int, grey: float = 0.0) -> None:
    """Draw text pixels, bool [h, w], into an image [H, W, 3] at (y, x)."""
    image[y : y + pixels.shape[0], x : x + pixels.shape[1]][pixels] = grey


def parse_colour(colour: str) -> np.ndarray:
    """Parse a colour such as "#1f6fb4" as float64 [3] in 0..1."""
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def encode_png(image: np.ndarray) -> bytes:
    """Encode an image float64 [H, W, 3] in 0..1 as the bytes of a PNG file (8 bits a colour)."""
    pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # filter 0 each
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def to_data_uri(image: np.ndarray) -> str:
    """Encode an image float64 [H, W, 3] as a PNG data URI, which a page can embed."""
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()


def render_text(text: str) -> np.ndarray:
    """Return the pixels of a line of text, bool [8, 6 n] for n characters."""
    places = [5 * (ord(char) - ord(" ")) for char in text]
    columns = b"".join(
        (_COLUMNS[offset : offset + 5] if 0 <= offset < len(_COLUMNS) else _BOX) + b"\0" for offset in places
    )
    return np.unpackbits(np.frombuffer(columns, np.uint8)[None], axis=0, bitorder="little").astype(bool)
