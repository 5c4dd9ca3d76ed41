"""The self-test NAME_selftest(): whether compiler, FPU and flash of a board give the proved results.

Frames come from a generator of one line, so that they take no flash. Sums over the bits of every membrane and output
after each step are compared with those of the proved program on this machine; another sum is over all weights as
stored in flash. The sums are FNV-1a, of words; a subnormal number counts as 0, since some processors flush it.

The expected sums come from a program with an empty table (target.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from plif_export.writers.c.program import CProgram

STEPS = 12
LIMITS = (16, 48, 128)  # of 256: the share of ones in a frame; the first value with which every layer fires is used
CONSTANT = re.compile(r"^static const (\w+) (\w+)\[(\d+)\] = ", re.MULTILINE)
# the name of a layer's function, and the functions that mathematical libraries round differently
INEXACT = re.compile(r"\brun_(\w+)\(.*\b(expf|logf|tanhf)\b", re.DOTALL)


@dataclass(frozen=True)
class SelfTestSums:
    """The expected check sums of the self-test that an exported network runs on an Arduino board.

    limit: one of LIMITS, 0 for images;  weights: the sum of all constants;  steps: the sums [STEPS][LAYERS + 1] of
    every layer and of y
    """

    limit: int
    weights: int = 0
    steps: Sequence[Sequence[int]] = ()

    def declaration(self, name: str, big: str) -> str:
        """Return the C declaration of an Arduino network's self-test for its header."""
        return f"""
/* Whether this board gives what was proved, {STEPS} steps from a reset: 0; -1 where a weight is not as it was written; else
   1 + the first layer that differs, {big}_LAYERS + 1 for the output. */
int {name}_selftest(void);
"""

    def code(self, program: CProgram, name: str) -> str:
        """Return the C code of an Arduino network's self-test, which follows the code of the network."""
        big = name.upper()
        weights = "".join(
            f"    for (int i = 0; i < {size}; i++)\n        sum = {_ADD_TO_SUM[kind].format(f'{array}[i]')};\n"
            for kind, array, size in CONSTANT.findall("".join(program.constants))
        )
        layers = "".join(
            f"    case {i}:\n"
            + "".join(_add_array(buffer, prod(shown.shape)) for buffer in shown.states.values())
            + f"        sum = (sum ^ (uint32_t){name}_spikes({i})) * 16777619u;\n        break;\n"
            for i, shown in enumerate(program.shown)
        )
        image = "(float)(*state >> 8) / 8388608.0f - 1.0f"  # -1 to 1, without rounding
        value = f"(*state >> 24) < {self.limit}u" if self.limit else image
        table = ",\n    ".join("{" + ", ".join(f"0x{word:08X}u" for word in step) + "}" for step in self.steps or [[0]])
        return f"""
/* --- self-test: frames of a generator, and the sums that the proved program gave --- */

#include <string.h>

static const uint32_t plif_test_sums[{STEPS}][{len(program.shown) + 1}] = {{
    {table}}};

/* Adds the bits of a number to a sum; a subnormal is 0 */
static uint32_t plif_test_add(uint32_t sum, float value)
{{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (!(bits & 0x7F800000u))
        bits = 0;
    return (sum ^ bits) * 16777619u;
}}

static uint32_t plif_test_weights(void)
{{
    uint32_t sum = 2166136261u;
{weights}    return sum;
}}

static void plif_test_frame({name}_input x[], uint32_t *state)
{{
    for (int i = 0; i < {big}_INPUTS; i++) {{
        *state = *state * 1664525u + 1013904223u;
        x[i] = {value};
    }}
}}

static uint32_t plif_test_layer(int layer, const float y[])
{{
    uint32_t sum = 2166136261u;
    switch (layer) {{
{layers}    default:
{_add_array("y", f"{big}_CLASSES")}    }}
    return sum;
}}

int {name}_selftest(void)
{{
    static {name}_input x[{big}_INPUTS];
    float y[{big}_CLASSES];
    uint32_t state = 1;
    int wrong = plif_test_weights() == 0x{self.weights:08X}u ? 0 : -1;
    {name}_reset();
    for (int t = 0; !wrong && t < {STEPS}; t++) {{
        plif_test_frame(x, &state);
        {name}_step(x, y);
        for (int layer = 0; !wrong && layer <= {big}_LAYERS; layer++)
            if (plif_test_layer(layer, y) != plif_test_sums[t][layer])
                wrong = 1 + layer;
    }}
    {name}_reset();
    return wrong;
}}
"""


_ADD_TO_SUM = {
    "float": "plif_test_add(sum, {})",
    "int8_t": "(sum ^ (uint8_t){}) * 16777619u",
    "int32_t": "(sum ^ (uint32_t){}) * 16777619u",
}


def _add_array(values: str, size: object) -> str:
    return f"        for (int i = 0; i < {size}; i++)\n            sum = plif_test_add(sum, {values}[i]);\n"
