"""--to c --set layout=arduino: a library whose self-test tells a board that gives what was proved from one that does not."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from plif_export import check, export, verify
from plif_export.targets.c.compiled import find_compiler
from plif_export.targets.c.size import CORTEX_M4
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import read_card
from tests.board import QEMU
from tests.conftest import REPOSITORY
from tests.networks import firing

CORE = REPOSITORY / "tests" / "data" / "arduino"
BOARD = REPOSITORY / "examples" / "cortex-m"
ARDUINO = {"to": "c", "options": {"layout": "arduino"}}
CALLER = '#include <fenv.h>\n#include "net.h"\nint main(void) { BEFORE return net_selftest() & 255; }\n'
PASSED = "self-test passed: this board gives what was proved\na step of an empty frame takes us: some\n"

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(find_compiler() is None, reason="no C compiler (gcc, clang or cc)"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(firing(), tmp_path_factory.mktemp("arduino") / "net", **ARDUINO).path


def said(library: Path, folder: Path, *flags: str, before: str = "", compiler: str = find_compiler() or "") -> int:
    """What net_selftest() gives in a program of these flags; 255 for -1."""
    (folder / "main.c").write_text(CALLER.replace("BEFORE", before))
    files = [folder / "main.c", library / "src" / "net.c"]
    command = [compiler, *flags, "-I", library / "src", *files, "-o", folder / "main", "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    return subprocess.run([folder / "main"]).returncode


def changed(library: Path, folder: Path, pattern: str, text: str) -> Path:
    """A copy of the library in whose source the first place that fits is another."""
    copy = shutil.copytree(library, folder / "net")
    source = copy / "src" / "net.c"
    new, times = re.subn(pattern, text, source.read_text(), count=1)
    assert times == 1
    source.write_text(new)
    return copy


def test_the_library_lies_as_arduino_wants_it_and_is_an_artifact(library: Path) -> None:
    files = sorted(path.relative_to(library).as_posix() for path in library.rglob("*") if path.is_file())
    assert files == ["examples/check/check.ino", "library.properties", "src/net.c", "src/net.h"]
    lines = (library / "library.properties").read_text().splitlines()
    keys = [
        "name",
        "version",
        "author",
        "maintainer",
        "sentence",
        "paragraph",
        "category",
        "url",
        "architectures",
        "includes",
    ]
    assert [line.partition("=")[0] for line in lines] == keys and all(line.partition("=")[2] for line in lines)
    card = read_card(library)
    assert (card["target"], card["options"]) == ("c", {"layout": "arduino"}) and card["parity"]["passed"]


@pytest.mark.parametrize("flags", (("-O0",), ("-O3", "-ffp-contract=fast")))
def test_the_self_test_passes_however_it_is_compiled(library: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert said(library, tmp_path, *flags) == 0


def test_a_unit_that_rounds_another_way_is_found_with_its_layer(library: Path, tmp_path: Path) -> None:
    found = said(library, tmp_path, "-O1", "-frounding-math", before="fesetround(FE_DOWNWARD);")
    layers = re.search(r"_LAYER_NAMES {(.*)}", (library / "src" / "net.h").read_text())
    assert layers is not None and 1 <= found <= 1 + len(layers[1].split(","))


@pytest.mark.parametrize("name", ("gcc", "clang"))
def test_no_compiler_takes_it_with_fast_math(library: Path, tmp_path: Path, name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        said(library, tmp_path, "-ffast-math", compiler=name)
    assert b"-ffast-math changes spikes; compile without it" in refused.value.stderr


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"(static const float conv1_\w+\[\d+\] = \{\n\s*)[-\d.e]+f", r"\g<1>0.123f", 255),  # a weight
        (r"h >= 1\.0f", "h >= 1.5f", 1),  # a threshold, in the code of the first layer
    ],
)
def test_a_changed_weight_or_threshold_is_found(
    library: Path, tmp_path: Path, pattern: str, text: str, expected: int
) -> None:
    assert said(changed(library, tmp_path, pattern, text), tmp_path, "-O0") == expected


def test_verify_proves_the_library_again_and_refuses_one_that_was_touched(library: Path, tmp_path: Path) -> None:
    assert verify(library, firing(), steps=2).passed
    touched = changed(library, tmp_path, r"h >= 1\.0f", "h >= 1.5f")
    report = verify(touched, firing(), steps=2)
    assert not report.passed and report.failed_at is not None and "it was not compiled" in report.failed_at["what"]
    other = shutil.copytree(library, tmp_path / "other")
    (other / "examples" / "check" / "check.ino").write_text("// nothing\n")
    report = verify(other, firing(), steps=2)
    assert [found["where"].split(",")[0] for found in report.structure] == ["examples/check/check.ino"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_sketch_is_cpp_and_says_what_the_self_test_found(library: Path, tmp_path: Path) -> None:
    assert _sketch(library, tmp_path) == PASSED
    broken = changed(library, tmp_path, r"h >= 1\.0f", "h >= 1.5f")
    assert _sketch(broken, tmp_path).startswith("self-test FAILED: first differs conv1\n")


def _sketch(library: Path, folder: Path) -> str:
    """What the sketch prints on this computer."""
    sketch = library / "examples" / "check" / "check.ino"
    (folder / "sketch.cpp").write_text(
        f'#include <Arduino.h>\n#include "{sketch}"\nint main() {{ setup(); for (;;) loop(); }}\n'
    )
    strict = ("-Wall", "-Wextra", "-Werror")
    built = [*strict, "-I", str(CORE), "-I", str(library / "src")]
    subprocess.run(["gcc", "-std=gnu11", *built, "-c", library / "src" / "net.c", "-o", folder / "net.o"], check=True)
    subprocess.run(["g++", *built, folder / "sketch.cpp", folder / "net.o", "-lm", "-o", folder / "sketch"], check=True)
    return subprocess.run([folder / "sketch"], capture_output=True, text=True, check=True).stdout


TOOLS = ("arm-none-eabi-g++", "qemu-system-arm")


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"not installed: {' or '.join(TOOLS)}")
def test_the_sketch_passes_on_an_emulated_cortex_m4f_that_flushes_subnormals(library: Path, tmp_path: Path) -> None:
    assert _on_board(library, tmp_path, "-Os") == PASSED
    broken = changed(library, tmp_path, r"h >= 1\.0f", "h >= 1.5f")
    assert "FAILED: first differs conv1" in _on_board(broken, tmp_path, "-Os")


def _on_board(library: Path, folder: Path, *flags: str) -> str:
    """What the sketch prints on the board of examples/cortex-m; flags: of both compilers"""
    sketch = library / "examples" / "check" / "check.ino"
    (folder / "sketch.cpp").write_text(
        f'#include <Arduino.h>\n#include "{sketch}"\nextern "C" int main() {{ setup(); for (;;) loop(); }}\n'
    )
    common = [
        *CORTEX_M4,
        *flags,
        "-DBOARD",
        "-I",
        str(CORE),
        "-I",
        str(BOARD),
        "-I",
        str(library / "src"),
        "-ffunction-sections",
    ]
    objects = []
    for compiler, own, source in (
        ("gcc", ["-std=gnu11"], library / "src" / "net.c"),
        ("gcc", ["-std=gnu11"], BOARD / "board.c"),
        ("g++", ["-fno-exceptions", "-fno-rtti"], folder / "sketch.cpp"),
    ):
        objects.append(str(folder / f"{source.stem}.o"))
        subprocess.run([f"arm-none-eabi-{compiler}", *own, *common, "-c", source, "-o", objects[-1]], check=True)
    linked = ["-nostartfiles", "--specs=nano.specs", "-T", str(BOARD / "mps2.ld")]
    linked += [f"-Wl,--defsym={name}" for name in ("FLASH_SIZE=512K", "RAM_SIZE=256K", "STEP_STACK=4096")]
    program = folder / "board.elf"
    subprocess.run(["arm-none-eabi-gcc", *common, *objects, *linked, "-o", program], check=True)
    command = [
        *QEMU,
        "-chardev",
        "stdio,id=host",
        "-semihosting-config",
        "enable=on,target=native,chardev=host",
        "-kernel",
        str(program),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


def test_what_another_library_rounds_another_way_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    class Soft(torch.nn.Module):
        v = 0.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.v + x
            s = (h >= 1.0).float()
            self.v = h - s
            return torch.sigmoid(s)

    refused = r"sigmoid \(C\): the self-test compares bits, and on another board expf has others; leave --set layout=arduino out"
    (problem,) = check(Soft(), torch.zeros(1, 3), **ARDUINO).problems
    assert problem.startswith("sigmoid (")
    with pytest.raises(PlifError, match=refused):
        export(Soft(), tmp_path / "net", torch.zeros(1, 3), verify=False, **ARDUINO)
    for variable in ("CC", "PATH"):
        monkeypatch.setenv(variable, "")
    with pytest.raises(PlifError, match=r"layout=arduino: a C compiler .* makes what the self-test compares with"):
        export(firing(), tmp_path / "net", verify=False, **ARDUINO)
    assert list(tmp_path.iterdir()) == []


def test_another_layout_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(REPOSITORY / "models" / "nmnist-digits.pt"), "--to", "c", "--set", "layout=platformio"]
    assert run([*words, "-o", str(tmp_path / "x.c")]) == 2
    assert capsys.readouterr().err == "plif: error: --set layout=platformio: expected files or arduino\n"
