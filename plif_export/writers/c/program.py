"""What is collected while a graph becomes C: constants, buffers, functions, and the calls of one step.

A value of the graph is one of three things in C:

    x        the caller's frame, as its shape says: [C][H][W]
    floats   a buffer with the channels last: [H][W][C]; a state or a constant is one as well
    spikes   a list for each place: NAME_n [H * W] says how many channels fired, NAME_c [H * W][C] which, in rising order
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from plif_export.writers.c.names import Names, array, identifier, remark
from runtime.core.model.graph import Graph, Node, Shape

FLOAT_BYTES = 4
STACK_OF_CALLS = 512  # a step calls a layer, that a helper: registers, spilled values, return addresses, mathematics
MOST_FLAGS = 1024  # on the stack; more are a static array
LOCAL = re.compile(r"^ +(?:const )?(float|int|int32_t|uint8_t) \w+(?:\[(\d+)\])?(?: =|;)", re.MULTILINE)


@dataclass(frozen=True)
class CValue:
    """kind: "x", "floats" or "spikes"; name: of its buffer; shape: of the graph; lies: the shape by which it lies in memory,
    another one where a map was flattened and nothing was moved."""

    kind: str
    name: str
    shape: Shape
    lies: Shape

    @property
    def channels(self) -> int:
        return self.lies[0]

    @property
    def places(self) -> int:
        return prod(self.lies[1:])

    @property
    def flattened(self) -> bool:
        return self.lies != self.shape


@dataclass
class LayerMemory:
    """Bytes of one layer: constants (flash) and buffers (RAM)."""

    flash: int = 0
    ram: int = 0


@dataclass
class ShownLayer:
    """A neuron layer as a proof sees it: names of its buffers, and its state variables with theirs."""

    layer: str
    h: str
    s: CValue
    states: dict[str, str]
    shape: Shape


def index_type(channels: int) -> str:
    """The type of a channel's number in a list of spikes."""
    return "uint8_t" if channels <= 256 else "uint16_t"


def count_type(channels: int) -> str:
    """The type of how many channels fired."""
    return "uint8_t" if channels <= 255 else "uint16_t"


def last(values: np.ndarray, shape: Shape) -> np.ndarray:
    """Numbers of a layer, [*shape] or what repeats over that, as they lie: the channels last."""
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(values, shape), 0, -1))


def strides(shape: Shape) -> tuple[int, ...]:
    """How far apart neighbours are along each axis of a value that lies with the channels last."""
    moved = [*shape[1:], shape[0]]
    steps = [prod(moved[i + 1 :]) for i in range(len(moved))]
    return (steps[-1], *steps[:-1])


@dataclass(frozen=True)
class Product:
    """A Conv or Linear that is ready to be written, once it is known what happens with its sums.

    loops    what makes the sums of one place `p`
    current  the current x of output `o`, from sum[o]
    """

    node: Node
    head: str
    loops: str
    current: str
    about: str

    def body(self, finish: str) -> str:
        """The whole body of the function; finish: what is done at place `p` with its sums, indented by one level."""
        depth = 2 if self.node.op == "Conv" else 0
        return self.head + self.loops.replace("@FINISH@\n", indent(finish, depth))


@dataclass
class CProgram:
    """The parts of one file. `input_type`: of a number of the frame, "float" or "uint8_t"."""

    graph: Graph
    input_type: str = "float"
    constants: list[str] = field(default_factory=list)
    buffers: list[str] = field(default_factory=list)
    helpers: dict[str, str] = field(default_factory=dict)
    probe_helpers: dict[str, str] = field(default_factory=dict)
    functions: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)  # what a step does before its layers
    calls: list[str] = field(default_factory=list)
    probes: list[str] = field(default_factory=list)  # buffers that only a proof has
    shown: list[ShownLayer] = field(default_factory=list)
    resets: list[tuple[str, int, float]] = field(default_factory=list)  # (buffer, numbers, what each starts at)
    memory: dict[str, LayerMemory] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)  # type of a sum -> the most outputs of a layer that forms it
    fired: int = 0  # the most channels of a layer that fires
    headers: set[str] = field(default_factory=set)
    names: Names = field(default_factory=Names)
    values: dict[str, CValue] = field(default_factory=dict)
    pending: dict[str, Product] = field(
        default_factory=dict
    )  # products that wait for the neurons which alone read them
    states: dict[tuple[str, str], str] = field(default_factory=dict)  # (layer, variable) -> buffer
    layer: str = ""  # of the node that is being written; its bytes are counted there
    output: CValue | None = None  # as floats, once all is written
    locals: int = 0  # bytes of the variables of the function that has the most

    def id(self, node: Node) -> str:
        """What the names of a node's arrays begin with; not with "state_", by which variables of neurons do."""
        name = identifier(node.layer if node.op == "Neuron" else node.name)
        return f"n{name}" if f"{name}_".startswith("state_") else name

    @property
    def flash(self) -> int:
        """Bytes of all constants."""
        return sum(each.flash for each in self.memory.values())

    @property
    def ram(self) -> int:
        """Bytes of all static buffers."""
        return sum(each.ram for each in self.memory.values())

    @property
    def caller(self) -> int:
        """Bytes of the frame x and the output y, which the caller has."""
        number = FLOAT_BYTES if self.input_type == "float" else 1
        return prod(self.graph.input_shape) * number + prod(self.graph[self.graph.output].shape) * FLOAT_BYTES

    @property
    def stack(self) -> int:
        """Bytes of stack that a step takes at most."""
        return self.locals + STACK_OF_CALLS

    def count(self, flash: int = 0, ram: int = 0) -> None:
        found = self.memory.setdefault(self.layer, LayerMemory())
        found.flash += flash
        found.ram += ram

    def constant(self, wanted: str, values: np.ndarray, about: str) -> str:
        """A constant array [...] of float32, int8 or other whole numbers; `about`: a comment. Returns its name."""
        types = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t"}
        name = self.names.new(wanted)
        self.constants.append(
            f"{remark(about)}\nstatic const {types[values.dtype.name]} {name}[{values.size}] = {{\n{array(values)}}};\n"
        )
        self.count(flash=values.nbytes)
        return name

    def floats(self, wanted: str, size: int, about: str) -> str:
        """A buffer of floats. Returns its name."""
        name = self.names.new(wanted)
        self.buffers.append(f"static float {name}[{size}]; {remark(about)}")
        self.count(ram=size * FLOAT_BYTES)
        return name

    def output_of(self, node: Node, about: str = "its output", end: str = "y") -> CValue:
        """A buffer for what a node gives, as floats."""
        name = self.floats(f"{self.id(node)}_{end}", prod(node.shape), f"{node.name}: {about}")
        return CValue("floats", name, node.shape, node.shape)

    def spikes(self, wanted: str, shape: Shape) -> CValue:
        """A list of spikes for each place of a map."""
        name = self.names.new(wanted, ("_n", "_c", "_f", "_seen", "_flat"))
        channels, places = shape[0], prod(shape[1:])
        index, count = index_type(channels), count_type(channels)
        self.buffers.append(f"static {count} {name}_n[{places}]; /* how many fired at each place */")
        self.buffers.append(f"static {index} {name}_c[{places * channels}]; /* which channels, [place][rank] */")
        self.count(ram=places * (1 if count == "uint8_t" else 2) + places * channels * (1 if index == "uint8_t" else 2))
        self.fired = max(self.fired, channels)
        return CValue("spikes", name, shape, shape)

    def helper(self, name: str, text: str) -> str:
        self.helpers.setdefault(name, text)
        return name

    def function(self, name: str, about: str, body: str) -> None:
        """A function of one layer, and its call in a step."""
        reads_x = re.search(r"\bframe\b", body) is not None
        name = self.names.new(f"run_{name}")
        argument = f"const {self.input_type} frame[]" if reads_x else "void"
        sizes = (int(n or 1) * (1 if kind == "uint8_t" else FLOAT_BYTES) for kind, n in LOCAL.findall(body))
        self.locals = max(self.locals, sum(sizes))
        self.functions.append(f"{remark(about)}\nstatic void {name}({argument})\n{{\n{body}}}\n")
        self.calls.append(f"{name}({'frame' if reads_x else ''});")

    def as_floats(self, value: CValue) -> CValue:
        """The value as floats (or the caller's frame) that lie by their own shape."""
        if value.kind == "spikes":
            value = self._unpacked(value)
        moved = value.flattened and len(value.lies) > 1 and value.places > 1
        return self._moved(value) if moved else replace(value, lies=value.shape)

    def _unpacked(self, value: CValue) -> CValue:
        """Spikes as 0.0 and 1.0, once for all who read them."""
        key = f"{value.name} as floats"
        if key not in self.values:
            name = self.floats(f"{value.name}_f", prod(value.lies), "the same spikes as 0 and 1")
            unpack = unpacking(self, value)
            self.function(
                f"{value.name}_unpack",
                "spikes as numbers",
                f"    {unpack}({name}, {value.name}_c, {value.name}_n, {value.places}, {value.channels});\n",
            )
            self.values[key] = CValue("floats", name, value.lies, value.lies)
        return replace(self.values[key], shape=value.shape)

    def _moved(self, value: CValue) -> CValue:
        """A flattened map, moved into the order of its shape."""
        name = self.floats(f"{value.name}_flat", prod(value.shape), "the same numbers, one after the other")
        loops, at = nest(value.lies)
        source = element(self, replace(value, shape=value.lies), at)
        self.function(
            f"{value.name}_flatten",
            "flattened: channels first",
            f"    int n = 0;\n{indent(loops)}{'    ' * (len(value.lies) + 1)}{name}[n++] = {source};\n",
        )
        return CValue("floats", name, value.shape, value.shape)


def unpacking(program: CProgram, value: CValue, probe: bool = False) -> str:
    """The helper that writes spikes as 0.0 and 1.0; `probe`: one that only a proof has."""
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


def listing(program: CProgram, channels: int) -> str:
    """The helper that makes a list of what fired, and clears the flags for the next place."""
    index = index_type(channels)
    name = f"list_{index[:-2]}"
    return program.helper(
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


def flags(program: CProgram, channels: int) -> str:
    """The declaration of `fired`, the flags of the channels of one place."""
    if channels <= MOST_FLAGS:
        return f"    uint8_t fired[{channels}] = {{0}};\n"
    program.count(ram=channels)
    return f"    static uint8_t fired[{channels}];\n"


def nest(shape: Sequence[int], letters: str = "abcdef") -> tuple[str, list[str]]:
    """Loops over all elements of a shape, in its own order: (their text, the index of each axis)."""
    at = list(letters[: len(shape)])
    lines = [
        f"{'    ' * i}for (int {k} = 0; {k} < {n}; {k}++)\n" for i, (k, n) in enumerate(zip(at, shape, strict=True))
    ]
    return "".join(lines), at


def indent(text: str, by: int = 1) -> str:
    return "".join(f"{'    ' * by}{line}\n" if line else "\n" for line in text.splitlines())


def offset(at: Sequence[str], steps: Sequence[int], shape: Sequence[int]) -> str:
    """The place of one element: an index for each axis, which stays at 0 along axes of size 1."""
    terms = [k if s == 1 else f"{k} * {s}" for k, s, n in zip(at, steps, shape, strict=True) if n != 1 and k != "0"]
    return " + ".join(terms) or "0"


def element(program: CProgram, value: CValue, at: Sequence[str]) -> str:
    """One element of a value by its indices; where it has fewer axes than indices, the last ones count."""
    shape, at = value.shape, list(at)[len(at) - len(value.shape) :]
    if value.kind == "x":
        steps = [prod(shape[i + 1 :]) for i in range(len(shape))]
        text = f"frame[{offset(at, steps, shape)}]"
        return text if program.input_type == "float" else f"(float){text}"
    assert value.kind == "floats", "a list of spikes should have been unpacked"
    return f"{value.name}[{offset(at, strides(shape), shape)}]"
