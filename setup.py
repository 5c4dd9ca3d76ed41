"""What pyproject.toml cannot say: native code, built with the package.

libplif (_event: the event engine, and the rules that make events frames and frames decisions), and what parts say that they have
(NATIVE in their part.py).

Plain C through setuptools' own build_ext: no build dependency beyond a compiler, which build_backend.py brings where there is
none, and none at run time. The library is opened with ctypes, so it contains no Python and needs no Python headers. Without
libplif nothing is installed; `optional`: without that of a part the package installs and says so in one line.
"""

import ast
import importlib.util
import os
import shlex
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

from build_backend import ZIGLANG, find_compiler

NATIVE = Path("runtime/native")  # libplif, which its Makefile builds for programs without Python
LIBPLIF = [path for path in sorted(NATIVE.rglob("*.c")) if not {"examples", "build"} & set(path.parts)]

# without 18 kB that only debuggers and C++ read, and 4 kB between functions
SMALL = ("-fno-asynchronous-unwind-tables", "-falign-functions=1")


ZIG = f"{shlex.quote(sys.executable)} -m ziglang cc -mcpu=baseline"  # else for the very processor that it runs on
ADVICE = f"install gcc or clang with its headers (Debian: gcc libc6-dev), or '{ZIGLANG}' with pip, and then plif again"


class BuildNative(build_ext):
    def run(self) -> None:
        compiler = find_compiler() or (ZIG if importlib.util.find_spec("ziglang") else None)
        if compiler is None:
            raise SystemExit(f"plif: no C compiler here, and plif needs its native library, libplif: {ADVICE}")
        with tempfile.TemporaryDirectory() as cache:  # zig keeps a C library that it has built
            os.environ.update(CC=compiler, ZIG_GLOBAL_CACHE_DIR=cache)
            super().run()

    def build_extension(self, ext: Extension) -> None:
        one_by_one = self.compiler.compile
        with ThreadPoolExecutor(os.cpu_count()) as pool:

            def side_by_side(sources: list[str], **options: Any) -> list[str]:
                return [*chain(*pool.map(lambda source: one_by_one([source], **options), sources))]

            self.compiler.compile = side_by_side
            try:
                self.build_files(ext)
            finally:
                self.compiler.compile = one_by_one

    def build_files(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            if not ext.optional:
                raise SystemExit(
                    f"plif: {ext.name} was not built with CC={os.environ['CC']} ({error}): {ADVICE}"
                ) from None
            print(f"plif: {ext.name} was not built; plif installs without it")
            raise  # setuptools turns it into a warning, the extension being optional


class AnyPython(bdist_wheel):
    """One wheel for every Python: the native libraries hold no Python, so only the processor and libc tell wheels apart."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


def native_of(part: Path) -> list[Extension]:
    """Return the library of a part with NATIVE = ("native/scene.c", ..) in its part.py: native/_scene.so in its folder."""
    words = [line for line in ast.parse(part.read_text(encoding="utf-8")).body if isinstance(line, ast.Assign)]
    sources = [
        part.parent / c
        for line in words
        if ast.unparse(line.targets[0]) == "NATIVE"
        for c in ast.literal_eval(line.value)
    ]
    return [
        Extension(
            ".".join((*first.parent.parts, f"_{first.stem}")),
            sources=[source.as_posix() for source in sources],
            depends=sorted(map(str, first.parent.glob("*.h"))),
            extra_compile_args=["-std=gnu11", "-O3", "-ffp-contract=off", "-Wno-psabi", "-g0"],
            libraries=["m"],
            optional=True,
        )
        for first in sources[:1]
    ]


OF_PARTS = [each for part in sorted(Path().glob("*/*/*/part.py")) for each in native_of(part)]

setup(
    ext_modules=[
        Extension(
            "runtime.native._event",
            sources=list(map(str, LIBPLIF)),
            depends=sorted(map(str, NATIVE.rglob("*.h"))),
            # no contraction: a fused multiply-add rounds once, and paths would differ in the last bit
            extra_compile_args=["-std=gnu11", "-O3", "-ffp-contract=off", "-Wno-psabi", "-pthread", "-g0", *SMALL],
            # -s: without the names that only debuggers read, 15 kB; its calls of its own functions need no table, 9 kB
            extra_link_args=["-pthread", *(["-Wl,-s", "-Wl,-Bsymbolic"] if sys.platform == "linux" else [])],
            libraries=["m"],
        ),
        *OF_PARTS,
    ],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": AnyPython},
)
