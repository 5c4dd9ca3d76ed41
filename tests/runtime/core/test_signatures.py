"""What Python hands to libplif has the types that C's prototypes say, which are told once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from runtime.native.signatures import DOUBLE, I32, I64, INT, SIGNATURES, SIZE, TEXT, U64, UINT, P

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "runtime" / "native"
PROTOTYPE = re.compile(
    r"^(?:PLIF_API |COLD )?((?:const )?\w+(?: \w+)?[ *]+)(plif_\w+)\(([^()]*)\)\s*[;{]", re.MULTILINE
)
NUMBERS = {"int": INT, "unsigned": UINT, "int32_t": I32, "int64_t": I64, "uint64_t": U64, "size_t": SIZE}
NUMBERS |= {"double": DOUBLE, "void": None}


def type_of(text: str) -> Any:
    """'const float *x' -> the type that ctypes needs."""
    if re.fullmatch(r"const char \*\w*", text):
        return TEXT
    return P if re.search(r"[*\[]", text) else NUMBERS[text.split()[0]]


def prototypes() -> dict[str, tuple[Any, ...]]:
    """Of every function that has one in a header; of the others, where they are written."""
    found: dict[str, tuple[Any, ...]] = {}
    for pattern in ("*.c", "*.h"):
        for path in sorted(NATIVE.rglob(pattern)):
            for result, name, arguments in PROTOTYPE.findall(path.read_text()):
                if name in SIGNATURES:
                    given = [text.strip() for text in arguments.split(",") if text.strip() != "void"]
                    found[name] = (type_of(result.strip()), *map(type_of, given))
    return found


def test_every_signature_is_that_of_its_prototype_in_c() -> None:
    assert len(SIGNATURES) > 50 and prototypes() == SIGNATURES


def test_no_other_file_says_the_types_of_a_function_of_libplif() -> None:
    others = {
        "runtime/native/__init__.py",
        "runtime/engines/tensorrt_plan/cuda.py",
        "runtime/datasets/simulated_camera/native/__init__.py",
        "tests/fuzz/room.py",
    }  # typed; CUDA; the simulated camera; libc
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("runtime", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\.(argtypes|restype)\b", path.read_text()) and path != Path(__file__)
    }
    assert found == {name for name in others if (ROOT / name).exists()}  # a part may have been removed
