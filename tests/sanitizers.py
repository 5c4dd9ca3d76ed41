"""The sanitizers under which tests build native code: clang's, which also find a float that no integer holds, else gcc's."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest


class Sanitizers(NamedTuple):
    """A compiler, its flags, and the library that a process has to load before it opens a library built with them."""

    compiler: str
    flags: tuple[str, ...]
    runtime: str


CHECKS = {"clang": "address,undefined,float-cast-overflow", "gcc": "address,undefined"}
SHARED = {"clang": ("-shared-libasan", "-Wno-unused-command-line-argument"), "gcc": ()}
RUNTIMES = {"clang": f"libclang_rt.asan-{platform.machine()}.so", "gcc": "libasan.so"}


# gcc 12 and older put vectors of 64 bytes at addresses of 32 on the stack of that detector (gcc's bug 110027)
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


@cache
def find_sanitizers() -> Sanitizers | None:
    """None where no compiler has them: clang may lack its runtime (Debian: libclang-rt-dev)."""
    for name, checks in CHECKS.items():
        flags = ("-g1", f"-fsanitize={checks}", "-fno-sanitize-recover=all", *SHARED[name])
        if (compiler := shutil.which(name)) is None or platform.machine() != "x86_64":
            continue
        command = [compiler, f"-print-file-name={RUNTIMES[name]}"]
        runtime = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        with tempfile.TemporaryDirectory() as folder:
            flags += (f"-Wl,-rpath,{Path(runtime).parent}",)
            command = [compiler, *flags, "-x", "c", "-", "-o", f"{folder}/program"]
            if subprocess.run(command, input=b"int main(void) { return 0; }", capture_output=True).returncode == 0:
                return Sanitizers(compiler, flags, runtime)
    return None


needs_sanitizers = pytest.mark.skipif(
    find_sanitizers() is None, reason="no sanitizers here: apt-get install clang libclang-rt-dev, or gcc, on x86-64"
)
