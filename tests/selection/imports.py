"""What a test file imports: whether it is light enough for `make quick`, and whether it uses a part that was removed."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# What takes seconds to import, to start or to simulate. A test file that imports one of these, itself or through another file of
# tests/, is left out of `make quick`, except for its tests that are marked `quick`.
SLOW = (
    *("torch", "plif_train", "plif_export", "subprocess", "multiprocessing", "socket", "threading"),
    *("runtime.datasets.gesture_sim.simulate_gesture", "runtime.datasets.performers.performance"),
)
OURS = ("tests", "bench", "docs", "examples")  # folders whose files tests import, beside the product


@functools.cache
def list_imports(path: Path) -> frozenset[str]:
    """Return what a file imports, wherever it stands in it: modules, and names of them; nothing if it is no Python."""
    found: set[str] = set()
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except SyntaxError:  # pytest reports it
        return frozenset()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


@functools.cache
def list_helpers(path: Path) -> frozenset[Path]:
    """Return the files of OURS that a file imports, itself or through another; tests/conftest.py is left out."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        for name in list_imports(waiting.pop()):
            if name.partition(".")[0] in OURS and name != "tests.conftest":
                module = REPOSITORY / name.replace(".", "/")
                for file in (module.with_suffix(".py"), module / "__init__.py"):
                    if file.is_file() and file not in found:
                        found.add(file)
                        waiting.append(file)
    return frozenset(found)


@functools.cache
def is_light(path: Path) -> bool:
    """Return whether a test file imports nothing of SLOW, wherever it stands in it and in its helpers in tests/."""
    helpers = {file for file in list_helpers(path) if file.is_relative_to(REPOSITORY / "tests")}
    names = frozenset().union(*map(list_imports, (path, *helpers)))
    return not any(f"{name}.".startswith(f"{slow}.") for name in names for slow in SLOW)


@functools.cache
def uses_removed_part(path: Path) -> bool:
    """Return whether a test file, or a helper of it, imports from a folder of parts one that is not there."""
    helpers = (file for file in list_helpers(path) if file.relative_to(REPOSITORY).parts[0] in ("tests", "bench"))
    return any(map(_imports_removed_part, (path, *helpers)))


@functools.cache
def _imports_removed_part(path: Path) -> bool:
    for name in list_imports(path):
        package, *inside = name.split(".")
        if package not in OURS and len(inside) > 1 and is_folder_of_parts(f"{package}/{inside[0]}"):
            part = REPOSITORY / package / inside[0] / inside[1]
            of_init = len(inside) == 2 and (part.parent / "__init__.py").exists()  # a name that the folder gives itself
            if not of_init and not part.is_dir() and not part.with_suffix(".py").exists():
                return True
    return False


@functools.cache
def is_folder_of_parts(name: str) -> bool:
    return next((REPOSITORY / name).glob("*/part.py"), None) is not None
