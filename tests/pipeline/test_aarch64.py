"""`make wheels release ARCH=aarch64`: what it builds runs on an emulated 64-bit ARM and gives the bits of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import runtime
from plif_export import export
from plif_export.core.verification import load_samples
from runtime.core.base.version import __version__
from tests.conftest import REPOSITORY
from tests.runtime.core.test_libplif_build import streamed
from tests.runtime.engines.event.test_engine_event_arm import FLAGS, NEEDED, SELFTEST, run

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
ZIG = REPOSITORY / ".venv" / "zig"
AARCH64, FLOOR = 183, (2, 28)  # in an ELF header; the oldest glibc
DIGITS = 20

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(not ZIG.exists(), reason="no zig in .venv: make .venv/zig"),
    pytest.mark.skipif(
        not (shutil.which(COMPILER) and shutil.which(EMULATOR)), reason=f"no compiler or emulator for ARM: {NEEDED}"
    ),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes, and the two archives unpacked beside it: wheel/ and libplif/."""
    folder = tmp_path_factory.mktemp("dist")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-s", "wheels", "release", "ARCH=aarch64", f"DIST={folder}"]
    done = subprocess.run(command, cwd=REPOSITORY, env=own, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    zipfile.ZipFile(*folder.glob("*.whl")).extractall(folder / "wheel")
    with tarfile.open(folder / f"libplif-{__version__}-linux-aarch64.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return (folder / f"libplif-{__version__}-linux-aarch64").rename(folder / "libplif").parent


def program(source: Path, to: Path, *flags: str | Path) -> tuple[str, ...]:
    """The words that run a C program on the emulated machine."""
    subprocess.run([COMPILER, *FLAGS, source, "-o", to, *flags], check=True)
    return EMULATOR, "-L", "/usr/aarch64-linux-gnu", str(to)


def test_the_wheel_is_named_for_64_bit_arm_and_its_libraries_need_no_newer_glibc_than_its_name_says(
    built: Path,
) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"plif-{__version__}-py3-none-manylinux_{FLOOR[0]}_{FLOOR[1]}_aarch64.whl"
    libraries = {str(path.relative_to(built / "wheel")) for path in (built / "wheel").rglob("*.so")}
    folders = (
        "runtime/native/_event",
        "runtime/datasets/simulated_camera/native/_scene",
        "plif_train/hooks/training_kernels/native/_train",
    )
    assert libraries == {f"{name}.so" for name in folders}  # no other processor is in their names
    for path in (*(built / "wheel" / name for name in libraries), built / "libplif/lib/libplif.so"):
        data = path.read_bytes()
        assert data[:4] == b"\x7fELF" and int.from_bytes(data[18:20], "little") == AARCH64
        needed = [tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBC_([\d.]+)\0", data)]
        assert max(needed, default=FLOOR) <= FLOOR and (needed or path.stem == "_scene"), path.name
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index", "--only-binary=:all:"]
    for platform, code in (("manylinux_2_28_aarch64", 0), ("manylinux_2_28_x86_64", 1), ("manylinux_2_17_aarch64", 1)):
        done = subprocess.run([*pip, "--platform", platform, "--target", built / "box", wheel], capture_output=True)
        assert done.returncode == code, done.stderr


def test_every_path_of_the_wheels_library_equals_the_plain_loop_bit_for_bit(built: Path, tmp_path: Path) -> None:
    library = built / "wheel/runtime/native/_event.so"
    words = program(SELFTEST, tmp_path / "selftest", "-O3", library, f"-Wl,-rpath,{library.parent}", "-lm")
    assert run(*words).splitlines() == ["scalar: ok", "neon: ok"]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_twenty_digits_give_the_bits_of_this_machine(built: Path, tmp_path: Path, precision: str) -> None:
    model = REPOSITORY / "models/nmnist-digits.pt"
    artifact = export(model, tmp_path / "digits.plif", to="plif", precision=precision, verify=False).path
    x = load_samples(artifact, f"digits:{DIGITS}", DIGITS).swapaxes(0, 1).reshape(-1, 1, 2, 34, 34)
    x.tofile(tmp_path / "frames.f32")
    session = runtime.load(artifact).session()
    expected = ["".join(f"{y:.9g} " for y in session.step(frame)[0]) for frame in x]
    assert len(expected) >= 10 * DIGITS and len(set(expected)) > DIGITS
    libplif = built / "libplif"
    flags = (f"-I{libplif}/include", f"-L{libplif}/lib", "-lplif", f"-Wl,-rpath,{libplif}/lib")
    step = program(libplif / "examples/step.c", tmp_path / "step", *flags)
    for path in ("neon", "scalar"):
        assert run(*step, str(artifact), str(tmp_path / "frames.f32"), PLIF_CPU=path).splitlines() == expected, path


def test_the_release_decides_about_recordings_as_this_machine_does(built: Path, tmp_path: Path, clips: Path) -> None:
    libplif = built / "libplif"
    flags = (f"-I{libplif}/include", f"-L{libplif}/lib", "-lplif", f"-Wl,-rpath,{libplif}/lib")
    decide = program(libplif / "examples/decide.c", tmp_path / "decide", *flags)
    digit, clip = libplif / "recordings/simulated-digits.bin", min(clips.iterdir())
    for model, recording in (("nmnist-digits", digit), ("gesture-people", clip)):
        artifact = libplif / "models" / f"{model}.plif"
        said = streamed(artifact, recording)
        assert run(*decide, str(artifact), str(recording)).splitlines() == said and len(said) > 5
