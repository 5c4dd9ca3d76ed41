"""Opens a program that is in an artifact, as libplif does, in C, and gives it to the engine."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np

from runtime import native
from runtime.base.errors import PlifError
from runtime.engines.event.layout import aligned
from runtime.model.artifacts import kind_of
from runtime.model.card import Card

KEEP_SUBNORMALS = 2  # plif.h


def open_program(path: Path, card: Card, cpu: str | None, flush: bool) -> tuple[native.Program, np.ndarray]:
    """(the program, the bytes [n] that it lies in, to be kept as long). Raises PlifError where the file may not be run.

    cpu  the path to run; None for the fastest that the file and this processor have
    """
    library = native.library()
    data = np.frombuffer(kind_of(path).read_program(path, card), np.uint8)
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
