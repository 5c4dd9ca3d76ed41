"""The C code of a neuron layer: charge, fire, reset, in the order of its equation.

The equation (runtime/core/model/neurons.py) is called with symbols, as for ONNX, and the resulting expressions are
printed as C. So there is one equation for everything that runs, with its own order of roundings. Letters: x current,
v membrane before and after the step, h membrane before the reset, s spike, alpha = 1 / tau (Fang et al. 2021, eq. 2
to 6).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod

import numpy as np

from plif_export.core.readers.rules import require
from plif_export.writers.c.names import UniqueNames, format_number, no_fma, to_identifier
from plif_export.writers.c.program import (
    CProgram,
    CValue,
    ProbedLayer,
    add_list_helper,
    channels_last,
    count_type,
    declare_flags,
    element_text,
    indent,
)
from runtime.core.model.graph import Node
from runtime.core.model.neurons import get_equation
from runtime.core.model.symbol import Symbol, SymbolicMath, Terms, tensor_symbol

# operation of a symbol -> (precedence, text around its operands)
INFIX = {
    "Add": (4, "+"), "Sub": (4, "-"), "Div": (5, "/"), "GreaterOrEqual": (3, ">="), "Greater": (3, ">"),
    "Less": (3, "<"), "Equal": (2, "=="), "And": (1, "&&"), "Or": (1, "||"),
}  # fmt: skip
MIXED = ("And", "Or")  # compilers warn without parentheses around one in the other
CALLS = {
    "Round": "rintf", "Floor": "floorf", "Ceil": "ceilf", "Exp": "expf", "Tanh": "tanhf", "Sqrt": "sqrtf", "Log": "logf",
    "Abs": "fabsf", "Min": "fminf", "Max": "fmaxf",
}  # fmt: skip
BOOLEAN_OPS = ("GreaterOrEqual", "Greater", "Less", "Equal", "And", "Or", "Not")

# The equations of plif's own kinds in the paper's letters.
EQUATIONS = {
    (True, "exact"): "h = v + (x - (v - v_reset)) * alpha",
    (False, "exact"): "h = v - (v - v_reset) * alpha + x",
    (True, "divided"): "h = v + (x - (v - v_reset)) / tau",
    (False, "divided"): "h = v - (v - v_reset) / tau + x",
    (True, "folded"): "h = v * (1 - alpha) + x, where x has alpha and alpha * v_reset in its weights",
    (False, "folded"): "h = v * (1 - alpha) + x, where x has alpha * v_reset in its bias",
}


def describe_equation(node: Node) -> str:
    """Return a neuron layer's equation in one line, for the comment above its C code."""
    a = node.attrs
    if a["kind"] not in ("IF", "LIF", "PLIF"):
        return f"neurons of kind {a['kind']}"
    charge = EQUATIONS[bool(a["decay_input"]), str(a["charge"])] if "alpha" in node.params else "h = v + x"
    reset = "h - s * v_threshold" if a["v_reset"] is None else "v_reset where s, else h"
    return f"{charge};  s = h >= v_threshold;  v = {reset}"


class ExpressionPrinter:
    """A printer of symbolic expressions as C code, with a variable for each value that is used more than once."""

    def __init__(self, program: CProgram) -> None:
        self.program, self.lines, self.names = program, list[str](), dict[int, str]()
        self.uses: Counter[int] = Counter()
        self.symbols: list[Symbol] = []

    def count_uses(self, value: Symbol | float) -> None:
        if isinstance(value, Symbol):
            self.symbols.append(value)  # keeps the objects alive, so that no id() is used twice
            self.uses[id(value)] += 1
            if self.uses[id(value)] == 1:
                for part in value.inputs:
                    self.count_uses(part)

    def define_variable(self, value: Symbol, name: str | None = None) -> str:
        """Define a C variable for a value of an expression, unless it has a name already.

        The default names are t1, t2, ...
        """
        if value.name is not None or id(value) in self.names:
            return self.text(value)[0]
        text = self._compose(value)[0]  # may define variables itself, so this one is numbered after them
        name = name or f"t{len(self.names) + 1}"
        kind = "int" if value.op in BOOLEAN_OPS else "float"
        self.lines.append(f"const {kind} {name} = {text};")
        self.names[id(value)] = name
        return name

    def text(self, value: Symbol | float) -> tuple[str, int]:
        """Return (C text of an expression's value, its operator precedence)."""
        if not isinstance(value, Symbol):
            return format_number(float(value)), 9
        if value.name is not None:
            return value.name, 9
        if id(value) in self.names:
            return self.names[id(value)], 9
        if self.uses[id(value)] > 1:
            return self.define_variable(value), 9
        return self._compose(value)

    def _compose(self, value: Symbol) -> tuple[str, int]:
        op, inputs = str(value.op), list(value.inputs)
        if op == "Sub" and self.text(inputs[1])[0] in ("0.0f", "-0.0f"):
            return self.text(inputs[0])  # v - 0 is v
        if op in INFIX:
            strength, sign = INFIX[op]
            if op in MIXED:
                return f" {sign} ".join(self._parenthesize(part, strength + 1) for part in inputs), strength
            return (
                f"{self._parenthesize(inputs[0], strength)} {sign} {self._parenthesize(inputs[1], strength + 1)}",
                strength,
            )
        if op == "Mul":
            return no_fma(" * ".join(self._parenthesize(part, 5 + i) for i, part in enumerate(inputs))), 9
        if op == "Where":
            return (
                f"{self._parenthesize(inputs[0], 1)} ? {self._parenthesize(inputs[1], 1)} : {self._parenthesize(inputs[2], 0)}",
                0,
            )
        if op == "Cast":
            return f"{self._parenthesize(inputs[0], 1)} ? 1.0f : 0.0f", 0
        if op == "Not":
            return f"!{self._parenthesize(inputs[0], 8)}", 8
        if op == "Neg":
            return f"-{self._parenthesize(inputs[0], 8)}", 8
        if op == "Identity":
            return self.text(inputs[0])
        self.program.headers.add("math.h")
        if op == "Relu":
            return f"fmaxf({self.text(inputs[0])[0]}, 0.0f)", 9
        if op == "Sigmoid":
            return f"1.0f / (1.0f + expf(-{self._parenthesize(inputs[0], 8)}))", 5
        require(op in CALLS, f"its neurons' operation {op} is not written", "use --to onnx")
        return f"{CALLS[op]}({', '.join(self.text(part)[0] for part in inputs)})", 9

    def _parenthesize(self, value: Symbol | float, strength: int) -> str:
        text, precedence = self.text(value)
        return text if precedence >= strength and not (text.startswith("-") and strength > 4) else f"({text})"


def write_neuron(program: CProgram, node: Node) -> CValue:
    """Write the C function of a neuron layer, together with the convolution before it if nothing else reads that.

    A product that feeds it alone is written with it, and its sums are used directly.
    """
    product = program.pending.pop(node.inputs[0], None)
    name, shape = program.node_id(node), node.shape
    channels, places = shape[0], prod(shape[1:])
    states = {variable: program.states[node.layer, variable] for variable in node.initial}
    if node.values == "spikes":
        output = program.add_spikes(f"{name}_s", shape)
    else:
        output = CValue(
            "floats", program.add_floats(f"{name}_y", prod(shape), f"{node.layer}: its output"), shape, shape
        )
    h_name = program.names.new(f"{name}_h")
    program.probes.append(f"static float {h_name}[{prod(shape)}];")
    letters = [f"x{i or ''}" for i in range(len(node.inputs))]
    lines = _step_lines(program, node, letters, states, h_name, output)
    if product is not None:
        reads = [product.current]
    else:
        reads = [_input_at(program, program.as_floats(program.values[k]), node) for k in node.inputs]
    values = [f"const float {k} = {r};" for k, r in zip(letters, reads, strict=True)]
    loop = "\n".join([f"const int at = p * {channels} + o;", *values, *lines])
    finish, fired = f"    for (int o = 0; o < {channels}; o++) {{\n{indent(loop, 2)}    }}\n", ""
    if output.kind == "spikes":
        listed, kind = add_list_helper(program, channels), count_type(channels)
        fired = declare_flags(program, channels)
        finish += f"    {output.name}_n[p] = ({kind}){listed}({output.name}_c + p * {channels}, fired, {channels});\n"
    about = f"{node.layer}: {describe_equation(node)}"
    if product is not None:
        named = product.about.startswith(f"{node.layer}: ")
        about = f"{'' if named else f'{node.layer}: '}{product.about}\n   {describe_equation(node)}"
        body = fired + product.body(finish)
    else:
        body = f"{fired}    for (int p = 0; p < {places}; p++) {{\n{indent(finish)}    }}\n"
    program.add_function(name, about, body)
    program.calls.append(f"PLIF_SHOW({len(program.shown)})")
    program.shown.append(ProbedLayer(node.layer, h_name, output, states, shape))
    return output


def _input_at(program: CProgram, source: CValue, node: Node) -> str:
    """Return the C expression of a neuron's input current at pixel p and channel o."""
    if source.kind == "floats" and source.shape == node.shape:
        return f"{source.name}[at]"
    require(len(source.shape) == len(node.shape), f"it reads {list(source.shape)}", "use --to onnx")
    inner = list(node.shape[1:])
    index = ["o"]
    for i, n in enumerate(inner):
        below = prod(inner[i + 1 :])
        index.append(f"(p / {below} % {n})" if below > 1 else f"(p % {n})")
    return element_text(program, source, [k if n > 1 else "0" for k, n in zip(index, source.shape, strict=True)])


def _step_lines(
    program: CProgram, node: Node, letters: list[str], states: Mapping[str, str], h_name: str, output: CValue
) -> list[str]:
    """Return the C lines that compute one time-step of one neuron, at index `at` of channel `o`."""
    params = {key: tensor_symbol(key) for key in node.params}
    terms = Terms(node.attrs, params, lambda key, value: tensor_symbol(format_number(value)))
    local_names = (
        UniqueNames()
    )  # a state's variable begins with "state_", as nothing else in the file does (Program.id)
    local = {
        variable: "v" if variable == "v" else local_names.new(f"state_{to_identifier(variable)}") for variable in states
    }
    before = {variable: tensor_symbol(local[variable]) for variable in states}
    inputs = tuple(tensor_symbol(letter) for letter in letters)
    h, s, after = get_equation(node.attrs["kind"]).step(
        SymbolicMath(), terms, inputs[0] if len(inputs) == 1 else inputs, before
    )
    text = ExpressionPrinter(program)
    cast = s.inputs[0] if isinstance(s, Symbol) and s.op == "Cast" else None
    for value in (h, s, *after.values()):
        text.count_uses(value)
    for key, symbol in params.items():
        if text.uses[id(symbol)]:
            symbol.name = _parameter_text(program, node, key)
    h_text = text.define_variable(h, "h")
    fires = cast if isinstance(cast, Symbol) and id(s) not in text.names else None  # the comparison may be s itself
    if fires is not None:
        text.define_variable(fires, "fires")
    s_used = text.uses[id(s)] > 1
    fired = text.define_variable(s, "s") if s_used or output.kind != "spikes" or fires is None else ""
    updates = [f"{states[variable]}[at] = {text.text(value)[0]};" for variable, value in after.items()]
    reads = [
        f"const float {local[variable]} = {states[variable]}[at];"
        for variable in states
        if text.uses[id(before[variable])]
    ]
    unread = [f"(void){symbol.name};" for symbol in inputs if not text.uses[id(symbol)]]
    lines = [*reads, *unread, *text.lines, f"PLIF_SEE({h_name}[at], {h_text});", *updates]
    if output.kind == "spikes":
        test = text.text(fires)[0] if fires is not None else f"({fired} > 0.5f)"
        lines.append(f"fired[o] = (uint8_t){test};")
    else:
        lines.append(f"{output.name}[at] = {fired};")
    return lines


def _parameter_text(program: CProgram, node: Node, key: str) -> str:
    """Add a neuron parameter to the C file as a constant; return its C text for pixel `at` and channel `o`."""
    values, shape = np.asarray(node.params[key], np.float32), node.shape
    base_name = f"{program.node_id(node)}_{to_identifier(key)}"
    if values.size == 1:
        macro, value = program.names.new(base_name), float(values.ravel()[0])
        tau = f" /* 1 / tau, tau = {1 / value:.6g} */" if key == "alpha" and value else ""
        program.constants.append(f"#define {macro} {format_number(value)}{tau}\n")
        return macro
    if values.ndim == 1:
        return f"{program.add_constant(base_name, values, f'{node.layer}: {key} of each channel')}[o]"
    return f"{program.add_constant(base_name, channels_last(values, shape), f'{node.layer}: {key} of each neuron')}[at]"
