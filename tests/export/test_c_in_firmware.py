"""--to c in somebody's firmware: what its header says of votes and of RAM, under compilers and flags that are not ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from plif_export import export
from plif_export.proof.compiled import CompiledProgram, find_compiler
from runtime.model.card import read_card
from runtime.model.readers.c_source import read_texts
from tests.networks import firing, frames

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler (gcc, clang or cc)")

HAS_FMA = Path("/proc/cpuinfo").exists() and re.search(r"\bfma\b", Path("/proc/cpuinfo").read_text()) is not None
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror")


def ran(source: str, folder: Path, *files: Path) -> str:
    """What a program prints."""
    (folder / "main.c").write_text(source)
    command = [find_compiler() or "", *STRICT, "-I", str(folder), str(folder / "main.c"), *map(str, files), "-lm"]
    done = subprocess.run([*command, "-o", str(folder / "main")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return subprocess.run([folder / "main"], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(firing(), tmp_path_factory.mktemp("written") / "net.c", to="c", verify=False).path


def usage(header: Path) -> str:
    """The lines of code in the comment that a header begins with, as they would be copied, within a loop over two frames."""
    lines = re.findall(r"^    (\S.*?;)(?:  .*)?$", header.read_text().split("\n\n")[1], re.MULTILINE)
    before, of_a_frame = [line for line in lines if "[i]" not in line], [line for line in lines if "[i]" in line]
    assert len(of_a_frame) == 1 and len(before) == 4
    step = before.pop()
    return "\n".join(
        ["#include <stdio.h>", f'#include "{header.name}"', "static net_input x[NET_INPUTS];", "int main(void)", "{", *before,
         "for (int t = 0; t < 2; t++) {", step, "for (int i = 0; i < NET_CLASSES; i++)", *of_a_frame, "}",
         "for (int i = 0; i < NET_CLASSES; i++)", 'printf("%g ", (double)votes[i]);', "return 0;", "}", ""]
    )  # fmt: skip


def test_the_lines_of_the_header_compile_and_count_no_votes_of_silence(written: Path, tmp_path: Path) -> None:
    header = written.with_suffix(".h")
    (tmp_path / "net.h").write_text(header.read_text())
    assert ran(usage(header), tmp_path, written) == "0 0 0 "


def test_votes_are_whole_whatever_the_number_of_voters(written: Path, tmp_path: Path) -> None:
    """A share k / n times n is k, also where float32 makes it less: of 22, 23, 29, 37 voters and of others, up to 1500."""
    (tmp_path / "net.h").write_text(
        re.sub(r"#define NET_VOTERS \d+", "#define NET_VOTERS n", written.with_suffix(".h").read_text())
    )
    source = """#include <stdio.h>
#include "net.h"
int main(void)
{
    for (int n = 2; n <= 1500; n++)
        for (int k = 0; k <= n; k++) {
            const float y = (float)k / (float)n;
            int votes = 5;
            votes += NET_VOTES(y);
            if (votes != 5 + k)
                printf("%d of %d ", k, n);
        }
    return 0;
}
"""
    assert ran(source, tmp_path) == ""


def test_outputs_that_are_no_votes_are_added_up_as_they_are(tmp_path: Path) -> None:
    """As the runtime does it; halves would be lost if they were rounded."""
    net = firing("c4k3s1-PLIF-FC6-PLIF-FC3-IF", (2, 8, 8))
    path = export(net, tmp_path / "net.c", to="c", verify=False).path
    source = """#include <stdio.h>
#include "net.h"
int main(void)
{
    printf("%g", (double)NET_VOTES(-0.25f));
    return 0;
}
"""
    assert ran(source, tmp_path) == "-0.25"
    assert "float votes[NET_CLASSES]" in path.with_suffix(".h").read_text()
    assert ran(usage(path.with_suffix(".h")), tmp_path, path) == "0 0 0 "


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
@pytest.mark.skipif(not HAS_FMA, reason="this processor has no fused multiply-add")
def test_membranes_are_the_same_bits_where_clang_fuses_in_spite_of_the_pragma(tmp_path: Path) -> None:
    """-ffp-contract=fast heeds no pragma in clang, and no macro tells of it."""
    net = firing(decay_input=True)
    for name, options in (("folded", {}), ("exact", {"math": "exact"}), ("int8", {"precision": "int8"})):
        path = export(net, tmp_path / f"{name}.c", to="c", verify=False, **options).path
        programs = [
            CompiledProgram(read_texts(path), read_card(path), "clang", ("-mfma", *flags))
            for flags in (("-ffp-contract=off",), ("-O3", "-ffp-contract=fast"))
        ]
        states = programs[0].initial()
        for x in frames(net, np.random.default_rng(0), T=6, streams=1):
            expected, found = (program.call(x[None], states) for program in programs)
            states = expected.after
            np.testing.assert_array_equal(found.y, expected.y, err_msg=name)
            for layer, variable in programs[0].states:
                np.testing.assert_array_equal(
                    found.after[layer][variable], states[layer][variable], err_msg=f"{name} {layer}"
                )
        assert any(value.any() for state in states.values() for value in state.values())
