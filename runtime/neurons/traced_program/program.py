"""A neuron's step as a program: elementwise operations in the order in which a library's own code does them.

A node of kind "Traced" carries its equation with it, as attributes:

    states    {variable: initial number}; one of them is "v", the membrane
    program   [[name, operation, operand, ...], ...], each line made of what stands before it
    h, s      names of what is compared with v_threshold, and of the output
    next      {variable: name of its value after the step}
    graded    optional: s is more than 0 and 1;  spiking: optional, false where nothing is compared (a leaky integrator)

An operand is a number, or the name of an earlier line, of a state before the step, of a parameter, or of an input: "x", and
"x1", "x2" where the node has several. LIF with tau 2, threshold 1 and reset to 0:

    [["above", "Sub", "x", "v"], ["moved", "Div", "above", 2.0], ["h", "Add", "v", "moved"],
     ["fires", "GreaterOrEqual", "h", 1.0], ["s", "Cast", "fires"], ["after", "Where", "fires", 0.0, "h"]]

Operations are called as in ONNX. Those of EXACT give the same bits in PyTorch, NumPy and ONNX Runtime; the others agree within
a few units in the last place. A program comes from a card, so from strangers: `check` refuses what does not fit, in one line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from runtime.core.base.errors import PlifError
from runtime.core.model.neurons import input_names

if TYPE_CHECKING:
    from runtime.core.model.symbol import Math, States, Stepped, Terms, Value

NUMBER, TRUTH = "a number", "a truth value"
_ONE, _TWO = (NUMBER,), (NUMBER, NUMBER)

# operation -> (what its operands are, what it gives). To add one, teach it to plif_export/core/proof/arithmetic/interpret.py as
# well.
OPS: dict[str, tuple[tuple[str, ...], str]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Min", "Max"), (_TWO, NUMBER)),
    **dict.fromkeys(("Neg", "Abs", "Relu", "Round", "Floor", "Ceil", "Identity"), (_ONE, NUMBER)),
    **dict.fromkeys(("Exp", "Sigmoid", "Tanh", "Sqrt", "Log"), (_ONE, NUMBER)),
    "Clip": ((NUMBER, NUMBER, NUMBER), NUMBER),  # x, lowest, highest
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "Equal"), (_TWO, TRUTH)),
    "Not": ((TRUTH,), TRUTH),
    **dict.fromkeys(("And", "Or"), ((TRUTH, TRUTH), TRUTH)),
    "Where": ((TRUTH, NUMBER, NUMBER), NUMBER),
    "Cast": ((TRUTH,), NUMBER),  # 0.0 or 1.0
}
EXACT = frozenset(OPS) - {"Exp", "Sigmoid", "Tanh", "Sqrt", "Log"}
MOST_LINES = 256
ATTRS = ("states", "program", "h", "s", "next")


def check(attrs: Mapping[str, Any], params: Collection[str], inputs: int, where: str) -> None:
    """Refuses a program that does not fit its node, with PlifError that begins with `where`.

    attrs   of the node, of any content;  params: names of its parameters;  inputs: how many the node has
    """
    known = _known_before(attrs, params, inputs, where)
    program = attrs["program"]
    if not isinstance(program, list | tuple) or len(program) > MOST_LINES:
        raise PlifError(f"{where}: its program is {_short(program)}; expected a list of at most {MOST_LINES} lines")
    for i, line in enumerate(program, 1):
        here = f"{where}: line {i} of its program"
        if not isinstance(line, list | tuple) or len(line) < 2 or not _is_name(line[0]):
            raise PlifError(f"{here} is {_short(line)}; expected [name, operation, operand, ...]")
        name, op, *operands = line
        if name in known:
            raise PlifError(f"{here} makes '{name}', which exists already")
        if not isinstance(op, str) or op not in OPS:
            raise PlifError(f"{here} has the operation {_short(op)}; known: {', '.join(OPS)}")
        wanted, gives = OPS[op]
        if len(operands) != len(wanted):
            raise PlifError(f"{here} gives {len(operands)} operands to {op}; expected {len(wanted)}")
        for operand, kind in zip(operands, wanted, strict=True):
            _check_operand(operand, kind, known, here)
        known[name] = gives
    for key in ("h", "s"):
        _check_operand(attrs[key], NUMBER, known, f"{where}: its {key}", names_only=True)
    following, states = attrs["next"], attrs["states"]
    if not isinstance(following, Mapping) or set(following) != set(states):
        raise PlifError(
            f"{where}: its next states are {_short(following)}; expected one for each of {', '.join(states)}"
        )
    for variable, operand in following.items():
        _check_operand(operand, NUMBER, known, f"{where}: the next {variable}", names_only=True)
    for key in ("graded", "spiking"):
        if not isinstance(attrs.get(key, False), bool):
            raise PlifError(f"{where}: {key} is {_short(attrs[key])}; expected true or false")
    if attrs.get("spiking", True) and not attrs.get("graded", False) and not is_binary(attrs, attrs["s"]):
        raise PlifError(f"{where}: its spikes '{attrs['s']}' are not 0 and 1 alone by their program; say graded: true")


def is_binary(attrs: Mapping[str, Any], name: str) -> bool:
    """Whether a value of a program that fits is 0 or 1, whatever goes in: what comes of a comparison, and stays so."""
    states = {variable for variable, initial in attrs["states"].items() if initial in (0, 1)}
    while True:
        known = set(states)
        for made, op, *operands in attrs["program"]:
            values = operands[1:] if op == "Where" else operands
            fits = [(o in known) if isinstance(o, str) else o in (0, 1) for o in values]
            kept = op in ("Identity", "Mul", "Min", "Max", "Where", "Abs", "Relu") and all(fits)
            if op == "Cast" or kept or (op == "Sub" and operands[0] == 1 and fits[1]):
                known.add(made)
        left = {variable for variable in states if attrs["next"][variable] in known}
        if left == states:
            return name in known
        states = left


def _known_before(attrs: Mapping[str, object], params: Collection[str], inputs: int, where: str) -> dict[str, str]:
    """What exists before the first line, {name: what it is}."""
    missing = [key for key in ATTRS if key not in attrs]
    if missing:
        raise PlifError(f"{where}: its program lacks {', '.join(missing)}")
    states = attrs["states"]
    if not isinstance(states, Mapping) or "v" not in states:
        raise PlifError(
            f"{where}: its states are {_short(states)}; expected {{variable: initial number}} with a membrane 'v'"
        )
    for variable, initial in states.items():
        if not _is_name(variable) or not _is_number(initial):
            raise PlifError(
                f"{where}: its state {_short(variable)} starts at {_short(initial)}; expected a finite number"
            )
    names = [*input_names(inputs), *states, *params]
    for name in names:
        if not _is_name(name) or names.count(name) > 1:
            raise PlifError(f"{where}: {_short(name)} is no name, or names two of its inputs, states and parameters")
    return dict.fromkeys(names, NUMBER)


def _check_operand(operand: object, kind: str, known: Mapping[str, str], here: str, names_only: bool = False) -> None:
    if _is_number(operand) and kind == NUMBER and not names_only:
        return
    if not isinstance(operand, str) or operand not in known:
        raise PlifError(f"{here} reads {_short(operand)}; expected a name that was made before, or a finite number")
    if known[operand] != kind:
        raise PlifError(f"{here} reads '{operand}', which is {known[operand]}; expected {kind}")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isidentifier() and len(value) <= 64


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 3.4e38 and isfinite(value)  # what float32 holds


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def step(m: Math, n: Terms, x: Value | tuple[Value, ...], state: States) -> Stepped:
    """One step, as an Equation has it (runtime/core/model/neurons.py): (h, s, next state).

    x is a tuple where the node has several inputs. `m.op(operation, *operands)` computes; operands are values or numbers.
    """
    inputs = x if isinstance(x, tuple) else (x,)
    values = {**n.arrays, **dict(zip(input_names(len(inputs)), inputs, strict=True)), **state}
    moving = set(values) - set(n.arrays)  # what depends on an input or a state, so that it has the layer's shape
    used = {n.h, n.s, *n.next.values()}
    for name, op, *operands in n.program:
        names = [operand for operand in operands if isinstance(operand, str)]
        values[name] = m.op(op, *(values[operand] if isinstance(operand, str) else operand for operand in operands))
        used.update(names)
        if moving.intersection(names):
            moving.add(name)

    def whole(name: str) -> Value:
        return values[name] if name in moving else beside(inputs[0], name)  # one number, everywhere

    def beside(value: Value, name: str) -> Value:
        """The value of that name, by way of another: as an array of its shape, and so that it is read."""
        return m.where(m.op("Equal", value, value), values[name], values[name])

    following = {
        # engines drop an input that nothing reads, and with it the state
        variable: whole(name) if variable in used else beside(state[variable], name)
        for variable, name in n.next.items()
    }
    return whole(n.h), whole(n.s), following
