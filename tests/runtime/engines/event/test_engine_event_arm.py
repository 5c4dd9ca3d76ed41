"""The event kernels on processors that this machine may not be: a C self-test, natively and for 64-bit ARM under emulation."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from runtime import native
from tests.libplif_sources import NATIVE
from tests.libplif_sources import SOURCES as LIBPLIF
from tests.sanitizers import OPTIONS, find_sanitizers, needs_sanitizers

HERE = Path(__file__).parent
SELFTEST = HERE / "event_selftest.c"
SOURCES = (SELFTEST, *LIBPLIF)
FLAGS = ("-std=gnu11", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-pthread")
NEEDED = "apt-get install gcc-aarch64-linux-gnu qemu-user"


def build(compiler: str, target: Path, sources: Iterable[Path], *flags: str) -> Path:
    command = [compiler, *FLAGS, *flags, *map(str, sources), "-o", str(target), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_path_of_this_processor_equals_the_plain_loop_bit_for_bit(tmp_path: Path) -> None:
    """Asked of the library that was built with the package, where there is one."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    sources = (SELFTEST, Path(native.library()._name)) if native.is_built() else SOURCES
    out = run(str(build(compiler, tmp_path / "selftest", sources, "-O3", f"-Wl,-rpath,{NATIVE}")))
    assert "scalar: ok" in out


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")
@pytest.mark.parametrize("order", ["__ORDER_LITTLE_ENDIAN__", "__ORDER_BIG_ENDIAN__"])
def test_a_processor_that_is_big_endian_is_refused_when_the_library_is_compiled(order: str) -> None:
    flags = ("-std=gnu11", "-Wno-builtin-macro-redefined", "-U__BYTE_ORDER__", f"-D__BYTE_ORDER__={order}")
    command = ["cc", "-E", *flags, str(NATIVE / "session" / "file.c")]
    done = subprocess.run(command, capture_output=True, text=True)
    refused = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(refused) == (order == "__ORDER_BIG_ENDIAN__") and done.returncode == len(refused), done.stderr
    assert all("little-endian" in line for line in refused)


@needs_sanitizers
@pytest.mark.large  # the sanitizers always run over the engine in tests/fuzz
def test_the_kernels_touch_no_memory_that_is_not_theirs(tmp_path: Path) -> None:
    found = find_sanitizers()
    assert found is not None
    selftest = build(found.compiler, tmp_path / "selftest", SOURCES, *found.flags, "-O1", "-Wno-unknown-pragmas")
    run(str(selftest), **OPTIONS)


@pytest.mark.machines
def test_the_neon_path_equals_the_plain_loop_bit_for_bit(tmp_path: Path) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("this processor is an ARM: the native test has run it")
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip(f"no cross compiler or no emulator for ARM: {NEEDED}")
    out = run(emulator, str(build(compiler, tmp_path / "selftest", SOURCES, "-O3", "-static")))
    assert out.splitlines() == ["scalar: ok", "neon: ok"]
