"""What pyproject.toml cannot say: native code, built with the package where there is a compiler.

The event engine and all that C has of it (_event: libplif, with the decoding and binning of events, which NumPy does without
it), and the kernels of training (_train).

Plain C through setuptools' own build_ext: no build dependency beyond a compiler, and none at run time. The library is opened
with ctypes, so it contains no Python and needs no Python headers. `optional`: without a compiler the package installs
without it and says so in one line.
"""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NATIVE = "runtime/native"
LIBRARY = (  # libplif, which runtime/native/Makefile builds for programs without Python
    *("event", "check", "check_call", "error", "sha256", "file", "model", "packets", "evt3_frames"),
    *("framing", "view", "framer"),
    *("decide", "evidence", "idle", "resetting", "session", "stream", "snapshot", "formats", "header", "recording"),
)
CPUS = ("scalar", "avx2", "avx512", "amx", "neon")


class BuildNative(build_ext):
    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception:
            print(
                f"plif: {ext.name} was not built (it needs gcc or clang); plif installs without it, runs on ONNX Runtime "
                "and NumPy, and trains with PyTorch's operations"
            )
            raise  # setuptools turns it into a warning, the extension being optional


class AnyPython(bdist_wheel):
    """One wheel for every Python: the native libraries hold no Python, so only the processor and libc tell wheels apart."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


# A box that only runs networks is built from the runtime's sources alone.
TRAINING = [
    Extension(
        "plif_train.native._train",
        sources=[f"plif_train/native/{name}.c" for name in ("train", "pool", "sparse", "share")],
        depends=["plif_train/native/train.h"],
        extra_compile_args=["-std=gnu11", "-O3", "-ffp-contract=off", "-Wno-psabi", "-g0"],
        libraries=["m"],
        optional=True,
    ),
]
TRAINING = [ext for ext in TRAINING if all(Path(source).exists() for source in ext.sources)]

setup(
    ext_modules=[
        Extension(
            "runtime.native._event",
            sources=[
                f"{NATIVE}/{name}.c" for name in (*LIBRARY, "measure", "sample", *(f"path_{cpu}" for cpu in CPUS))
            ],
            depends=sorted(map(str, Path(NATIVE).glob("*.h"))),
            # no contraction: a fused multiply-add rounds once, and paths would differ in the last bit
            extra_compile_args=["-std=gnu11", "-O3", "-ffp-contract=off", "-Wno-psabi", "-pthread", "-g0"],
            extra_link_args=["-pthread"],
            libraries=["m"],
            optional=True,
        ),
        *TRAINING,
    ],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": AnyPython},
)
