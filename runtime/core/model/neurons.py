"""Neuron equations: how each kind of neuron charges, fires and resets, and in which order.

An equation is written once, for values that can be added, multiplied and compared. It runs in NumPy (the interpreter,
which is the reference of a parity check), it becomes ONNX nodes (the writers), and tests compare it with the library
that it comes from. Libraries differ in the condition of a spike: SpikingJelly fires at h >= v_threshold, snnTorch,
Norse and NIR at h > v_threshold; snnTorch resets one step late; SpikingJelly's LIF divides by tau where its PLIF
multiplies by 1/tau. So each library has its own equations.

    IF LIF PLIF   ours and SpikingJelly's        h = v + (x - (v - v_reset)) * alpha     s = h >= v_threshold
    kinds of parts (runtime/neurons): snnTorch's, Norse's and NIR's, and the program that a traced neuron carries

To add one: write `step(m, n, x, state) -> (h, s, next state)` and `register_equation(Equation(...))`. `n` holds the
layer's parameters and attributes by name, `state` its state variables; `m.spikes(condition)` makes 0.0 and 1.0 of a comparison,
`m.where` selects. Besides these only + - * / and the comparisons >= > < may be used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.core.base.errors import PlifError
from runtime.core.parts import Registry

if TYPE_CHECKING:
    from runtime.core.model.symbol import Math, States, StepOutput, Terms, Value


@dataclass(frozen=True)
class Equation:
    """The equation of one kind of spiking neuron: its step as a function, parameters, states and initial values.

    kind      its name in graphs and cards
    step      (m, n, x, state) -> (h, s, next state); h is the charged membrane, which is compared with
              v_threshold, and s the spikes. x, h, s and each state variable are float32 [B, ...] of the layer's
              shape
    attrs     names of required attributes of a node, in addition to "kind", "layer", "v_threshold" and
              "v_reset"
    params    names of required arrays: one number, one for each channel, or one for each neuron
    optional  names of arrays that it may have
    states    names of its state variables; the first is the membrane
    initial   attrs -> {state: its value after a reset}
    alpha     params -> 1/tau for the card's taus; None if the equation has no time constant
    check     (attrs, names of params, number of inputs, context): refuses a node that does not fit. A kind with
              a check may have parameters of any name, and several inputs: x is then a tuple
    """

    kind: str
    step: Callable[..., tuple[Any, Any, dict[str, Any]]]
    attrs: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    states: tuple[str, ...] = ("v",)
    initial: Callable[[Mapping[str, Any]], dict[str, float]] = lambda attrs: {"v": 0.0}
    alpha: Callable[[Mapping[str, Any]], Any] = lambda params: params.get("alpha")
    check: Callable[[Mapping[str, object], Collection[str], int, str], None] | None = None


EQUATIONS: Registry[Equation] = Registry("neurons")


def register_equation(equation: Equation) -> Equation:
    """Register the equation of a kind of neuron, for graphs, the interpreter, file writers and the export proof."""
    EQUATIONS.entries[equation.kind] = equation
    return equation


def get_equation(kind: str) -> Equation:
    """Return the equation of a kind of neuron. Raises PlifError for an unknown kind."""
    if kind not in EQUATIONS:
        raise PlifError(f"neuron kind '{kind}' is not known; known: {', '.join(EQUATIONS)}")
    return EQUATIONS[kind]


def input_names(count: int) -> list[str]:
    """Return the names of a neuron's inputs in its equation: x, x1, x2, ..."""
    return ["x", *(f"x{i}" for i in range(1, count))][:count]


def output_kind(attrs: Mapping[str, object]) -> str:
    """Return the kind of a neuron's output from its attributes: "spikes", "graded" or "membrane"."""
    if not attrs.get("spiking", True):
        return "membrane"
    return "graded" if attrs.get("graded", False) else "spikes"


# --- ours, and SpikingJelly's ---------------------------------------------------------------------------------------


def _step_plif(m: Math, n: Terms, x: Value, state: States) -> StepOutput:
    """Compute one step of an IF, LIF or PLIF neuron: x [B, ...] -> membrane h, spikes s and the next state.

    charge: exact (times alpha), divided (by tau, as SpikingJelly's LIFNode does) or folded (alpha is in the weights).
    """
    v, alpha = state["v"], n.alpha
    if alpha is None:
        h = v + x
    elif n.charge == "folded":
        h = v * (1 - alpha) + x
    else:
        above = v if n.v_reset is None else v - n.v_reset
        if n.decay_input:
            h = v + ((x - above) / n.tau if n.charge == "divided" else (x - above) * alpha)
        else:
            h = v - (above / n.tau if n.charge == "divided" else above * alpha) + x
    s, v = fire_and_reset(m, n, h, h >= n.v_threshold)
    return h, s, {"v": v}


def fire_and_reset(m: Math, n: Terms, h: Value, fires: Value) -> tuple[Value, Value]:
    """Return a neuron layer's spikes s, and its membrane v after the reset, each [B, ...].

    v is v_reset where the neuron fired; with v_reset None it is h - v_threshold there.
    """
    s = m.spikes(fires)
    return s, h - s * n.v_threshold if n.v_reset is None else m.where(fires, n.v_reset, h)


for _kind in ("IF", "LIF", "PLIF"):
    register_equation(
        Equation(
            _kind,
            _step_plif,
            ("decay_input", "charge"),
            optional=("alpha",),
            initial=lambda attrs: {"v": float(attrs["v_reset"] or 0)},
        )
    )
