"""Events in a NumPy .npy file: one structured array [N] with t, x, y, p, read in pieces.

Nothing is unpickled, as in .npz.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.formats.base import Losses, Recording, read_chunks
from runtime.formats.columns import check_integer_dtypes, columns_to_events, find_event_columns
from runtime.formats.npz import npz


def open_recording(path: Path) -> Recording:
    with open(path, "rb") as file:
        try:
            shape, dtype, header = npz.read_npy_header(str(path), file)
        except PlifError:
            raise
        except Exception:  # NumPy does not document its exceptions for damaged bytes
            raise PlifError(f"{path}: not a complete .npy file: its header is damaged") from None
    columns = find_event_columns(dtype.names or ())
    if len(shape) != 1 or columns is None or dtype.hasobject or not 0 < dtype.itemsize <= npz.EVENT_LIMIT:
        raise PlifError(
            f"{path}: shape {shape} of dtype {str(dtype)[:80]}; expected one structured array of events [N] with t, x, y, p, "
            "or an .npz with these four arrays: np.savez(OUT, t=t, x=x, y=y, p=p)"
        )
    fields = tuple((dtype.names or ())[columns[field]] for field in "txyp")
    check_integer_dtypes(path, {name: dtype[name] for name in fields})
    if not 0 <= shape[0] < 1 << 48:
        raise PlifError(f"{path}: its header claims {str(shape[0])[:30]} events: the file is damaged, get it again")
    if not shape[0]:
        raise PlifError(f"{path}: the array is empty: no events")
    return Recording("npy", lambda losses: _decode(path, header, shape[0], dtype, fields, losses))


def _decode(
    path: Path, offset: int, count: int, dtype: np.dtype, fields: tuple[str, ...], losses: Losses
) -> Iterator[np.ndarray]:
    read_rows = 0
    for chunk in read_chunks(path, offset, dtype.itemsize, losses):
        rows = chunk.view(dtype)[: count - read_rows]  # bytes after the array do not belong to it
        read_rows += len(rows)
        t, x, y, p = (rows[name] for name in fields)
        yield columns_to_events(t, x, y, p, losses)
    losses.add(count - read_rows, "cut off at the end of the file")
