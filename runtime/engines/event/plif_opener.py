"""Opens a .plif file as libplif does, in C, and gives the program to the engine."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np

from runtime import native
from runtime.base.errors import PlifError
from runtime.engines.event.layout import aligned
from runtime.engines.event.plif_writer import facts_of
from runtime.model.card import Card
from runtime.model.readers.plif_file import read_bytes
from runtime.model.readers.plif_program import read_plif

KEEP_SUBNORMALS = 2  # plif.h


def open_program(path: Path, card: Card, cpu: str | None, flush: bool) -> tuple[native.Program, np.ndarray]:
    """(the program, the bytes [n] that it lies in, to be kept as long). Raises PlifError where the file may not be run.

    cpu  the path to run; None for the fastest that the file and this processor have
    """
    if (said := read_plif(path).facts) != facts_of(card):
        raise PlifError(f"{path}: says {said} beside its card, which says otherwise; export it again")
    library = native.library()
    data = np.frombuffer(read_bytes(path), np.uint8)
    bytes_ = aligned(data.shape, np.uint8)  # a copy: a file that changes while it is open changes nothing here
    bytes_[:] = data
    flags = 0 if flush else KEEP_SUBNORMALS
    model = library.plif_open_for(
        bytes_.ctypes.data, bytes_.nbytes, flags, -1 if cpu is None else native.PATHS.index(cpu)
    )
    if not model:
        raise PlifError(f"{path}: {library.plif_error_text().decode('ascii', 'replace')}")
    weakref.finalize(bytes_, library.plif_close, model)
    return native.Program.from_address(library.plif_model_program(model)), bytes_
