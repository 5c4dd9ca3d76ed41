"""A neuron layer in C: charge, fire, reset, in the order of its equation (runtime/core/model/neurons.py).

The equation is called with symbols, as for ONNX, and what comes back is printed as C expressions. So there is one equation for
everything that runs, and the order of roundings is its own. Letters: x current, v membrane before and after the step, h membrane
before the reset, s spike, alpha = 1 / tau (Fang et al. 2021, eq. 2 to 6).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod

import numpy as np

from plif_export.core.readers.rules import require
from plif_export.writers.c.names import Names, identifier, number, rounded
from plif_export.writers.c.program import (
    CProgram,
    CValue,
    ShownLayer,
    count_type,
    element,
    flags,
    indent,
    last,
    listing,
)
from runtime.core.model.graph import Node
from runtime.core.model.neurons import equation_of
from runtime.core.model.symbol import Symbol, SymbolicMath, Terms, tensor

# operation of a symbol -> (precedence, text around its operands)
INFIX = {
    "Add": (4, "+"), "Sub": (4, "-"), "Div": (5, "/"), "GreaterOrEqual": (3, ">="), "Greater": (3, ">"),
    "Less": (3, "<"), "Equal": (2, "=="), "And": (1, "&&"), "Or": (1, "||"),
}  # fmt: skip
MIXED = ("And", "Or")  # compilers want parentheses where one stands in the other
CALLS = {
    "Round": "rintf", "Floor": "floorf", "Ceil": "ceilf", "Exp": "expf", "Tanh": "tanhf", "Sqrt": "sqrtf", "Log": "logf",
    "Abs": "fabsf", "Min": "fminf", "Max": "fmaxf",
}  # fmt: skip
TRUTHS = ("GreaterOrEqual", "Greater", "Less", "Equal", "And", "Or", "Not")

# What our own kinds are called in the paper; others say it by their own code.
EQUATIONS = {
    (True, "exact"): "h = v + (x - (v - v_reset)) * alpha",
    (False, "exact"): "h = v - (v - v_reset) * alpha + x",
    (True, "divided"): "h = v + (x - (v - v_reset)) / tau",
    (False, "divided"): "h = v - (v - v_reset) / tau + x",
    (True, "folded"): "h = v * (1 - alpha) + x, where x has alpha and alpha * v_reset in its weights",
    (False, "folded"): "h = v * (1 - alpha) + x, where x has alpha * v_reset in its bias",
}


def equation(node: Node) -> str:
    """A layer's equation in one line, for the comment above its code."""
    a = node.attrs
    if a["kind"] not in ("IF", "LIF", "PLIF"):
        return f"neurons of kind {a['kind']}"
    charge = EQUATIONS[bool(a["decay_input"]), str(a["charge"])] if "alpha" in node.params else "h = v + x"
    reset = "h - s * v_threshold" if a["v_reset"] is None else "v_reset where s, else h"
    return f"{charge};  s = h >= v_threshold;  v = {reset}"


class Expression:
    """Prints symbols as C, with a name of its own for whatever is used more than once."""

    def __init__(self, program: CProgram) -> None:
        self.program, self.lines, self.names = program, list[str](), dict[int, str]()
        self.uses: Counter[int] = Counter()
        self.kept: list[Symbol] = []

    def count(self, value: Symbol | float) -> None:
        if isinstance(value, Symbol):
            self.kept.append(value)  # so that no number of an object is given twice
            self.uses[id(value)] += 1
            if self.uses[id(value)] == 1:
                for part in value.inputs:
                    self.count(part)

    def named(self, value: Symbol, name: str | None = None) -> str:
        """Makes a variable of a value, unless it has a name; without a name for it, the next of t1, t2, ..."""
        if value.name is not None or id(value) in self.names:
            return self.text(value)[0]
        text = self._compose(value)[0]  # which may make variables itself, so ours is counted after it
        name = name or f"t{len(self.names) + 1}"
        kind = "int" if value.op in TRUTHS else "float"
        self.lines.append(f"const {kind} {name} = {text};")
        self.names[id(value)] = name
        return name

    def text(self, value: Symbol | float) -> tuple[str, int]:
        """(C text, how tightly it binds)"""
        if not isinstance(value, Symbol):
            return number(float(value)), 9
        if value.name is not None:
            return value.name, 9
        if id(value) in self.names:
            return self.names[id(value)], 9
        if self.uses[id(value)] > 1:
            return self.named(value), 9
        return self._compose(value)

    def _compose(self, value: Symbol) -> tuple[str, int]:
        op, inputs = str(value.op), list(value.inputs)
        if op == "Sub" and self.text(inputs[1])[0] in ("0.0f", "-0.0f"):
            return self.text(inputs[0])  # v - 0 is v
        if op in INFIX:
            strength, sign = INFIX[op]
            if op in MIXED:
                return f" {sign} ".join(self._inside(part, strength + 1) for part in inputs), strength
            return f"{self._inside(inputs[0], strength)} {sign} {self._inside(inputs[1], strength + 1)}", strength
        if op == "Mul":
            return rounded(" * ".join(self._inside(part, 5 + i) for i, part in enumerate(inputs))), 9
        if op == "Where":
            return f"{self._inside(inputs[0], 1)} ? {self._inside(inputs[1], 1)} : {self._inside(inputs[2], 0)}", 0
        if op == "Cast":
            return f"{self._inside(inputs[0], 1)} ? 1.0f : 0.0f", 0
        if op == "Not":
            return f"!{self._inside(inputs[0], 8)}", 8
        if op == "Neg":
            return f"-{self._inside(inputs[0], 8)}", 8
        if op == "Identity":
            return self.text(inputs[0])
        self.program.headers.add("math.h")
        if op == "Relu":
            return f"fmaxf({self.text(inputs[0])[0]}, 0.0f)", 9
        if op == "Sigmoid":
            return f"1.0f / (1.0f + expf(-{self._inside(inputs[0], 8)}))", 5
        require(op in CALLS, f"its neurons' operation {op} is not written", "use --to onnx")
        return f"{CALLS[op]}({', '.join(self.text(part)[0] for part in inputs)})", 9

    def _inside(self, value: Symbol | float, strength: int) -> str:
        text, own = self.text(value)
        return text if own >= strength and not (text.startswith("-") and strength > 4) else f"({text})"


def neuron(program: CProgram, node: Node) -> CValue:
    """A neuron layer. A product that feeds it alone is written with it, and its sums are taken as they come."""
    product = program.pending.pop(node.inputs[0], None)
    name, shape = program.id(node), node.shape
    channels, places = shape[0], prod(shape[1:])
    states = {variable: program.states[node.layer, variable] for variable in node.initial}
    if node.values == "spikes":
        given = program.spikes(f"{name}_s", shape)
    else:
        given = CValue("floats", program.floats(f"{name}_y", prod(shape), f"{node.layer}: its output"), shape, shape)
    h_name = program.names.new(f"{name}_h")
    program.probes.append(f"static float {h_name}[{prod(shape)}];")
    letters = [f"x{i or ''}" for i in range(len(node.inputs))]
    lines = _step(program, node, letters, states, h_name, given)
    if product is not None:
        reads = [product.current]
    else:
        reads = [_at_place(program, program.as_floats(program.values[one]), node) for one in node.inputs]
    values = [f"const float {k} = {r};" for k, r in zip(letters, reads, strict=True)]
    loop = "\n".join([f"const int at = p * {channels} + o;", *values, *lines])
    finish, fired = f"    for (int o = 0; o < {channels}; o++) {{\n{indent(loop, 2)}    }}\n", ""
    if given.kind == "spikes":
        listed, kind = listing(program, channels), count_type(channels)
        fired = flags(program, channels)
        finish += f"    {given.name}_n[p] = ({kind}){listed}({given.name}_c + p * {channels}, fired, {channels});\n"
    about = f"{node.layer}: {equation(node)}"
    if product is not None:
        named = product.about.startswith(f"{node.layer}: ")
        about = f"{'' if named else f'{node.layer}: '}{product.about}\n   {equation(node)}"
        body = fired + product.body(finish)
    else:
        body = f"{fired}    for (int p = 0; p < {places}; p++) {{\n{indent(finish)}    }}\n"
    program.function(name, about, body)
    program.calls.append(f"PLIF_SHOW({len(program.shown)})")
    program.shown.append(ShownLayer(node.layer, h_name, given, states, shape))
    return given


def _at_place(program: CProgram, source: CValue, node: Node) -> str:
    """A neuron's input at place p and channel o."""
    if source.kind == "floats" and source.shape == node.shape:
        return f"{source.name}[at]"
    require(len(source.shape) == len(node.shape), f"it reads {list(source.shape)}", "use --to onnx")
    inner = list(node.shape[1:])
    index = ["o"]
    for i, n in enumerate(inner):
        below = prod(inner[i + 1 :])
        index.append(f"(p / {below} % {n})" if below > 1 else f"(p % {n})")
    return element(program, source, [k if n > 1 else "0" for k, n in zip(index, source.shape, strict=True)])


def _step(
    program: CProgram, node: Node, letters: list[str], states: Mapping[str, str], h_name: str, held: CValue
) -> list[str]:
    """The lines of one neuron, at index `at` of channel `o`."""
    params = {key: tensor(key) for key in node.params}
    terms = Terms(node.attrs, params, lambda key, value: tensor(number(value)))
    given = Names()  # a state's variable begins with "state_", as nothing else in the file does (Program.id)
    local = {variable: "v" if variable == "v" else given.new(f"state_{identifier(variable)}") for variable in states}
    before = {variable: tensor(local[variable]) for variable in states}
    inputs = tuple(tensor(letter) for letter in letters)
    h, s, after = equation_of(node.attrs["kind"]).step(
        SymbolicMath(), terms, inputs[0] if len(inputs) == 1 else inputs, before
    )
    text = Expression(program)
    cast = s.inputs[0] if isinstance(s, Symbol) and s.op == "Cast" else None
    for value in (h, s, *after.values()):
        text.count(value)
    for key, symbol in params.items():
        if text.uses[id(symbol)]:
            symbol.name = _parameter(program, node, key)
    h_text = text.named(h, "h")
    fires = cast if isinstance(cast, Symbol) and id(s) not in text.names else None  # what is compared may be s itself
    if fires is not None:
        text.named(fires, "fires")
    s_used = text.uses[id(s)] > 1
    fired = text.named(s, "s") if s_used or held.kind != "spikes" or fires is None else ""
    updates = [f"{states[variable]}[at] = {text.text(value)[0]};" for variable, value in after.items()]
    reads = [
        f"const float {local[variable]} = {states[variable]}[at];"
        for variable in states
        if text.uses[id(before[variable])]
    ]
    unread = [f"(void){symbol.name};" for symbol in inputs if not text.uses[id(symbol)]]
    lines = [*reads, *unread, *text.lines, f"PLIF_SEE({h_name}[at], {h_text});", *updates]
    if held.kind == "spikes":
        test = text.text(fires)[0] if fires is not None else f"({fired} > 0.5f)"
        lines.append(f"fired[o] = (uint8_t){test};")
    else:
        lines.append(f"{held.name}[at] = {fired};")
    return lines


def _parameter(program: CProgram, node: Node, key: str) -> str:
    """A parameter of a layer as a constant of the file, and its text at place `at` and channel `o`."""
    values, shape = np.asarray(node.params[key], np.float32), node.shape
    wanted = f"{program.id(node)}_{identifier(key)}"
    if values.size == 1:
        own, value = program.names.new(wanted), float(values.ravel()[0])
        tau = f" /* 1 / tau, tau = {1 / value:.6g} */" if key == "alpha" and value else ""
        program.constants.append(f"#define {own} {number(value)}{tau}\n")
        return own
    if values.ndim == 1:
        return f"{program.constant(wanted, values, f'{node.layer}: {key} of each channel')}[o]"
    return f"{program.constant(wanted, last(values, shape), f'{node.layer}: {key} of each neuron')}[at]"
