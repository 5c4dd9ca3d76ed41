"""The sources of libplif, for tests that compile it in their own way."""

from pathlib import Path

NATIVE = Path(__file__).parent.parent / "runtime" / "native"
SOURCES = tuple(path for path in sorted(NATIVE.rglob("*.c")) if not {"examples", "build"} & set(path.parts[-3:]))
