"""libplif as programs without Python get it: built, installed, found by pkg-config and CMake, and used from C and C++."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime import native
from runtime.core.base.version import __version__
from runtime.core.events import open_source
from runtime.core.events.formats.nmnist import write_nmnist
from tests.networks import digits_network
from tests.recorded import real_or_shipped
from tests.recordings import WRITERS, evt3_bytes, some_events
from tests.sanitizers import find_sanitizers, needs_sanitizers

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "runtime" / "native"
PLIF = "import sys; from runtime.core.cli.main import run; sys.exit(run(sys.argv[1:]))"
EXAMPLES = NATIVE / "examples"
COMPILER = shutil.which("gcc") or shutil.which("clang")

pytestmark = [
    pytest.mark.skipif(
        COMPILER is None or shutil.which("make") is None, reason="no C compiler or make on this machine"
    ),
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]


class Installed(NamedTuple):
    """What `make install` put into a folder, and the program of examples/decide.c that was linked with it."""

    prefix: Path
    decide: Path

    def run(self, *arguments: str | Path, **environment: str) -> list[str]:
        done = subprocess.run(
            [self.decide, *arguments], capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


def make(folder: Path, *settings: str, compiler: str | None = COMPILER) -> None:
    command = ["make", "-s", "-C", str(NATIVE), "install", f"CC={compiler}", f"BUILD={folder / 'build'}", *settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr[-3000:]


def compiled(prefix: Path, source: Path, to: Path, *flags: str, compiler: str | None = COMPILER) -> Path:
    """A program against what is installed, with the flags of its pkg-config file."""
    text = (prefix / "lib/pkgconfig/plif.pc").read_text()
    assert f"Version: {__version__}\n" in text
    found = [f"-I{prefix}/include", f"-L{prefix}/lib", "-lplif"]
    if shutil.which("pkg-config"):
        environment = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}
        said = subprocess.run(
            ["pkg-config", "--cflags", "--libs", "plif"], env=environment, capture_output=True, text=True, check=True
        )
        assert said.stdout.split() == found
    command = [str(compiler), "-Wall", "-Wextra", "-Wpedantic", "-Werror", *flags, str(source), "-o", str(to), *found]
    command += [f"-Wl,-rpath,{prefix}/lib"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return to


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("libplif")
    make(folder, f"PREFIX={folder / 'usr'}", "CFLAGS=-O0", "-j2")
    return Installed(folder / "usr", compiled(folder / "usr", EXAMPLES / "decide.c", folder / "decide", "-std=c11"))


@pytest.fixture(scope="module")
def digits_plif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(
        digits_network("duration:1ms"), tmp_path_factory.mktemp("plif") / "m.plif", to="plif", precision="int8"
    ).path


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """1.1 s of simulated digits in each of the two formats that the library reads."""
    folder = tmp_path_factory.mktemp("recordings")
    events = np.concatenate([packet.copy() for packet in open_source("sim:digits?seed=3&seconds=1.1").packets()])
    write_nmnist(folder / "digits.bin", events)
    header = b"% evt 3.0\n% format EVT3;height=34;width=34\n% end\n"
    (folder / "digits.raw").write_bytes(header + evt3_bytes(events))
    return [folder / "digits.bin", folder / "digits.raw"]


def streamed(model: Path, recording: Path, *options: str) -> list[str]:
    """What `plif stream --json` says, in the words of examples/decide.c."""
    command = [
        sys.executable,
        "-c",
        PLIF,
        "stream",
        str(model),
        str(recording),
        "--engine",
        "event",
        "--json",
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()][:-1]
    return [
        f"{d['t_us']} us  step {d['step']}  {d['label'] or '-'}  score {d['score']:.6f}  "
        f"votes {' '.join(f'{vote:.17g}' for vote in d['votes'])}"
        for d in lines
    ]


def test_a_c_program_decides_what_plif_stream_decides_on_every_path(
    installed: Installed, digits_plif: Path, recordings: list[Path]
) -> None:
    for recording in recordings:
        said = streamed(digits_plif, recording)
        assert len(said) > 1_000 and len({line.split()[4] for line in said}) > 1
        for path in native.cpu_paths():
            assert installed.run(digits_plif, recording, PLIF_CPU=path) == said, path


def test_real_recordings_are_decided_as_by_plif_stream(
    installed: Installed, clips: Path, nmnist: Path, tmp_path: Path
) -> None:
    digits = export(ROOT / "models/nmnist-digits.pt", tmp_path / "d.plif", to="plif", verify=False).path
    gestures = export(ROOT / "models/gesture-sim.pt", tmp_path / "g.plif", to="plif", verify=False).path
    cases = [(digits, path) for path in sorted((nmnist / "Test").glob("*/*.bin"))[::50]]
    cases += [(gestures, path) for path in sorted(clips.iterdir())[:1]]
    cases += [(gestures, real_or_shipped("gen41_1280x720_evt3.raw", "evt3.raw"))]
    for model, recording in cases:
        sensor = () if recording.suffix != ".raw" else ("--sensor", "1280x720")
        said = streamed(model, recording, *sensor)
        assert installed.run(model, recording) == said and said, recording
    early = streamed(digits, cases[0][1], "--decide", "sum,exit=0.3")
    assert installed.run(digits, cases[0][1], "sum,exit=0.3") == early and 0 < len(early) < 10


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")
def test_a_cpp_program_decides_about_events_that_come_by_udp(
    installed: Installed, digits_plif: Path, recordings: list[Path], tmp_path: Path
) -> None:
    program = tmp_path / "decide_udp"
    found = [
        f"-I{installed.prefix}/include",
        f"-L{installed.prefix}/lib",
        "-lplif",
        f"-Wl,-rpath,{installed.prefix}/lib",
    ]
    source = str(EXAMPLES / "decide_udp.cpp")
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run(["g++", *flags, source, "-o", str(program), *found], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    started = subprocess.Popen(
        [str(program), str(digits_plif), str(port), "34", "34"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None and started.stderr.readline() == "listening\n"
    send = [sys.executable, "-c", PLIF, "send", str(recordings[0]), f"udp://127.0.0.1:{port}?format=t64"]
    subprocess.run(send, cwd=ROOT, check=True, capture_output=True, timeout=60)
    out, _ = started.communicate(timeout=60)
    expected = [
        (d.t_us, d.label)
        for d in runtime.load(digits_plif).stream(
            str(recordings[0]), framing="duration:20ms", decide="leak:120ms", reset="silence:1000"
        )
        if d.label
    ]
    found_lines = [line.split() for line in out.splitlines()]
    assert found_lines and {(int(line[0]), line[2]) for line in found_lines} <= set(expected)


needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="no CMake on this machine")


@needs_cmake
def test_cmake_finds_what_was_installed_and_moved(installed: Installed, tmp_path: Path, digits_plif: Path) -> None:
    shutil.copytree(installed.prefix, tmp_path / "moved", symlinks=True)
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.10)\nproject(example C)\nfind_package(plif {__version__} REQUIRED)\n"
        f'add_executable(decide "{EXAMPLES}/decide.c")\n'
        "target_link_libraries(decide plif::plif)\n"
    )
    for command in (
        ["cmake", "-S", ".", "-B", "b", f"-Dplif_DIR={tmp_path}/moved/lib/cmake/plif"],
        ["cmake", "--build", "b"],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([tmp_path / "b/decide", digits_plif, "none.bin"], capture_output=True, text=True)
    assert done.returncode == 1 and "none.bin: no such file" in done.stderr


@needs_cmake
def test_cmake_takes_the_version_that_keeps_the_promises_of_the_one_that_was_asked_for(
    installed: Installed, tmp_path: Path
) -> None:
    major, minor, patch = (int(number) for number in __version__.split("."))
    later = f"{major}.{minor}.{patch + 1}"
    taken = ("", f"{major}.{minor}", __version__, f"{__version__} EXACT")
    refused = ("0.0.9", later, f"{later} EXACT", f"{major}.{minor + 1}", f"{major + 1}", f"{major + 1}.0")
    lines = "".join(
        f'find_package(plif {asked} QUIET)\nmessage(STATUS "asked {asked}: ${{plif_FOUND}}")\nunset(plif_DIR CACHE)\n'
        for asked in taken + refused
    )
    (tmp_path / "CMakeLists.txt").write_text(f"cmake_minimum_required(VERSION 3.10)\nproject(example NONE)\n{lines}")
    where = f"-DCMAKE_PREFIX_PATH={installed.prefix}"
    done = subprocess.run(["cmake", "-S", ".", "-B", "b", where], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = dict(re.findall(r"^-- asked (.*): (.*)$", done.stdout, re.MULTILINE))
    assert said == {**dict.fromkeys(taken, "1"), **dict.fromkeys(refused, "0")}


def test_the_whole_library_has_500_kB_at_most() -> None:
    """Optimised, for every processor of its architecture: as the package builds it, from the same sources."""
    assert 100_000 < Path(native.library()._name).stat().st_size <= 500_000


def test_it_needs_and_exports_nothing_else(installed: Installed) -> None:
    library = installed.prefix / "lib/libplif.so"
    assert library.is_symlink() and (installed.prefix / "lib/libplif.so.1").is_symlink()
    symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in symbols.splitlines()}
    declared = set(re.findall(r"PLIF_API [^;]*?(plif_\w+)\(", (NATIVE / "plif.h").read_text()))
    assert names == declared
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert "SONAME" in needed and "libplif.so.1" in needed
    assert set(re.findall(r"NEEDED.*\[(.*?)\.so", needed)) <= {
        "libc",
        "libm",
        "libpthread",
        "ld-linux-x86-64",
        "libgcc_s",
    }
    undefined = subprocess.run(
        ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
    ).stdout
    assert not re.search(r"\b(exit|abort|printf|puts|fprintf|signal|sigaction)\b", undefined)


@pytest.mark.large
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_each_compiler_builds_it_below_500_kb(
    compiler: str, tmp_path: Path, digits_plif: Path, recordings: list[Path]
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    make(tmp_path, f"PREFIX={tmp_path / 'usr'}", compiler=compiler)
    library = tmp_path / "usr/lib" / f"libplif.so.{__version__}"
    subprocess.run(["strip", library], check=True)
    assert library.stat().st_size <= 500_000
    program = Installed(tmp_path / "usr", compiled(tmp_path / "usr", EXAMPLES / "decide.c", tmp_path / "decide"))
    said = streamed(digits_plif, recordings[0])
    for path in native.cpu_paths():
        assert program.run(digits_plif, recordings[0], PLIF_CPU=path) == said


@needs_sanitizers
@pytest.mark.large
def test_files_that_lie_find_nothing_under_sanitizers(
    tmp_path: Path, digits_plif: Path, recordings: list[Path]
) -> None:
    found = find_sanitizers()
    assert found is not None
    flags = ("-O1", *found.flags)
    make(tmp_path, f"PREFIX={tmp_path / 'usr'}", f"CFLAGS={' '.join(flags)}", "LDFLAGS=", compiler=found.compiler)
    fuzz, decide, step = (
        compiled(tmp_path / "usr", source, tmp_path / source.stem, *flags, compiler=found.compiler)
        for source in (ROOT / "tests/fuzz/plif_lies.c", EXAMPLES / "decide.c", EXAMPLES / "step.c")
    )
    said = streamed(digits_plif, recordings[0])
    np.random.default_rng(0).random((9, 2, 34, 34), np.float32).tofile(tmp_path / "frames.f32")
    stepped = subprocess.run([step, digits_plif, tmp_path / "frames.f32"], capture_output=True, text=True)
    assert stepped.returncode == 0 and len(stepped.stdout.splitlines()) == 9, stepped.stderr[-2000:]
    for path in native.cpu_paths():
        environment = {**os.environ, "PLIF_CPU": path}
        done = subprocess.run(
            [decide, digits_plif, recordings[0]], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0 and done.stdout.splitlines() == said, done.stderr[-2000:]
        done = subprocess.run(
            [fuzz, digits_plif, "1", "400"], env=environment, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, done.stderr[-3000:]

    def checked(recording: Path, *rules: str) -> int:
        environment = {**os.environ, "ASAN_OPTIONS": "exitcode=99:detect_leaks=0", "UBSAN_OPTIONS": "exitcode=99"}
        command = [decide, digits_plif, recording, *rules]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode in (0, 1) and not re.search("Sanitizer|runtime error", done.stderr), done.stderr
        return len(done.stdout.splitlines())

    for decision in ("own:50ms,margin=0.01,idle=auto", "kofn:3/5,idle=2k", "leak:50ms", "sum,exit=0.05"):
        for framing in ("time:T=9", "count:T=9", "duration:40ms,every=10ms", "events:n=300,max=3ms"):
            for reset in ("every:20/3", "never"):
                has_rate = "=2k" in decision and framing[:4] in ("time", "coun")
                assert (checked(recordings[0], decision, framing, reset) > 8) is not has_rate
    rng = np.random.default_rng(0)
    for name in ("nmnist", "evt2", "evt21", "evt3", "dat", "aedat2", "aedat31"):
        write, suffix = WRITERS[name]
        whole = write(some_events(3000, 1))
        for turn in range(40):
            damaged = bytearray(whole)
            for at in rng.integers(len(whole) * (turn % 2) // 2, len(whole), 9):
                damaged[at] = rng.integers(256)
            (tmp_path / f"damaged{suffix}").write_bytes(damaged[: rng.integers(1, len(damaged))])
            checked(tmp_path / f"damaged{suffix}", "sum", "time:T=9")
