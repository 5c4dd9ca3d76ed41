"""libplif is built on every machine: with its own C compiler, else with the one that the build backend brings."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import build_backend
from runtime import native
from runtime.core.base.errors import PlifError
from tests.conftest import REPOSITORY

ON_X86 = pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="x86-64 with Linux alone")
AVX2 = {"avx2": "avx2", "fma": "fma", "bmi": "bmi1", "bmi2": "bmi2", "popcnt": "popcnt", "lzcnt": "abm"}
AVX512 = {f"avx512{part}": f"avx512{part}" for part in ("f", "bw", "vl", "dq")} | {
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
}  # as gcc names them, and as /proc/cpuinfo does


def expected_paths(has: set[str], avx2: set[str], avx512: set[str]) -> tuple[str, ...]:
    return ("scalar", *["avx2"] * (avx2 <= has), *["avx512"] * (avx2 | avx512 <= has))


@ON_X86
def test_the_paths_are_those_of_which_the_system_names_every_instruction() -> None:
    flags = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    assert flags is not None
    assert native.cpu_paths(amx=False) == expected_paths(
        set(flags[1].split()), set(AVX2.values()), set(AVX512.values())
    )


@ON_X86
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this machine")
def test_the_paths_are_those_of_which_gcc_finds_every_instruction(tmp_path: Path) -> None:
    names = [*AVX2, *AVX512]
    lines = "".join(f'if (__builtin_cpu_supports("{name}")) puts("{name}");' for name in names)
    source = f"#include <stdio.h>\nint main(void) {{ {lines} }}"
    subprocess.run(["gcc", "-x", "c", "-", "-o", tmp_path / "cpu"], input=source, text=True, check=True)
    has = subprocess.run([tmp_path / "cpu"], capture_output=True, text=True, check=True).stdout.split()
    assert native.cpu_paths(amx=False) == expected_paths(set(has), set(AVX2), set(AVX512))


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a C compiler: a PATH of one folder, which is empty."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    if build_backend.find_compiler():
        pytest.skip("Python names its own compiler by a whole path, which cannot be hidden")
    return tmp_path / "bin"


def asked() -> list[bool]:
    """Whether the hooks of a wheel and of an editable installation ask for a compiler, in a clone."""
    hooks = (build_backend.get_requires_for_build_wheel, build_backend.get_requires_for_build_editable)
    return [build_backend.ZIGLANG in hook() for hook in hooks]


@pytest.fixture
def in_an_empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\n")
    monkeypatch.chdir(tmp_path / "project")


def test_a_compiler_is_asked_for_exactly_where_there_is_none(no_compiler: Path, in_an_empty_project: None) -> None:
    assert asked() == [True, True]
    for name, code in (("clang", 1), ("gcc", 0)):  # one that does not find its headers, and one that does
        (no_compiler / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (no_compiler / name).chmod(0o755)
        assert asked() == [code == 1] * 2


def test_a_compiler_that_cc_names_is_taken(
    no_compiler: Path, in_an_empty_project: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "some-cc -m64")
    assert build_backend.find_compiler() == "some-cc -m64"
    assert asked() == [False, False]


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "setup.py", "build_ext", "--build-lib", folder, "--build-temp", folder / "temp"]
    return subprocess.run(words, cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is not None, reason="ziglang is installed here")
def test_without_any_compiler_one_line_says_what_to_install(no_compiler: Path, tmp_path: Path) -> None:
    done = build(tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"plif: no C compiler here, .*: install gcc or clang .* or 'ziglang==.*", done.stderr.strip())


def test_libplif_is_not_optional(tmp_path: Path) -> None:
    done = build(tmp_path, CC="false")
    assert done.returncode == 1
    assert re.match(
        r"plif: runtime\.native\._event was not built with CC=false .*: install ", done.stderr.splitlines()[-1]
    )


def loaded(library: object, code: str = "print(*native.paths(amx=False))") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from runtime import native; {code}"],
        env={**os.environ, native.LIBRARY_VARIABLE: str(library)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler")
def test_another_build_is_loaded_where_plif_library_names_one(tmp_path: Path) -> None:
    other = Path(shutil.copy(native.library()._name, tmp_path / "other.so"))
    done = loaded(
        other, "from runtime.native import interface; print(native.library()._name, interface.library()._name)"
    )
    assert done.stdout.split() == [str(other)] * 2


@pytest.mark.parametrize("content", [None, b"", b"\x7fELF of another machine"])
def test_a_library_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.so"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(native.LIBRARY_VARIABLE, str(path))
    with pytest.raises(PlifError, match=r"^PLIF_LIBRARY=[^\n]*other\.so: no library for this plif \([^\n]*make debug$"):
        native.find_library("_event*.so", "plif_layout", 0)


@pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler")
def test_a_library_of_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.LIBRARY_VARIABLE, native.library()._name)
    with pytest.raises(PlifError, match="built from other sources"):
        native.find_library("_event*.so", "plif_layout", 1)


@pytest.mark.large
@pytest.mark.skipif(shutil.which("make") is None or shutil.which("cc") is None, reason="no make or cc on this machine")
def test_make_debug_says_how_its_library_is_used() -> None:
    done = subprocess.run(["make", "-s", "debug"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    library = re.fullmatch(r"export PLIF_LIBRARY=(\S+)\n", done.stdout)
    assert library is not None
    assert loaded(shlex.split(library[1])[0]).stdout.split() == list(native.cpu_paths(amx=False))


# What only processors newer than x86-64's first have: VEX and EVEX encodings, and BMI2.
NEWER = re.compile(r"^\s+[0-9a-f]+:\t(v[a-z0-9]+|andn|bextr|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx)\b", re.M)
CHOSEN = ("avx2", "avx512", "amx", "sha256")  # run where CPUID says so


@pytest.mark.large
@ON_X86
@pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler")
def test_a_machine_without_a_compiler_builds_the_same_library(no_compiler: Path, tmp_path: Path) -> None:
    """pip with its own isolation, in an environment of its own: setuptools and ziglang come from the index, 101 MB."""
    tools = {"PATH": os.defpath}
    clean, venv = tmp_path / "source", tmp_path / "venv"
    names = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, env=tools, capture_output=True, text=True, check=True)
    for name in names.stdout.splitlines():
        if name.startswith(
            ("runtime/", "plif_", "setup.py", "build_", "requirements/", "pyproject.toml", "README", "LICENSE")
        ):
            (clean / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, clean / name)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", clean], check=True)
    (library,) = venv.glob("lib/python*/site-packages/runtime/native/_event*.so")
    assert loaded(library).stdout.split() == list(native.cpu_paths(amx=False))
    objects = [path for path in clean.glob("build/temp*/**/native/**/*.o") if path.stem not in CHOSEN]
    assert {"scalar", "event", "framer", "train"} <= {path.stem for path in objects}
    objdump = shutil.which("objdump", path=tools["PATH"])
    for path in objects if objdump else ():
        code = subprocess.run(
            [str(objdump), "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True
        )
        assert not NEWER.findall(code.stdout), path.name
