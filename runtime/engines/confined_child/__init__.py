"""Decides which artifacts are opened in a confined process: --confined auto, on or off.

ONNX Runtime and OpenVINO read a graph in C++, and had errors of their own. With `auto` a graph is opened in this process
only if the user gave the SHA-256 of the file, or if plif wrote the file for this user. The digest in a card proves nothing
here: a forger writes it as well. The event engine reads no graph, and PyTorch gets tensors only.

What plif wrote for this user is a list of SHA-256, a line each, in the user's state folder:

    $XDG_STATE_HOME/plif/written.sha256      by default ~/.local/state/plif/written.sha256

It lies outside of all artifacts, so nobody who sends a file can add to it. A line is added in one write. A list of MOST lines
loses its older half; these artifacts are then opened as those of others, and so is one whose line two processes lost in a
race. Without a home folder there is no list.
"""

from __future__ import annotations

import os
import re
import warnings
from contextlib import suppress
from pathlib import Path

from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.base.files import atomic_write, hash_artifact, read_regular
from runtime.core.engines import Engine

MOST = 10_000  # lines of 65 bytes: 650 kB
LINE = 65  # bytes of a line: 64 digits, and its end


def choose_confinement(path: Path, options: EngineOptions) -> bool:
    """Return whether the graph of an artifact must be opened in a confined process."""
    if options.confined != "auto":
        return options.confined == "on"
    return options.sha256 is None and not has_written(hash_artifact(path)[1])


def confine_engine(engine: type[Engine], path: Path, options: EngineOptions) -> type[Engine]:
    """Return the engine class that opens an artifact: the given one, or the same in a confined process.

    Warns with --confined off. Raises PlifError with --confined on for an engine that cannot be confined.
    """
    if not engine.opens_graphs:
        return engine
    if options.confined == "off":
        warnings.warn(f"{path}: engine {engine.name} opens it in this process (--confined off)", PlifWarning, 2)
        return engine
    if engine.on_gpu:
        if options.confined == "on":
            raise PlifError(
                f"{path}: engine {engine.name} needs the GPU, which a confined process does not reach; "
                "use --engine onnxruntime, or --confined off if you trust the file"
            )
        return engine
    if not choose_confinement(path, options):
        return engine
    from runtime.engines.confined_child.engine import ConfinedEngine

    return type(f"Confined{engine.__name__}", (ConfinedEngine, engine), {})


def find_list() -> Path | None:
    """Return the place of the list, which need not exist; None without a home folder."""
    if os.path.isabs(state_home := os.environ.get("XDG_STATE_HOME", "")):  # the XDG rule: a relative path is ignored
        return Path(state_home, "plif", "written.sha256")
    with suppress(RuntimeError):
        return Path.home() / ".local" / "state" / "plif" / "written.sha256"
    return None


def has_written(sha256: str) -> bool:
    """Return whether plif wrote an artifact with this SHA-256 for this user."""
    file = find_list()
    return file is not None and sha256 in _read_lines(file)


def record_written(sha256: str) -> None:
    """Add the SHA-256 of an artifact that plif has written; without a place to write, nothing."""
    file = find_list()
    lines = [] if file is None else _read_lines(file)
    if file is None or sha256 in lines:
        return
    with suppress(OSError, PlifError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if 0 < len(lines) < MOST:
            place = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(place, "wb", buffering=0) as opened:
                opened.write(f"{sha256}\n".encode())
        else:
            with atomic_write(file) as (part,):
                part.write_text("".join(f"{line}\n" for line in [*lines[-MOST // 2 :], sha256]))


def _read_lines(file: Path) -> list[str]:
    """Read the SHA-256 of all artifacts in the list, the oldest first; none if it cannot be read or is too large."""
    try:
        if file.stat().st_size > 2 * MOST * LINE:
            return []
        return re.findall(r"^[0-9a-f]{64}$", read_regular(file).decode("ascii", "replace"), re.MULTILINE)
    except (OSError, PlifError):
        return []
