"""libplif for web pages: `make wasm`, or python docs/wasm.py, after every change of the C sources (it needs ziglang from PyPI).

Writes plif_export/targets/web_page/page/libplif.wasm, the whole library, which ships with the package, so that no compiler is
needed where a page is made. It says in a section of its own of which sources it was built; test_wasm.py of its tests compares.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build_backend import ZIGLANG  # noqa: E402
from runtime.core.base.errors import PlifError  # noqa: E402
from runtime.core.base.files import atomic_write  # noqa: E402

NATIVE = ROOT / "runtime" / "native"
PLACE = ROOT / "plif_export" / "targets" / "web_page" / "page" / "libplif.wasm"
SECTION = "plif.sources"
# As in runtime/native/Makefile; no thread is ever begun, and there is no file system behind the calls of WASI.
FLAGS = (
    *("-target", "wasm32-wasi", "-mexec-model=reactor", "-msimd128", "-O3", "-g0", "-s"),
    *("-std=gnu11", "-ffp-contract=off", "-fvisibility=hidden", "-w"),  # other builds of it read the warnings
    *("-D_WASI_EMULATED_GETPID", "-lwasi-emulated-getpid"),
    *("-Wl,--export-dynamic", "-Wl,--export=malloc", "-Wl,--export=free"),
    *(
        "-Wl,-z,stack-size=1048576",
        "-Wl,--max-memory=2147483648",
    ),  # addresses below 2 GiB are no negative numbers in JavaScript
)


def sources() -> list[str]:
    """Return the sources of libplif with its headers, below runtime/native."""
    found = (path.relative_to(NATIVE) for path in NATIVE.rglob("*.[ch]"))
    return sorted(path.as_posix() for path in found if path.parts[0] not in ("examples", "build"))


def digest() -> str:
    """SHA-256 of the sources, their names, and how they are compiled."""
    sum_ = hashlib.sha256("\0".join(FLAGS).encode())
    for name in sources():
        content = (NATIVE / name).read_bytes()
        sum_.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return sum_.hexdigest()


def build(to: Path = PLACE) -> Path:
    """Compiles the library. Raises PlifError where ziglang is not installed, and for what it refuses."""
    if importlib.util.find_spec("ziglang") is None:
        raise PlifError(f"libplif.wasm is built with ziglang, which is not installed: pip install '{ZIGLANG}'")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "libplif.wasm"
        names = [name for name in sources() if name.endswith(".c")]
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *names, "-o", str(made)]
        cache = {"ZIG_GLOBAL_CACHE_DIR": os.environ.get("ZIG_GLOBAL_CACHE_DIR", f"{folder}/cache")}
        done = subprocess.run(command, cwd=NATIVE, env={**os.environ, **cache}, capture_output=True, text=True)
        if done.returncode:
            raise PlifError(f"ziglang does not compile libplif for WebAssembly: {done.stderr.strip()[:2000]}")
        text = f"{digest()} ziglang {version('ziglang')}"
        with atomic_write(to) as (target,):
            target.write_bytes(made.read_bytes() + _section(SECTION, text.encode()))
    return to


def built_from(module: bytes) -> str:
    """Return digest and compiler from the section of a module. Raise PlifError if it has none."""
    at = module.rfind(SECTION.encode())
    if at < 0:
        raise PlifError("libplif.wasm does not say of which sources it was built: make wasm")
    return module[at + len(SECTION) :].decode("ascii", "replace")


def _section(name: str, content: bytes) -> bytes:
    """Return a custom section of a WebAssembly module: 0, its size, the size of its name, the name, the content."""
    body = _leb128(len(name)) + name.encode() + content
    return b"\0" + _leb128(len(body)) + body


def _leb128(n: int) -> bytes:
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + _leb128(n >> 7)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=PLACE)
    try:
        path = build(parser.parse_args().out)
    except PlifError as error:
        sys.exit(str(error))
    print(f"{path}  {path.stat().st_size} bytes")
