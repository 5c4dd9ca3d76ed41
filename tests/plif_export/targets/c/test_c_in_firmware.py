"""--to c in somebody's firmware: what its header says of votes and of RAM, under compilers and flags that are not ours."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from plif_export import export
from plif_export.core.cards import make_card
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob
from plif_export.targets.c.compiled import CompiledProgram, find_compiler
from plif_export.targets.c.size import CORTEX_M4
from runtime.artifacts.c.source import read_texts
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import read_card
from runtime.core.model.graph import Graph
from tests.networks import firing, frames
from tests.plif_export.targets.c.test_c_of_traced_neurons import random_graph
from tests.programs import PLIF, linear, recurrent, traced, trained

MODELS = Path(__file__).parents[4] / "models"

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(find_compiler() is None, reason="no C compiler (gcc, clang or cc)"),
]

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
            expected, found = (program.run_call(x[None], states) for program in programs)
            states = expected.after
            np.testing.assert_array_equal(found.y, expected.y, err_msg=name)
            for layer, variable in programs[0].states:
                np.testing.assert_array_equal(
                    found.after[layer][variable], states[layer][variable], err_msg=f"{name} {layer}"
                )
        assert any(value.any() for state in states.values() for value in state.values())


def sizes_in(header: Path) -> dict[str, int]:
    """What a header says: {"BUFFER": bytes, ...}"""
    return {key: int(n) for key, n in re.findall(r"#define NET_(\w+)_BYTES (\d+)", header.read_text())}


def written_graph(graph: Graph, folder: Path) -> Path:
    target, path = find_target("c"), folder / "net.c"
    card = make_card(
        trained(graph).facts, graph, form="step", T=4, precision="fp32", math="folded", batch=None, source_sha256=None
    )
    target.write(ExportJob(graph, onnx.ModelProto(), card, name=path.name), path)
    return path


def wide() -> Graph:
    """More outputs than fit a stack, and spikes as output."""
    nodes = (linear("fc", "x", 4, 2000), traced("n", ("fc",), (2000,), PLIF, 1.0, alpha=0.5))
    return Graph((4,), nodes, "n_neuron")


NETWORKS = {
    "wide": wide,
    "recurrent": recurrent,
    **{f"random-{seed}": partial(random_graph, seed) for seed in range(3)},
}


@pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("nm") is None, reason="gcc or nm is not installed")
@pytest.mark.parametrize("network", NETWORKS)
def test_the_buffers_of_the_header_are_those_that_the_compiler_lays_out(network: str, tmp_path: Path) -> None:
    path = written_graph(NETWORKS[network](), tmp_path)
    subprocess.run(["gcc", "-std=c99", "-O0", "-c", path, "-o", tmp_path / "net.o"], check=True)
    listed = subprocess.run(["nm", "-S", tmp_path / "net.o"], check=True, capture_output=True, text=True).stdout
    found = sum(int(size, 16) for size, kind in re.findall(r"^\S+ (\S+) (\w) ", listed, re.MULTILINE) if kind in "bdBD")
    assert sizes_in(path.with_suffix(".h"))["BUFFER"] == found


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
@pytest.mark.parametrize("network", [*NETWORKS, "nmnist-digits"])
def test_no_step_takes_more_stack_than_the_header_says(network: str, tmp_path: Path) -> None:
    """As gcc counts it for a Cortex-M4F: of a step, the layer and the helper that take the most, whatever is inlined."""
    if network in NETWORKS:
        path = written_graph(NETWORKS[network](), tmp_path)
    else:
        path = export(MODELS / f"{network}.pt", tmp_path / "net.c", to="c", precision="int8", verify=False).path
    for level in ("-O0", "-O2", "-Os"):
        command = [
            "arm-none-eabi-gcc",
            *CORTEX_M4,
            "-std=c99",
            level,
            "-fstack-usage",
            "-c",
            path,
            "-o",
            tmp_path / "net.o",
        ]
        subprocess.run(command, check=True)
        most = {"step": 0, "layer": 0, "helper": 0}
        for name, size in re.findall(r":\d+:\d+:(\w+)\S*\t(\d+)\t", (tmp_path / "net.su").read_text()):
            what = {"net_step": "step", "net_reset": "", "net_spikes": ""}.get(
                name, "layer" if name[:4] == "run_" else "helper"
            )
            if what:
                most[what] = max(most[what], int(size))
        assert 0 < sum(most.values()) <= sizes_in(path.with_suffix(".h"))["STACK"], level


def test_a_budget_of_ram_counts_the_callers_frame_and_the_stack(written: Path, tmp_path: Path) -> None:
    """And the report, the card and the header say each part."""
    said = sizes_in(written.with_suffix(".h"))
    assert said["CALLER"] == 4 * (2 * 16 * 16) + 4 * 3 and said["STACK"] > 500
    memory = read_card(written)["memory"]
    assert (
        memory["ram"] == memory["buffers"] + memory["caller"] + memory["stack"] >= sum(said.values()) - said["CONSTANT"]
    )
    report = json.loads(written.with_name("net.c.report.json").read_text())["memory"]
    assert {key: report[key] for key in memory} == memory
    assert f"{said['CALLER']} of the caller's x and y" in written.with_suffix(".h").read_text()
    too_little = memory["ram"] - 1
    assert too_little > memory["buffers"]
    with pytest.raises(PlifError, match=r"of RAM, --ram has .*: buffers .*K, x and y 2\.0K, stack at most"):
        export(firing(), tmp_path / "net.c", to="c", ram=str(too_little), verify=False)
    assert export(firing(), tmp_path / "net.c", to="c", ram=str(memory["ram"]), verify=False).path.exists()


def test_a_frame_of_bytes_takes_a_fourth(tmp_path: Path) -> None:
    net = firing(framing="duration:10ms,value=binary")
    export(net, tmp_path / "net.c", to="c", verify=False)
    assert sizes_in(tmp_path / "net.h")["CALLER"] == 2 * 16 * 16 + 4 * 3


def test_an_early_exit_is_refused_in_one_line_before_minutes_are_spent_on_it(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """C counts no votes, so nothing in it could obey the card."""
    words = ["eval", str(written), "--data", "digits:60", "--calibrate-exit", "0.5%", "-o", str(tmp_path / "early.c")]
    assert run(words) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"plif: error: {written}: is generated C, which counts no votes")
    assert list(tmp_path.iterdir()) == []
