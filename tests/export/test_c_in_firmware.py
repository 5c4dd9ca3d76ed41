"""--to c in somebody's firmware: what its header says of votes and of RAM, under compilers and flags that are not ours."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from plif_export import export
from plif_export.proof.compiled import find_compiler
from tests.networks import firing

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler (gcc, clang or cc)")

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
    source = '#include <stdio.h>\n#include "net.h"\nint main(void)\n{\n    printf("%g", (double)NET_VOTES(-0.25f));\n    return 0;\n}\n'
    assert ran(source, tmp_path) == "-0.25"
    assert "float votes[NET_CLASSES]" in path.with_suffix(".h").read_text()
    assert ran(usage(path.with_suffix(".h")), tmp_path, path) == "0 0 0 "
