"""CBMC runs C on all inputs at once: what a neuron fires and keeps, the lists of what fired, and that nothing leaves its array,
overflows, or is converted to a number that does not hold it.

That the float operations printed are those of the equation, in its order, is proved beside this (test_neurons_for_all_inputs.py);
here they are one addition, which a solver of bits can follow.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plif_export.core.cards import make_card
from plif_export.writers.c.file import write_c
from runtime.core.model.graph import Graph, Node
from tests.programs import trained

CBMC = shutil.which("cbmc")
pytestmark = pytest.mark.skipif(CBMC is None, reason="no cbmc here (Debian: apt-get install cbmc)")
ENGINE = Path(__file__).parents[4] / "runtime" / "native" / "engine"
CHECKS = (
    "--unwinding-assertions",
    "--bounds-check",
    "--pointer-check",
    "--signed-overflow-check",
    "--conversion-check",
)


def check(folder: Path, source: str, loops: int, *options: str) -> None:
    """Every assertion of a program holds, and every check of CBMC's, for all values of its nondet_...(); loops: turns at most."""
    (folder / "main.c").write_text(source)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where Z3 is
    command = [str(CBMC), "main.c", "--unwind", str(loops + 1), *CHECKS, *options]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False, timeout=100
    )
    failed = [line for line in done.stdout.splitlines() if line.endswith(": FAILURE")]
    assert not failed and "VERIFICATION SUCCESSFUL" in done.stdout, "\n".join(failed) or done.stdout + done.stderr


def written(folder: Path, channels: int) -> None:
    """net.c of a layer of IF neurons that reads the frame."""
    attrs = {
        "kind": "IF",
        "layer": "f",
        "v_threshold": 0.75,
        "v_reset": 0.375,
        "decay_input": True,
        "charge": "exact",
    }
    graph = Graph((channels,), (Node("f_neuron", "Neuron", ("x",), (channels,), attrs),), "f_neuron")
    card = make_card(
        trained(graph).facts, graph, form="step", T=4, precision="fp32", math="exact", batch=None, source_sha256=None
    )
    made = write_c(graph, card, "net")
    (folder / "net.h").write_text(made.header)
    (folder / "net.c").write_text(made.source)


def test_a_neuron_in_c_fires_resets_and_is_listed_as_its_equation_says(tmp_path: Path) -> None:
    written(tmp_path, 4)
    source = """#include "net.c"
float nondet_float(void);
int main(void)
{
    float x[4], before[4], y[4];
    int finite = 1;
    for (int o = 0; o < 4; o++) {
        x[o] = nondet_float(), f_v[o] = before[o] = nondet_float();
        finite = finite && !__CPROVER_isnanf(x[o]) && !__CPROVER_isinff(x[o]);
    }
    __CPROVER_assert(net_step(x, y) == (finite ? 0 : -1), "what is not finite is refused, and nothing else");
    if (!finite) {
        for (int o = 0; o < 4; o++)
            __CPROVER_assert(f_v[o] == before[o] || before[o] != before[o], "refused before a membrane moves");
        return 0;
    }
    int n = 0;
    for (int o = 0; o < 4; o++) {
        const float h = before[o] + x[o];
        const int s = h >= 0.75f;
        __CPROVER_assert(y[o] == (float)s, "s = h >= v_threshold");
        __CPROVER_assert(s ? f_v[o] == 0.375f : f_v[o] == h || h != h, "v = v_reset where s, else h");
        if (s)
            __CPROVER_assert(f_s_c[n++] == o, "listed in rising order");
    }
    __CPROVER_assert(f_s_n[0] == n && net_spikes(0) == n, "as many as fired");
}
"""
    check(tmp_path, source, 4, "--slice-formula", "--z3")


@pytest.mark.parametrize("channels", (16, pytest.param(32, marks=pytest.mark.machines)))
def test_a_list_in_c_holds_what_fired_in_rising_order_for_every_pattern(tmp_path: Path, channels: int) -> None:
    written(tmp_path, channels)
    source = f"""#include "net.c"
unsigned nondet_unsigned(void);
int main(void)
{{
    const unsigned pattern = nondet_unsigned();
    uint8_t fired[{channels}], c[{channels}];
    for (int o = 0; o < {channels}; o++)
        fired[o] = pattern >> o & 1;
    const int n = list_uint8(c, fired, {channels});
    int k = 0;
    for (int o = 0; o < {channels}; o++) {{
        __CPROVER_assert(!fired[o], "cleared");
        if (pattern >> o & 1)
            __CPROVER_assert(k < n && c[k++] == o, "rising order");
    }}
    __CPROVER_assert(k == n, "as many as fired");
}}
"""
    check(tmp_path, source, channels)


def test_the_engines_lists_and_counts_hold_for_every_pattern(tmp_path: Path) -> None:
    """list_bits (without AVX-512) on any 16 bits; whole_count converts any float to what holds it."""
    text = (ENGINE / "kernels" / "active.h").read_text("utf-8")
    functions = [
        re.search(rf"^INLINE \w+ {name}\(.*?^}}\n", text, re.DOTALL | re.MULTILINE)
        for name in ("list_bits", "whole_count")
    ]
    source = f"""#include <stdint.h>
#define INLINE static inline
enum {{ UNIT = 64 }};
{"".join(found[0] for found in functions if found)}
unsigned nondet_unsigned(void);
float nondet_float(void);
int main(void)
{{
    const unsigned bits = nondet_unsigned() & 0xffff;
    uint16_t list[16];
    const int n = list_bits(list, bits, 64);
    int k = 0;
    for (int i = 0; i < 16; i++)
        if (bits >> i & 1) {{
            __CPROVER_assert(k < n && list[k] == (64 + i) * UNIT, "rising order");
            k++;
        }}
    __CPROVER_assert(k == n, "as many as are set");
    whole_count(nondet_float()); /* which no int may hold */
}}
"""
    check(tmp_path, source, 16)
