"""Each kind of neuron is one function, wherever it stands: the equation that the interpreter runs, its ONNX nodes, its C, and the
sentences that say it. Float32 with all its patterns: every input, state, parameter and threshold.

The equation is called as the product calls it (runtime/core/model/neurons.py); ONNX and C are taken from what the writers wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import z3
from onnx import numpy_helper
from pycparser import c_ast, c_parser

from plif_export.core.writers.forms import write_step
from plif_export.readers.nir_file import neurons as nir_neurons
from plif_export.readers.nir_file import reader as nir_reader
from plif_export.writers.c.makers import build_program
from plif_export.writers.c.neurons import CALLS, describe_equation
from runtime.core.model import graph as model_graph
from runtime.core.model import neurons
from runtime.core.model.graph import Graph, Node, state_input, state_output
from runtime.core.model.neurons import EQUATIONS
from runtime.neurons import forward_euler, snntorch_leaky
from tests.programs import ADAPTIVE, GRADED, LEAKY, PLIF
from tests.proofs.symbols import FLOAT, FUNCTIONS, REAL, Symbolic, prove, same

# What a number of a layer is, where the layer has it: no other number of a test is among them.
NUMBERS = {"v_threshold": 0.75, "v_reset": 0.375, "v_leak": 0.1875, "tau": 1.625}
PARAMS = {"alpha": 0.3, "beta": 0.9, "k": 0.2, "k_syn": 0.4, "r": 1.7, "gain": 2.3}


def variants() -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """(kind, its attributes, names of its parameters)"""
    resets: tuple[float | None, ...] = (NUMBERS["v_reset"], 0.0, None)
    for reset in resets:
        for charge, drives in product(("exact", "divided", "folded"), (True, False)):
            attrs = {"v_reset": reset, "charge": charge, "decay_input": drives}
            kind = "LIF" if charge == "divided" else "PLIF"
            yield kind, {**attrs, "tau": NUMBERS["tau"]} if charge == "divided" else attrs, ("alpha",)
        yield "IF", {"v_reset": reset, "charge": "exact", "decay_input": True}, ()
        leak = {"v_reset": reset, "v_leak": NUMBERS["v_leak"]}
        yield "LIFBox", leak, ("k",)
        yield "LIFCell", leak, ("k", "k_syn")
        for fire in (">", ">="):
            for more in ((), ("gain",)):
                yield "NIR-IF", {"v_reset": reset, "fire": fire}, more
            for more in ((), ("r",)):
                yield "NIR-LIF", {**leak, "fire": fire}, ("k", *more)
            for more in ((), ("r",), ("gain",), ("r", "gain")):
                yield "NIR-CubaLIF", {**leak, "fire": fire}, ("k", "k_syn", *more)
    for how, late in product(("subtract", "zero", "none"), (True, False)):
        yield "Leaky", {"v_reset": None, "reset": how, "reset_delay": late}, ("beta",)
    for program, names in ((PLIF, ("alpha",)), (ADAPTIVE, ("beta",)), (GRADED, ()), (LEAKY, ())):
        yield "Traced", {"v_reset": None, **program}, names


def said(variant: Any) -> str:
    """The name of a case."""
    if not isinstance(variant, tuple):
        return str(variant)
    kind, attrs, names = variant
    return " ".join([kind, *(f"{k}={v}" for k, v in attrs.items() if k != "program"), *names]).replace("_", "-")


VARIANTS = list(variants())


def network(kind: str, attrs: Mapping[str, Any], names: tuple[str, ...]) -> Graph:
    """Two neurons that read x, each with parameters of its own."""
    own = {"kind": kind, "layer": "f", "v_threshold": NUMBERS["v_threshold"], **attrs}
    params = {name: np.array([PARAMS[name], PARAMS[name] + 0.01], np.float32) for name in names}
    return Graph((2,), (Node("f_neuron", "Neuron", ("x",), (2,), own, params),), "f_neuron")


class Layer:
    """The symbols of one neuron, and what its equation makes of them."""

    def __init__(self, graph: Graph, sort: z3.SortRef = FLOAT) -> None:
        (self.node,) = graph.neurons
        self.m = Symbolic(sort)
        self.x = z3.Const("x", sort)
        self.state = {variable: z3.Const(f"{variable} before", sort) for variable in self.node.initial}
        self.params = {name: z3.Const(name, sort) for name in self.node.params}
        self.numbers = {name: z3.Const(name, sort) for name, n in NUMBERS.items() if self.node.attrs.get(name) == n}
        if self.node.attrs["kind"] == "Traced":  # its numbers stand in its program
            self.numbers = {}
        self.h, self.s, self.after = self.m.step(self.node, self.numbers, self.params, self.x, self.state)

    def of_h(self, term: Any) -> Any:
        """A term with h as a symbol: what holds for any h holds for this one. `v - 0` is v, which is proved below."""
        v = self.state["v"]
        h, term = (z3.substitute(one, (v - self.m.value(0), v)) for one in (self.h, term))
        return z3.substitute(term, (h, z3.Const("h", self.m.sort)))

    def number(self, value: float) -> Any:
        """A number that was written: that of an attribute is its symbol."""
        return next((self.numbers[k] for k in self.numbers if NUMBERS[k] == value), self.m.value(np.float32(value)))


def test_a_float_less_zero_is_that_float() -> None:
    x = z3.FP("x", FLOAT)
    prove(x - z3.FPVal(0.0, FLOAT) == x)


# --- ONNX -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ("integer", "where"))
@pytest.mark.parametrize("variant", VARIANTS, ids=said)
def test_the_nodes_of_onnx_are_the_equation(variant: tuple[str, dict[str, Any], tuple[str, ...]], dialect: str) -> None:
    graph = network(*variant)
    layer = Layer(graph)
    proto = write_step(graph, 1, None, dialect).graph
    found = {"x": layer.x, **{state_input("f", variable): before for variable, before in layer.state.items()}}
    for tensor in proto.initializer:
        name, values = tensor.name.removeprefix("f_neuron."), numpy_helper.to_array(tensor)
        if name == "one_minus_alpha":
            assert values.tolist() == (np.float32(1) - layer.node.params["alpha"]).tolist()
            found[tensor.name] = 1 - layer.params["alpha"]
        elif name in layer.params:
            assert values.tolist() == layer.node.params[name].tolist()
            found[tensor.name] = layer.params[name]
        else:
            found[tensor.name] = layer.number(values.item())
    for node in proto.node:
        found[node.output[0]] = layer.m.op(node.op_type, *(found[name] for name in node.input))
    h = layer.of_h(layer.h)
    # A file's numbers are finite (an export refuses others); and h * 0 is the reset to 0, but infinity * 0 is not.
    finite = [z3.Not(z3.fpIsInf(h)), *(z3.Not(z3.fpIsNaN(number)) for number in layer.numbers.values())]
    for made, expected in ((found["y"], layer.s), *((found[state_output("f", k)], v) for k, v in layer.after.items())):
        prove(same(layer.of_h(made), layer.of_h(expected)), *finite)


# --- C --------------------------------------------------------------------------------------------------------------------

INFIX = {"+": "Add", "-": "Sub", "*": "Mul", "/": "Div", ">=": "GreaterOrEqual", ">": "Greater", "<": "Less", "==": "Equal",
         "&&": "And", "||": "Or"}  # fmt: skip
NAMES = {call: op for op, call in CALLS.items()}


class Printed:
    """Runs the statements of one neuron, as the C writer printed them."""

    def __init__(self, layer: Layer, known: Mapping[str, Any]) -> None:
        self.layer, self.known, self.h = layer, dict(known), None

    def value(self, node: Any) -> Any:
        m = self.layer.m
        if isinstance(node, c_ast.Constant):
            return self.layer.number(float(node.value.rstrip("f")))
        if isinstance(node, c_ast.ID):
            return self.known[node.name]
        if isinstance(node, c_ast.ArrayRef):
            return self.known[node.name.name]
        if isinstance(node, c_ast.TernaryOp):
            return m.where(*map(self.value, (node.cond, node.iftrue, node.iffalse)))
        if isinstance(node, c_ast.BinaryOp):
            return FUNCTIONS[INFIX[node.op]](self.value(node.left), self.value(node.right))
        if isinstance(node, c_ast.UnaryOp):
            return FUNCTIONS["Not" if node.op == "!" else "Neg"](self.value(node.expr))
        if isinstance(node, c_ast.Cast):
            return self.value(node.expr)
        assert isinstance(node, c_ast.FuncCall), node
        arguments = [self.value(one) for one in node.args.exprs]
        return arguments[0] if node.name.name == "ROUNDED" else m.op(NAMES[node.name.name], *arguments)

    def run(self, statements: list[Any]) -> None:
        for one in statements:
            if isinstance(one, c_ast.Decl) and one.name != "at":
                self.known[one.name] = self.value(one.init)
            elif isinstance(one, c_ast.Assignment):
                self.known[one.lvalue.name.name] = self.value(one.rvalue)
            elif isinstance(one, c_ast.FuncCall):  # PLIF_SEE(place, value)
                self.h = self.value(one.args.exprs[1])


def loop_of(text: str) -> list[Any]:
    """The statements inside the loops of a function that C has the text of."""
    text = "typedef unsigned char uint8_t;" + re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    body = c_parser.CParser().parse(text).ext[-1].body
    while loops := [one for one in body.block_items if isinstance(one, c_ast.For)]:
        body = loops[0].stmt
    return list(body.block_items)


@pytest.mark.parametrize("variant", VARIANTS, ids=said)
def test_the_printed_c_is_the_equation_to_the_bit(variant: tuple[str, dict[str, Any], tuple[str, ...]]) -> None:
    graph = network(*variant)
    layer = Layer(graph)
    program, problems = build_program(graph)
    assert not problems
    known = {"frame": layer.x, **{program.states["f", name]: before for name, before in layer.state.items()}}
    printed = Printed(layer, {**known, **{f"f_{name}": term for name, term in layer.params.items()}})
    printed.run(loop_of(program.functions[0]))
    gives, s = ("fired", layer.s == 1) if layer.node.values == "spikes" else ("f_y", layer.s)
    pairs = [(printed.h, layer.h), (printed.known[gives], s)]
    pairs += [(printed.known[program.states["f", name]], after) for name, after in layer.after.items()]
    for made, expected in pairs:
        prove(layer.of_h(made) == layer.of_h(expected))


# --- sentences --------------------------------------------------------------------------------------------------------------

R = {name: z3.Real(name) for name in (
    "v", "x", "x_", "i", "i_", "alpha", "tau", "beta", "k", "k_syn", "R", "dt", "w_in", "s", "h", "reset", *NUMBERS)
}  # fmt: skip


def term_of(text: str) -> Any:
    """The term that a sentence says: two letters side by side are multiplied, i' is another letter than i."""
    text = re.sub(r"(?<=[\w)]) +(?=[\w(])", " * ", text.strip().replace("'", "_"))
    return eval(text, {"__builtins__": {}}, R)  # a sentence of our own


def says(text: str, begin: str) -> list[str]:
    """Right sides of the equations `LETTER = ...` in the line that begins so; two blanks, a comma or a semicolon end one."""
    (line,) = [one for one in text.splitlines() if one.strip().startswith(begin)]
    return re.findall(r"\b[a-z]'? = (.+?)(?=  |,|;|$)", line.replace("i' = ", "i = ").replace(">  ", "> "))


def real(kind: str, params: Mapping[str, Any], **attrs: Any) -> Layer:
    """A layer of real numbers, the letters of a sentence in place of its symbols."""
    layer = Layer(network(kind, attrs, tuple(params)), REAL)
    letters = {"x": R["x"], **{f"{name} before": R[name] for name in layer.state}, **params}
    pairs = [(z3.Real(name), term) for name, term in letters.items()]
    layer.h, layer.s = (z3.substitute(term, *pairs) for term in (layer.h, layer.s))
    layer.after = {name: z3.substitute(term, *pairs) for name, term in layer.after.items()}
    return layer


def check_sentence(layer: Layer, h: str, s: str, *given: Any) -> None:
    prove(term_of(h) == layer.h, *given)
    fires = z3.substitute(term_of(s), (R["h"], layer.h))
    prove(z3.If(fires, z3.RealVal(1), z3.RealVal(0)) == layer.s, *given)


OURS = {"v_reset": NUMBERS["v_reset"], "charge": "exact", "decay_input": True}


def test_the_table_of_kinds_says_their_equations() -> None:
    text = "".join(module.__doc__ or "" for module in (neurons, snntorch_leaky, forward_euler))
    check_sentence(real("PLIF", {"alpha": R["alpha"]}, **OURS), *says(text, "IF LIF PLIF"))
    leaky = real("Leaky", {"beta": R["beta"]}, v_reset=None, reset="subtract", reset_delay=True)
    late = z3.If(R["v"] > R["v_threshold"], z3.RealVal(1), z3.RealVal(0))  # "reset", of the step before
    check_sentence(leaky, *says(text, "Leaky"), R["reset"] == late)
    norse = {"v_reset": NUMBERS["v_reset"], "v_leak": NUMBERS["v_leak"]}
    check_sentence(real("LIFBox", {"k": R["k"]}, **norse), *says(text, "LIFBox"))
    i, h, s = says(text, "LIFCell")
    check_sentence(real("LIFCell", {name: R[name] for name in ("k", "k_syn")}, **norse), h, s, R["i_"] == term_of(i))


def test_the_sentences_about_our_kinds_say_their_equations() -> None:
    """In the head of a graph's file, in docs/numerics.md, and in the comment above the C of a layer."""
    head, page = model_graph.__doc__ or "", (Path(__file__).parents[2] / "docs" / "numerics.md").read_text("utf-8")
    alpha = {"alpha": R["alpha"]}
    exact, no_decay, no_alpha, folded = (
        real("PLIF", alpha, **OURS),
        real("PLIF", alpha, **{**OURS, "decay_input": False}),
        real("IF", {}, **OURS),
        real("PLIF", alpha, **{**OURS, "charge": "folded"}),
    )
    for layer, begin in ((exact, "charge exact"), (no_decay, "h = v - "), (no_alpha, "h = v + x")):
        prove(term_of(says(head, begin)[0]) == layer.h)
    for text, begin in ((head, "charge folded"), (page, "folded ")):
        prove(z3.substitute(term_of(says(text, begin)[0]), (R["x_"], R["x"])) == folded.h)
    prove(term_of(says(page, "exact ")[0]) == exact.h)
    soft = real("PLIF", alpha, **{**OURS, "v_reset": None})
    for text, begin in ((page, "reset  "), (head, "v = h - s")):
        v = z3.substitute(term_of(says(text, begin)[-1]), (R["h"], soft.h), (R["s"], soft.s))
        prove(v == soft.after["v"])
    for layer in (exact, no_decay, no_alpha, folded):
        check_comment(layer)
    for decays in (True, False):
        divided = real("LIF", alpha, **{**OURS, "charge": "divided", "decay_input": decays, "tau": NUMBERS["tau"]})
        check_comment(divided, R["tau"] > 0)


def check_comment(layer: Layer, *given: Any) -> None:
    h, s, v = says(describe_equation(layer.node), "h = ")
    check_sentence(layer, h, s, *given)
    assert v == "v_reset where s"  # "else h"
    prove(z3.If(layer.s == 1, R["v_reset"], layer.h) == layer.after["v"])


def test_the_sentences_about_nir_say_their_equations() -> None:
    text, k = nir_neurons.__doc__ or "", {"k": R["k"]}
    attrs = {"v_reset": NUMBERS["v_reset"], "fire": ">"}
    leak = {**attrs, "v_leak": NUMBERS["v_leak"]}
    prove(term_of(says(text, "I, IF")[0]) == real("NIR-IF", {"gain": R["R"] * R["dt"]}, **attrs).h)
    lif = real("NIR-LIF", {**k, "r": R["R"]}, **leak)
    prove(term_of(says(text, "LI, LIF")[0]) == lif.h)
    check_sentence(lif, *says(nir_reader.__doc__ or "", "LIF ")[:2])
    cuba = real("NIR-CubaLIF", {**k, "k_syn": R["k_syn"], "r": R["R"], "gain": R["k_syn"] * R["w_in"]}, **leak)
    i, h = map(term_of, says(text, "CubaLI, CubaLIF"))
    prove(i == cuba.after["i"])
    prove(z3.substitute(h, (R["i"], i)) == cuba.h)


def test_every_kind_of_neuron_is_proved() -> None:
    assert {kind for kind, *_ in VARIANTS} == set(EQUATIONS)
