"""confusion.png: drawn without a library, each count and each name where it belongs."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from runtime.observers.evaluation_report.png import MAX_CLASSES, draw_confusion_image, encode_png, render_text


def places(dark: np.ndarray, text: str) -> list[tuple[int, int]]:
    """(row, column) of each place where a text stands, in characters' pixels."""
    pixels = render_text(text)
    same = (sliding_window_view(dark, pixels.shape) == pixels).all((2, 3))
    return [(int(y), int(x)) for y, x in np.argwhere(same)]


def test_a_count_stands_in_the_row_of_its_class_and_the_column_of_the_answer() -> None:
    image = draw_confusion_image(np.array([[3, 71], [5, 84]]), ["cat", "dog"], "pets")[::2, ::2]
    black, white = (image == 0).all(2), (image == 1).all(2)
    (few,), (five,) = places(black, "3"), places(black, "5")
    (most,), (right,) = places(white, "71"), places(white, "84")  # white on dark: more than half of their rows
    (cat,), (dog,), (title,) = (places(black, text) for text in ("cat", "dog", "pets"))
    assert few[0] == most[0] == cat[0] < five[0] == right[0] == dog[0] and title[0] < cat[0]
    assert abs(few[1] - five[1]) <= 3 and abs(most[1] - right[1]) <= 3 and cat[1] < few[1] < most[1]
    assert len(places(np.rot90(black, -1), "cat")) == 1, "the name of a column is turned"


def test_a_matrix_of_many_classes_fits_the_memory() -> None:
    assert draw_confusion_image(np.eye(MAX_CLASSES + 1, dtype=int), [""] * (MAX_CLASSES + 1), "").size < 1e6


def test_a_confusion_is_drawn_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    drawn = encode_png(draw_confusion_image(np.array([[1, 0], [0, 1]]), ["a", "b"], "digits"))
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"


def test_names_that_are_no_text_are_drawn_all_the_same() -> None:
    names = ["\033[2J", "a\n", "=HYPERLINK(1)", "$x$", "\u202e", "\ud800", "", " ", "ü", 'a,"b"']
    assert len(encode_png(draw_confusion_image(np.eye(10, dtype=int), names, "$x$\033[2J\n"))) > 1000
