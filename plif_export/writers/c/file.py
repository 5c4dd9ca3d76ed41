"""The text of NAME.c and NAME.h: comments that describe the network, sizes, and the functions of every layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from textwrap import fill
from typing import Protocol

from plif_export.core.readers.rules import Problem
from plif_export.writers.c.makers import build_program
from plif_export.writers.c.names import escape_comment, format_number, format_string, to_identifier
from plif_export.writers.c.program import (
    CProgram,
    CValue,
    add_list_helper,
    add_unpack_helper,
    count_type,
    element_text,
    nest_loops,
    offset_text,
)
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph
from runtime.core.model.grids import GRIDS

FILE_MARK = "/* plif:"  # the first characters of a source file of plif, which identify its kind


class Addition(Protocol):
    """A further function, such as a self-test, in the generated C file after those of the network."""

    def declaration(self, name: str, big: str) -> str:
        """Return the C declaration of an added function, for the generated header."""

    def code(self, program: CProgram, name: str) -> str: ...


@dataclass
class CFiles:
    """The generated C texts of a network: source and header.

    source, header: the texts, without the card;  program: the collected parts;  problems: layers that could not be
    written
    """

    source: str
    header: str
    program: CProgram
    problems: list[Problem] = field(default_factory=list)


def write_c(graph: Graph, card: Card, stem: str, input_type: str = "float", addition: Addition | None = None) -> CFiles:
    """Generate the C source and header of a network graph.

    stem: of both files' names. input_type: of a number of the frame, "float" or "uint8_t". addition: a function to
    add.
    """
    program, problems = build_program(graph, input_type)
    files = CFiles("", "", program, problems)
    if not problems:
        name = to_identifier(stem)
        files.header = _header_text(program, card, stem, addition.declaration(name, name.upper()) if addition else "")
        files.source = _source_text(program, card, stem) + (addition.code(program, name) if addition else "")
    return files


def _fact_lines(card: Card, program: CProgram) -> list[str]:
    """Return the facts about a network as comment lines for the reader of the generated C code."""
    shape = "x".join(map(str, card["input"]["shape"]))
    output = card["output"]
    y = (
        f"share of {output['voters']} voters that fired, by class"
        if output["kind"] == "votes"
        else f"{output['kind']}, by class"
    )
    rounding = " weights where a layer reads spikes, membranes float32" if card["precision"] in GRIDS else ""
    lines = [
        f"network   {card['notation'] or 'read from a module'}",
        f"input     {card['input']['kind']} {shape} ({program.input_type}), channel 1 = ON",
        f"framing   {card['framing'] or 'not said'};  T {card['T']}",
        f"classes   {len(card['classes'])}: {', '.join(map(str, card['classes']))}",
        f"output    {y}",
        f"precision {card['precision']}{rounding};  math {card['math']}",
        f"tau       {', '.join(f'{layer} {_format_tau(tau)}' for layer, tau in card['taus'].items())}",
    ]
    if card["normalisation"]:
        lines.append(f"before    (image - mean) / std with {card['normalisation']}")
    if "flush_denormals" in card:
        lines.append(
            "numbers   below 2^-126 must not be flushed to zero (FTZ, DAZ, FZ): the network would spike otherwise"
        )
    lines.append(f"made from {card['source_sha256'] or 'a module in memory'} (SHA-256 of the model)")
    return [fill(escape_comment(line), 110, subsequent_indent=" " * 13) for line in lines]


def _format_tau(tau: float | list[float] | None) -> str:
    if tau is None:
        return "none"
    return f"{tau:.4g}" if isinstance(tau, int | float) else f"{min(tau):.4g} to {max(tau):.4g}"


def _header_text(program: CProgram, card: Card, stem: str, declared: str) -> str:
    name, shape = to_identifier(stem), card["input"]["shape"]
    big = name.upper()
    voters = card["output"].get("voters", 1)
    if voters > 1:
        kind, votes = "int", f"((int)((y) * (float){big}_VOTERS + 0.5f))"
        about = "the whole votes of a share y; y * VOTERS may be a hair less"
    else:
        kind, votes, about = "float", "(y)", "no votes: outputs are added up as they are"
    sizes = {f"{big}_INPUTS": (prod(shape), f"numbers of a frame, {shape} in row-major order")}
    if len(shape) == 3:
        sizes |= {f"{big}_{key}": (n, "") for key, n in zip(("CHANNELS", "HEIGHT", "WIDTH"), shape, strict=True)}
    sizes |= {
        f"{big}_CLASSES": (len(card["classes"]), "numbers of an output"),
        f"{big}_VOTERS": (voters, ""),
        f"{big}_VOTES(y)": (votes, about),
        f"{big}_T": (card["T"], "steps that it was trained on"),
        f"{big}_CONSTANT_BYTES": (program.flash, "flash, without the code"),
        f"{big}_BUFFER_BYTES": (program.ram, "RAM: static buffers"),
        f"{big}_CALLER_BYTES": (program.caller, "RAM: x and y, which the caller has"),
        f"{big}_STACK_BYTES": (program.stack, "RAM: stack of a step, at most"),
    }
    defines = "".join(
        f"#define {key} {value}{f' /* {about} */' if about else ''}\n" for key, (value, about) in sizes.items()
    )
    classes = ", ".join(format_string(str(c)) for c in card["classes"])
    parts = (
        f"{program.ram} of static buffers, {program.caller} of the caller's x and y, at most {program.stack} of stack"
    )
    ram = f"RAM       {program.ram + program.caller + program.stack} bytes: {parts}"
    facts = "\n".join(f"   {line}" for line in [*_fact_lines(card, program), ram])
    return f"""{FILE_MARK} {escape_comment(stem)}.h, a spiking network as C

    float y[{big}_CLASSES];
    {kind} votes[{big}_CLASSES] = {{0}};
    {name}_reset();  once, and before each recording
    {name}_step(x, y);  for each frame x
    votes[i] += {big}_VOTES(y[i]);  for each class; that with the most votes is the answer, among equals the lowest

{facts}

   No heap, no thread, no library; one stream, whose membranes are static. Not to be entered by two threads at once. */

#ifndef {big}_H
#define {big}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{defines}#define {big}_CLASS_NAMES {{{classes}}}
#define {big}_LAYERS {len(program.shown)} /* layers of neurons */
#define {big}_LAYER_NAMES {{{", ".join(format_string(shown.layer) for shown in program.shown)}}}
#define {big}_LAYER_SIZES {{{", ".join(str(prod(shown.shape)) for shown in program.shown)}}}

typedef {program.input_type} {name}_input; /* one number of a frame */

/* Every membrane to where it starts. */
void {name}_reset(void);

/* One time-step: x [{big}_INPUTS], y [{big}_CLASSES]. 0; or -1 where a number of x is not finite: then y and all membranes are
   as they were. */
int {name}_step(const {name}_input x[], float y[]);

/* How many neurons of a layer fired in the last step, for a monitor of firing rates. */
int {name}_spikes(int layer);
{declared}
#ifdef __cplusplus
}}
#endif
#endif
"""


def _source_text(program: CProgram, card: Card, stem: str) -> str:
    name = to_identifier(stem)
    output = program.output
    assert output is not None
    loops, index = nest_loops(output.shape)
    place = offset_text(index, [prod(output.shape[i + 1 :]) for i in range(len(index))], output.shape)
    copy = f"{loops}{'    ' * len(index)}y[{place}] = {element_text(program, output, index)};"
    resets = "".join(
        f"    for (int i = 0; i < {size}; i++)\n        {buffer}[i] = {format_number(value)};\n"
        for buffer, size, value in program.resets
    )
    calls = "".join(f"    {call}\n" for call in [*program.first, *program.calls, *copy.splitlines()])
    finite = f"""    for (int i = 0; i < {prod(card["input"]["shape"])}; i++)
        if (!(frame[i] - frame[i] == 0)) /* a NaN would stay in the membranes, and silence them */
            return -1;
"""
    finite = finite if program.input_type == "float" else ""
    facts = "\n".join(f"   {line}" for line in _fact_lines(card, program))
    counts = "".join(f"    case {i}:\n{_count_case(shown.s)}" for i, shown in enumerate(program.shown))
    probe = _probe_code(program, name)  # may add helpers, so it comes before they are listed
    includes = "".join(f"#include <{header}>\n" for header in sorted(program.headers))
    return f"""{FILE_MARK} {escape_comment(stem)}.c, a spiking network as C. How to use it: {escape_comment(stem)}.h

{facts}

   Spikes are lists: NAME_n says how many channels fired at a place, NAME_c which. A layer adds up the weight rows of what
   fired, and does nothing for the rest.
   Letters: x current, v membrane, h membrane before the reset, s spike (Fang et al. 2021, eq. 2-6).
   Each operation rounds to float32 once: compile without -ffast-math. */

#include "{escape_comment(stem)}.h"

{includes}
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "-ffast-math changes spikes; compile without it"
#endif
/* h = v * k + x is two roundings, in every build */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off")
#define ROUNDED(product) (product)
#define ROUNDED_RESET
#else
#pragma STDC FP_CONTRACT OFF
/* clang -ffp-contract=fast heeds it not: (v * k) * 1 + x rounds v * k all the same, where the compiler does not know the 1 */
static const volatile float one_in_memory = 1.0f;
static float one = 1.0f;
#define ROUNDED(product) ((product) * one)
#define ROUNDED_RESET one = one_in_memory;
#endif

/* --- weights --- */

{"".join(program.constants)}
/* --- membranes, and what layers hand to each other --- */

{chr(10).join(program.buffers)}

{probe}
/* --- sums and lists --- */

{chr(10).join(program.helpers.values())}
/* --- layers --- */

{chr(10).join(program.functions)}
void {name}_reset(void)
{{
    ROUNDED_RESET
{resets}}}

int {name}_step(const {name}_input frame[], float y[])
{{
{finite}{calls}    return 0;
}}

int {name}_spikes(int layer)
{{
    int count = 0;
    switch (layer) {{
{counts}    }}
    return count;
}}
"""


def _count_case(s: CValue) -> str:
    """Return the C `case` that counts the spikes of one layer of a network."""
    condition = f"{s.name}_n[i]" if s.kind == "spikes" else f"{s.name}[i] < 0 || {s.name}[i] > 0"
    size = s.places if s.kind == "spikes" else prod(s.shape)
    return f"        for (int i = 0; i < {size}; i++)\n            count += {condition};\n        break;\n"


def _probe_code(program: CProgram, name: str) -> str:
    """Return the C code that shows a network's inner values to a proof (probe); -DPLIF_PROBE compiles it."""
    tables, show = [], []
    for number_, shown in enumerate(program.shown):
        size = prod(shown.shape)
        if shown.s.kind == "spikes":
            unpack = add_unpack_helper(program, shown.s, probe=True)
            listed = add_list_helper(program, shown.s.channels)
            program.probes.append(f"static float {shown.s.name}_seen[{size}];")
            channels, places = shown.s.channels, shown.s.places
            numbers = f"{shown.s.name}_seen"
            show.append(
                f"""    case {number_}:
        {unpack}({numbers}, {shown.s.name}_c, {shown.s.name}_n, {places}, {channels});
        plif_probe({number_}, {shown.h}, {numbers});
        for (int p = 0; p < {places}; p++) {{
            static uint8_t fired[{channels}];
            for (int o = 0; o < {channels}; o++)
                fired[o] = {numbers}[p * {channels} + o] > 0.5f;
            {shown.s.name}_n[p] = ({count_type(channels)}){listed}({shown.s.name}_c + p * {channels}, fired, {channels});
        }}
        break;
"""
            )
        else:
            show.append(
                f"    case {number_}:\n        plif_probe({number_}, {shown.h}, {shown.s.name});\n        break;\n"
            )
        states = [f"{{{number_}, {size}, {buffer}}}" for buffer in shown.states.values()]
        tables += states
    sizes = ", ".join(str(prod(shown.shape)) for shown in program.shown)
    text = f"""#ifdef PLIF_PROBE /* for a proof: shows every layer, and gives it the spikes of a reference */
{chr(10).join(program.probes)}
static const int plif_sizes[] = {{{sizes}}};
static const struct {{ int layer, size; float *values; }} plif_states[] = {{{", ".join(tables)}}};
static void plif_probe(int layer, float h[], float s[]); /* may change s and the states */
static void plif_show(int layer);
#define PLIF_SEE(place, value) ((place) = (value))
#define PLIF_SHOW(layer) plif_show(layer);
#else
#define PLIF_SEE(place, value) ((void)(value))
#define PLIF_SHOW(layer)
#endif
"""
    program.functions.append(
        "#ifdef PLIF_PROBE\n"
        + "".join(program.probe_helpers.values())
        + "\nstatic void plif_show(int layer)\n{\n    switch (layer) {\n"
        + "".join(show)
        + "    }\n}\n#endif\n"
    )
    return text
