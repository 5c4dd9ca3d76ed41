"""The parts of a C program while a graph is written: constants, buffers, functions, and the calls of one step.

A value of the graph is one of three things in C:

    x        the caller's frame, in its shape's order: [C][H][W]
    floats   a buffer with the channels last: [H][W][C]; a state or a constant is one as well
    spikes   a list for each place: NAME_n [H * W] is the number of channels that fired, NAME_c [H * W][C] their
             indices, in rising order
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from plif_export.writers.c.names import UniqueNames, format_array, format_comment, to_identifier
from runtime.core.model.graph import Graph, Node, Shape

FLOAT_BYTES = 4
STACK_OF_CALLS = 512  # bytes: a step calls a layer, that a helper: registers, spilled values, return addresses, libm
MOST_FLAGS = 1024  # flags on the stack; more flags are a static array
LOCAL = re.compile(r"^ +(?:const )?(float|int|int32_t|uint8_t) \w+(?:\[(\d+)\])?(?: =|;)", re.MULTILINE)


@dataclass(frozen=True)
class CValue:
    """A value of the network graph in the generated C program: its buffer, kind and memory layout.

    kind: "x", "floats" or "spikes"; name: of its buffer; shape: of the graph; layout: the shape of its memory layout,
    another one if a map was flattened and nothing was moved
    """

    kind: str
    name: str
    shape: Shape
    layout: Shape

    @property
    def channels(self) -> int:
        return self.layout[0]

    @property
    def places(self) -> int:
        return prod(self.layout[1:])

    @property
    def flattened(self) -> bool:
        return self.layout != self.shape


@dataclass
class LayerMemory:
    """The bytes that one layer of a C program needs: constants (flash) and buffers (RAM)."""

    flash: int = 0
    ram: int = 0


@dataclass
class ProbedLayer:
    """The C buffers of a neuron layer that a proof reads: membrane h, spikes, and state variables."""

    layer: str
    h: str
    s: CValue
    states: dict[str, str]
    shape: Shape


def index_type(channels: int) -> str:
    """Return the C integer type of a channel index in a list of spikes."""
    return "uint8_t" if channels <= 256 else "uint16_t"


def count_type(channels: int) -> str:
    """Return the C integer type of the number of channels that fired at a pixel."""
    return "uint8_t" if channels <= 255 else "uint16_t"


def channels_last(values: np.ndarray, shape: Shape) -> np.ndarray:
    """Reorder a layer's numbers, [*shape] or broadcastable to it, so that the channel axis is last in memory."""
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(values, shape), 0, -1))


def channels_last_strides(shape: Shape) -> tuple[int, ...]:
    """Return the memory strides along each axis of a value that is stored with its channels last."""
    moved = [*shape[1:], shape[0]]
    steps = [prod(moved[i + 1 :]) for i in range(len(moved))]
    return (steps[-1], *steps[:-1])


@dataclass(frozen=True)
class Product:
    """The C text of a Conv or Linear layer that lacks only the code that uses its sums.

    loops    the code that forms the sums of one place `p`
    current  the current x of output `o`, from sum[o]
    """

    node: Node
    head: str
    loops: str
    current: str
    about: str

    def body(self, finish: str) -> str:
        """Return the whole body of the C function of a Conv or Linear layer.

        finish: the code that uses the sums at place `p`, indented by one level
        """
        depth = 2 if self.node.op == "Conv" else 0
        return self.head + self.loops.replace("@FINISH@\n", indent(finish, depth))


@dataclass
class CProgram:
    """A C program under construction: the constants, buffers and functions of one generated file.

    `input_type`: of a number of the frame, "float" or "uint8_t".
    """

    graph: Graph
    input_type: str = "float"
    constants: list[str] = field(default_factory=list)
    buffers: list[str] = field(default_factory=list)
    helpers: dict[str, str] = field(default_factory=dict)
    probe_helpers: dict[str, str] = field(default_factory=dict)
    functions: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)  # statements of a step before its layers
    calls: list[str] = field(default_factory=list)
    probes: list[str] = field(default_factory=list)  # buffers for the proof only
    shown: list[ProbedLayer] = field(default_factory=list)
    resets: list[tuple[str, int, float]] = field(default_factory=list)  # (buffer, numbers, initial value)
    memory: dict[str, LayerMemory] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)  # type of a sum -> the most outputs of a layer that forms it
    fired: int = 0  # the most channels of a layer that fires
    headers: set[str] = field(default_factory=set)
    names: UniqueNames = field(default_factory=UniqueNames)
    values: dict[str, CValue] = field(default_factory=dict)
    pending: dict[str, Product] = field(
        default_factory=dict
    )  # products that are written with their only reader, a neuron layer
    states: dict[tuple[str, str], str] = field(default_factory=dict)  # (layer, variable) -> buffer
    layer: str = ""  # the node that is being written, for the count of bytes
    output: CValue | None = None  # as floats, set at the end
    locals: int = 0  # the largest bytes of local variables of a function

    def node_id(self, node: Node) -> str:
        """Return the prefix of a graph node's array names in C; never "state_", the prefix of neuron variables."""
        name = to_identifier(node.layer if node.op == "Neuron" else node.name)
        return f"n{name}" if f"{name}_".startswith("state_") else name

    @property
    def flash(self) -> int:
        """The bytes of all constants of a generated C program."""
        return sum(layer.flash for layer in self.memory.values())

    @property
    def ram(self) -> int:
        """The bytes of all static buffers of a generated C program."""
        return sum(layer.ram for layer in self.memory.values())

    @property
    def caller(self) -> int:
        """The bytes of the input frame x and the output y, which the caller of a C network allocates."""
        number = FLOAT_BYTES if self.input_type == "float" else 1
        return prod(self.graph.input_shape) * number + prod(self.graph[self.graph.output].shape) * FLOAT_BYTES

    @property
    def stack(self) -> int:
        """The largest number of stack bytes that one step of a generated C program needs."""
        return self.locals + STACK_OF_CALLS

    def count_bytes(self, flash: int = 0, ram: int = 0) -> None:
        memory = self.memory.setdefault(self.layer, LayerMemory())
        memory.flash += flash
        memory.ram += ram

    def add_constant(self, base_name: str, values: np.ndarray, about: str) -> str:
        """Add a constant array [...] of float32, int8 or other whole numbers to a C program; return its name.

        `about`: a comment
        """
        types = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t"}
        name = self.names.new(base_name)
        self.constants.append(
            f"{format_comment(about)}\n"
            f"static const {types[values.dtype.name]} {name}[{values.size}] = {{\n{format_array(values)}}};\n"
        )
        self.count_bytes(flash=values.nbytes)
        return name

    def add_floats(self, base_name: str, size: int, about: str) -> str:
        """Add a static buffer of floats to a C program, and return its name."""
        name = self.names.new(base_name)
        self.buffers.append(f"static float {name}[{size}]; {format_comment(about)}")
        self.count_bytes(ram=size * FLOAT_BYTES)
        return name

    def add_output(self, node: Node, about: str = "its output", end: str = "y") -> CValue:
        """Add a static buffer of floats for the output of a graph node to a C program."""
        name = self.add_floats(f"{self.node_id(node)}_{end}", prod(node.shape), f"{node.name}: {about}")
        return CValue("floats", name, node.shape, node.shape)

    def add_spikes(self, base_name: str, shape: Shape) -> CValue:
        """Add static buffers to a C program for the list of channels that spike at each pixel of a map."""
        name = self.names.new(base_name, ("_n", "_c", "_f", "_seen", "_flat"))
        channels, places = shape[0], prod(shape[1:])
        index, count = index_type(channels), count_type(channels)
        self.buffers.append(f"static {count} {name}_n[{places}]; /* how many fired at each place */")
        self.buffers.append(f"static {index} {name}_c[{places * channels}]; /* which channels, [place][rank] */")
        self.count_bytes(
            ram=places * (1 if count == "uint8_t" else 2) + places * channels * (1 if index == "uint8_t" else 2)
        )
        self.fired = max(self.fired, channels)
        return CValue("spikes", name, shape, shape)

    def add_helper(self, name: str, text: str) -> str:
        self.helpers.setdefault(name, text)
        return name

    def add_function(self, name: str, about: str, body: str) -> None:
        """Add the C function of one layer to a program, and its call in a step."""
        reads_x = re.search(r"\bframe\b", body) is not None
        name = self.names.new(f"run_{name}")
        argument = f"const {self.input_type} frame[]" if reads_x else "void"
        sizes = (int(n or 1) * (1 if kind == "uint8_t" else FLOAT_BYTES) for kind, n in LOCAL.findall(body))
        self.locals = max(self.locals, sum(sizes))
        self.functions.append(f"{format_comment(about)}\nstatic void {name}({argument})\n{{\n{body}}}\n")
        self.calls.append(f"{name}({'frame' if reads_x else ''});")

    def as_floats(self, value: CValue) -> CValue:
        """Return a value of a C program as an array of floats in the order of its own shape."""
        if value.kind == "spikes":
            value = self._unpack_spikes(value)
        moved = value.flattened and len(value.layout) > 1 and value.places > 1
        return self._copy_flat(value) if moved else replace(value, layout=value.shape)

    def _unpack_spikes(self, value: CValue) -> CValue:
        """Add C code that unpacks a list of spikes to 0.0 and 1.0, once for all code that reads it."""
        key = f"{value.name} as floats"
        if key not in self.values:
            name = self.add_floats(f"{value.name}_f", prod(value.layout), "the same spikes as 0 and 1")
            unpack = add_unpack_helper(self, value)
            self.add_function(
                f"{value.name}_unpack",
                "spikes as numbers",
                f"    {unpack}({name}, {value.name}_c, {value.name}_n, {value.places}, {value.channels});\n",
            )
            self.values[key] = CValue("floats", name, value.layout, value.layout)
        return replace(self.values[key], shape=value.shape)

    def _copy_flat(self, value: CValue) -> CValue:
        """Add C code that copies a flattened map into the order of its shape."""
        name = self.add_floats(f"{value.name}_flat", prod(value.shape), "the same numbers, one after the other")
        loops, index = nest_loops(value.layout)
        source = element_text(self, replace(value, shape=value.layout), index)
        self.add_function(
            f"{value.name}_flatten",
            "flattened: channels first",
            f"    int n = 0;\n{indent(loops)}{'    ' * (len(value.layout) + 1)}{name}[n++] = {source};\n",
        )
        return CValue("floats", name, value.shape, value.shape)


def add_unpack_helper(program: CProgram, value: CValue, probe: bool = False) -> str:
    """Add the C function that writes a list of spikes as 0.0 and 1.0 to a program, and return its name.

    `probe`: a helper for the proof only
    """
    index, count = index_type(value.channels), count_type(value.channels)
    name = f"{'plif_' * probe}unpack_{index[:-2]}_{count[:-2]}"
    helpers = program.probe_helpers if probe else program.helpers
    helpers.setdefault(
        name,
        f"""static void {name}(float out[], const {index} c[], const {count} n[], int places, int channels)
{{
    for (int p = 0; p < places; p++, out += channels, c += channels) {{
        for (int o = 0; o < channels; o++)
            out[o] = 0.0f;
        for (int k = 0; k < n[p]; k++)
            out[c[k]] = 1.0f;
    }}
}}
""",
    )
    return name


def add_list_helper(program: CProgram, channels: int) -> str:
    """Add the C function that lists the channels that fired and clears their flags; return its name."""
    index = index_type(channels)
    name = f"list_{index[:-2]}"
    return program.add_helper(
        name,
        f"""/* fired[o] of 0 or 1 -> the list c of those that are 1; returns how many, and clears fired */
static int {name}({index} c[], uint8_t fired[], int channels)
{{
    int n = 0;
    for (int o = 0; o < channels; o++) {{
        c[n] = ({index})o;
        n += fired[o];
        fired[o] = 0;
    }}
    return n;
}}
""",
    )


def declare_flags(program: CProgram, channels: int) -> str:
    """Return the C declaration of the array `fired`: a flag for each channel that has fired at one pixel."""
    if channels <= MOST_FLAGS:
        return f"    uint8_t fired[{channels}] = {{0}};\n"
    program.count_bytes(ram=channels)
    return f"    static uint8_t fired[{channels}];\n"


def nest_loops(shape: Sequence[int], letters: str = "abcdef") -> tuple[str, list[str]]:
    """Return nested C loops over all elements of a shape: (their text, the index of each axis)."""
    index = list(letters[: len(shape)])
    lines = [
        f"{'    ' * i}for (int {k} = 0; {k} < {n}; {k}++)\n" for i, (k, n) in enumerate(zip(index, shape, strict=True))
    ]
    return "".join(lines), index


def indent(text: str, by: int = 1) -> str:
    return "".join(f"{'    ' * by}{line}\n" if line else "\n" for line in text.splitlines())


def offset_text(index: Sequence[str], steps: Sequence[int], shape: Sequence[int]) -> str:
    """Return the C text of an element's memory offset from its index in each axis; axes of size 1 have no term."""
    terms = [k if s == 1 else f"{k} * {s}" for k, s, n in zip(index, steps, shape, strict=True) if n != 1 and k != "0"]
    return " + ".join(terms) or "0"


def element_text(program: CProgram, value: CValue, index: Sequence[str]) -> str:
    """Return the C text of one element of an array by its indices; one with fewer axes uses the last indices."""
    shape, index = value.shape, list(index)[len(index) - len(value.shape) :]
    if value.kind == "x":
        steps = [prod(shape[i + 1 :]) for i in range(len(shape))]
        text = f"frame[{offset_text(index, steps, shape)}]"
        return text if program.input_type == "float" else f"(float){text}"
    assert value.kind == "floats", "a list of spikes should have been unpacked"
    return f"{value.name}[{offset_text(index, channels_last_strides(shape), shape)}]"
