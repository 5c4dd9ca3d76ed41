"""The step of a neuron as a program: elementwise operations in the order in which the library's code runs them.

A node of kind "Traced" carries its equation as attributes:

    states    {variable: initial number}; one of them is "v", the membrane
    program   [[name, operation, operand, ...], ...]; each line uses only names that exist before it
    h, s      names of the value that is compared with v_threshold, and of the output
    next      {variable: name of its value after the step}
    graded    optional: s has other values than 0 and 1;  spiking: optional, false without a threshold (a leaky
              integrator)

An operand is a number, or the name of an earlier line, of a state before the step, of a parameter, or of an input:
"x", and "x1", "x2" if the node has several. LIF with tau 2, threshold 1 and reset to 0:

    [["above", "Sub", "x", "v"], ["moved", "Div", "above", 2.0], ["h", "Add", "v", "moved"],
     ["fires", "GreaterOrEqual", "h", 1.0], ["s", "Cast", "fires"], ["after", "Where", "fires", 0.0, "h"]]

Operations have their ONNX names. Those of EXACT give the same bits in PyTorch, NumPy and ONNX Runtime; the others
agree within a few units in the last place. A program is read from a card and is untrusted: `check_program` refuses an invalid
one with one line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from runtime.core.base.errors import PlifError
from runtime.core.model.neurons import input_names

if TYPE_CHECKING:
    from runtime.core.model.symbol import Math, States, StepOutput, Terms, Value

NUMBER, BOOLEAN = "a number", "a truth value"
_UNARY, _BINARY = (NUMBER,), (NUMBER, NUMBER)

# operation -> (types of its operands, type of its value). A new one is also added to
# plif_export/core/proof/arithmetic/interpret.py.
OPS: dict[str, tuple[tuple[str, ...], str]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Min", "Max"), (_BINARY, NUMBER)),
    **dict.fromkeys(("Neg", "Abs", "Relu", "Round", "Floor", "Ceil", "Identity"), (_UNARY, NUMBER)),
    **dict.fromkeys(("Exp", "Sigmoid", "Tanh", "Sqrt", "Log"), (_UNARY, NUMBER)),
    "Clip": ((NUMBER, NUMBER, NUMBER), NUMBER),  # x, lowest, highest
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "Equal"), (_BINARY, BOOLEAN)),
    "Not": ((BOOLEAN,), BOOLEAN),
    **dict.fromkeys(("And", "Or"), ((BOOLEAN, BOOLEAN), BOOLEAN)),
    "Where": ((BOOLEAN, NUMBER, NUMBER), NUMBER),
    "Cast": ((BOOLEAN,), NUMBER),  # 0.0 or 1.0
}
EXACT = frozenset(OPS) - {"Exp", "Sigmoid", "Tanh", "Sqrt", "Log"}
MAX_LINES = 256
ATTRS = ("states", "program", "h", "s", "next")


def check_program(attrs: Mapping[str, Any], params: Collection[str], inputs: int, place: str) -> None:
    """Refuse a traced neuron program that is invalid for its node, with a PlifError that begins with `place`.

    attrs   the attributes of the node, untrusted;  params: names of its parameters;  inputs: the number of its inputs
    """
    types = _initial_types(attrs, params, inputs, place)
    program = attrs["program"]
    if not isinstance(program, list | tuple) or len(program) > MAX_LINES:
        raise PlifError(f"{place}: its program is {_short(program)}; expected a list of at most {MAX_LINES} lines")
    for i, line in enumerate(program, 1):
        line_place = f"{place}: line {i} of its program"
        if not isinstance(line, list | tuple) or len(line) < 2 or not _is_name(line[0]):
            raise PlifError(f"{line_place} is {_short(line)}; expected [name, operation, operand, ...]")
        name, op, *operands = line
        if name in types:
            raise PlifError(f"{line_place} makes '{name}', which exists already")
        if not isinstance(op, str) or op not in OPS:
            raise PlifError(f"{line_place} has the operation {_short(op)}; known: {', '.join(OPS)}")
        expected, type_ = OPS[op]
        if len(operands) != len(expected):
            raise PlifError(f"{line_place} gives {len(operands)} operands to {op}; expected {len(expected)}")
        for operand, kind in zip(operands, expected, strict=True):
            _check_operand(operand, kind, types, line_place)
        types[name] = type_
    for key in ("h", "s"):
        _check_operand(attrs[key], NUMBER, types, f"{place}: its {key}", names_only=True)
    following, states = attrs["next"], attrs["states"]
    if not isinstance(following, Mapping) or set(following) != set(states):
        raise PlifError(
            f"{place}: its next states are {_short(following)}; expected one for each of {', '.join(states)}"
        )
    for variable, operand in following.items():
        _check_operand(operand, NUMBER, types, f"{place}: the next {variable}", names_only=True)
    for key in ("graded", "spiking"):
        if not isinstance(attrs.get(key, False), bool):
            raise PlifError(f"{place}: {key} is {_short(attrs[key])}; expected true or false")
    if attrs.get("spiking", True) and not attrs.get("graded", False) and not is_binary(attrs, attrs["s"]):
        raise PlifError(f"{place}: its spikes '{attrs['s']}' are not 0 and 1 alone by their program; say graded: true")


def is_binary(attrs: Mapping[str, Any], name: str) -> bool:
    """Return whether a value of a valid neuron program is always 0 or 1, for any input.

    A comparison is binary, and some operations keep it binary.
    """
    states = {variable for variable, initial in attrs["states"].items() if initial in (0, 1)}
    while True:
        binary = set(states)
        for line_name, op, *operands in attrs["program"]:
            values = operands[1:] if op == "Where" else operands
            are_binary = [(o in binary) if isinstance(o, str) else o in (0, 1) for o in values]
            preserved = op in ("Identity", "Mul", "Min", "Max", "Where", "Abs", "Relu") and all(are_binary)
            if op == "Cast" or preserved or (op == "Sub" and operands[0] == 1 and are_binary[1]):
                binary.add(line_name)
        binary_states = {variable for variable in states if attrs["next"][variable] in binary}
        if binary_states == states:
            return name in binary
        states = binary_states


def _initial_types(attrs: Mapping[str, object], params: Collection[str], inputs: int, place: str) -> dict[str, str]:
    """Return {name: type} of the inputs, states and parameters that a neuron program can read.

    Refuses missing attributes, invalid states and duplicate names.
    """
    missing = [key for key in ATTRS if key not in attrs]
    if missing:
        raise PlifError(f"{place}: its program lacks {', '.join(missing)}")
    states = attrs["states"]
    if not isinstance(states, Mapping) or "v" not in states:
        raise PlifError(
            f"{place}: its states are {_short(states)}; expected {{variable: initial number}} with a membrane 'v'"
        )
    for variable, initial in states.items():
        if not _is_name(variable) or not _is_number(initial):
            raise PlifError(
                f"{place}: its state {_short(variable)} starts at {_short(initial)}; expected a finite number"
            )
    names = [*input_names(inputs), *states, *params]
    for name in names:
        if not _is_name(name) or names.count(name) > 1:
            raise PlifError(f"{place}: {_short(name)} is no name, or names two of its inputs, states and parameters")
    return dict.fromkeys(names, NUMBER)


def _check_operand(operand: object, kind: str, types: Mapping[str, str], place: str, names_only: bool = False) -> None:
    if _is_number(operand) and kind == NUMBER and not names_only:
        return
    if not isinstance(operand, str) or operand not in types:
        raise PlifError(f"{place} reads {_short(operand)}; expected a name that was made before, or a finite number")
    if types[operand] != kind:
        raise PlifError(f"{place} reads '{operand}', which is {types[operand]}; expected {kind}")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isidentifier() and len(value) <= 64


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 3.4e38 and isfinite(value)  # the range of float32


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def run_program(m: Math, n: Terms, x: Value | tuple[Value, ...], state: States) -> StepOutput:
    """Run a traced neuron program for one time-step: return membrane h, spikes s and the next state.

    It is the step of an Equation (runtime/core/model/neurons.py). x is a tuple if the node has several inputs.
    `m.op(operation, *operands)` computes; operands are values or numbers.
    """
    inputs = x if isinstance(x, tuple) else (x,)
    values = {**n.arrays, **dict(zip(input_names(len(inputs)), inputs, strict=True)), **state}
    varying = set(values) - set(n.arrays)  # values that depend on an input or a state: they have the layer's shape
    used = {n.h, n.s, *n.next.values()}
    for name, op, *operands in n.program:
        names = [operand for operand in operands if isinstance(operand, str)]
        values[name] = m.op(op, *(values[operand] if isinstance(operand, str) else operand for operand in operands))
        used.update(names)
        if varying.intersection(names):
            varying.add(name)

    def broadcast(name: str) -> Value:
        return values[name] if name in varying else broadcast_like(inputs[0], name)  # a single number, broadcast

    def broadcast_like(value: Value, name: str) -> Value:
        """Return a neuron program's named value broadcast to the shape of `value`, computed so that it reads `value`."""
        return m.where(m.op("Equal", value, value), values[name], values[name])

    following = {
        # engines drop an input that nothing reads, and with it the state
        variable: broadcast(name) if variable in used else broadcast_like(state[variable], name)
        for variable, name in n.next.items()
    }
    return broadcast(n.h), broadcast(n.s), following
