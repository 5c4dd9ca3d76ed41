"""Pictures without a library of pictures: arrays as PNG, and events as colours."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

ON, OFF = "#1f6fb4", "#d1495b"


def event_picture(frame: np.ndarray) -> np.ndarray:
    """Counts of events float32 [2, H, W] (OFF, ON) -> an image float64 [H, W, 3] in 0..1: ON blue, OFF red, on white."""
    image = np.ones((*frame.shape[1:], 3))
    for channel, colour in ((0, OFF), (1, ON)):
        strength = np.clip(frame[channel] / max(float(np.percentile(frame, 99)), 1.0), 0, 1)[..., None]
        image -= strength * (1 - rgb(colour))
    return np.clip(image, 0, 1)


def input_picture(x: np.ndarray) -> np.ndarray:
    """An input float32 [C, H, W] as an image float64 [H, W, 3] in 0..1: two channels are events, three colours, one is grey."""
    if len(x) == 2:
        return event_picture(x)
    low, high = float(x.min()), float(x.max())
    image = (x - low) / (high - low) if high > low else np.zeros_like(x)
    return np.moveaxis(np.repeat(image[:1], 3, 0) if len(x) < 3 else image[:3], 0, 2)


def rgb(colour: str) -> np.ndarray:
    """ "#1f6fb4" -> float64 [3] in 0..1"""
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def png(image: np.ndarray) -> bytes:
    """An image float64 [H, W, 3] in 0..1 as the bytes of a PNG file (8 bits a colour)."""
    pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # filter 0 each
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def data_uri(image: np.ndarray) -> str:
    """The PNG of an image float64 [H, W, 3] as an address that a page can hold in itself."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()
