"""Neuron equations, one beside the other: how each kind of neuron charges, fires and resets, and in which order.

An equation is written once, for values that can be added, multiplied and compared. It runs in NumPy (the interpreter, which
is the reference of a parity check), it becomes ONNX nodes (the writers), and tests compare it with the library that it comes
from. Libraries differ in what decides a spike: SpikingJelly fires at h >= v_threshold, snnTorch, Norse and NIR at
h > v_threshold; snnTorch resets one step late; SpikingJelly's LIF divides by tau where its PLIF multiplies by 1/tau. So each
library has its own equations.

    IF LIF PLIF   ours and SpikingJelly's        h = v + (x - (v - v_reset)) * alpha     s = h >= v_threshold
    Leaky         snnTorch Leaky                 h = beta * v + x - reset * v_threshold  s = h >  v_threshold
    LIFBox        Norse LIFBoxCell               h = v + k (x + v_leak - v)              s = h >  v_threshold
    LIFCell       Norse LIFCell                  i' = i + x, h = v + k (v_leak - v + i')  s = h >  v_threshold
    NIR-IF NIR-LIF NIR-CubaLIF                   forward Euler with a step dt of NIR's differential equations
    Traced        any elementwise neuron         the program that its node carries (runtime/model/program.py)

To add one: write `step(m, n, x, state) -> (h, s, next state)` and `register(Equation(...))`. `n` holds the layer's parameters
and attributes by name, `state` its state variables; `m.spikes(condition)` makes 0.0 and 1.0 of a comparison, `m.where`
chooses. Besides these only + - * / and the comparisons >= > < may be used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

from runtime.base.errors import PlifError
from runtime.model import program
from runtime.model.symbol import Math, Operand, States, Stepped, Value
from runtime.model.symbol import Terms as Terms


@dataclass(frozen=True)
class Equation:
    """One kind of neuron.

    kind      its name in graphs and cards
    step      (m, n, x, state) -> (h, s, next state); h is the charged membrane, which is compared with v_threshold, and s
              the spikes. x, h, s and each state variable are float32 [B, ...] of the layer's shape
    attrs     names of attributes that a node must have, beside "kind", "layer", "v_threshold" and "v_reset"
    params    names of arrays that it must have: one number, one for each channel, or one for each neuron
    optional  names of arrays that it may have
    states    names of its state variables; the first is the membrane
    initial   attrs -> {state: its value after a reset}
    alpha     params -> 1/tau for the card's taus; None where the equation has no time constant
    check     (attrs, names of params, number of inputs, where): refuses what does not fit. A kind that has it may have
              parameters of any name, and several inputs: x is then a tuple
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


EQUATIONS: dict[str, Equation] = {}


def register(equation: Equation) -> Equation:
    """Enters a kind of neuron, so that graphs, the interpreter, the writers and the parity gate know it."""
    EQUATIONS[equation.kind] = equation
    return equation


def equation_of(kind: str) -> Equation:
    """The equation of a kind. Raises PlifError for a kind that is not entered."""
    if kind not in EQUATIONS:
        raise PlifError(f"neuron kind '{kind}' is not known; known: {', '.join(EQUATIONS)}")
    return EQUATIONS[kind]


def values_of(attrs: Mapping[str, object]) -> str:
    """What a neuron with these attributes gives (`values` of a Node)."""
    if not attrs.get("spiking", True):
        return "membrane"
    return "graded" if attrs.get("graded", False) else "spikes"


# --- ours, and SpikingJelly's ---------------------------------------------------------------------------------------


def _plif(m: Math, n: Terms, x: Value, state: States) -> Stepped:
    """charge: exact (times alpha), divided (by tau, as SpikingJelly's LIFNode does) or folded (alpha is in the weights)."""
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
    s, v = _fire(m, n, h, h >= n.v_threshold)
    return h, s, {"v": v}


def _fire(m: Math, n: Terms, h: Value, fires: Value) -> tuple[Value, Value]:
    """(s, v): the spikes, and the membrane after the reset: v_reset where it fired; with v_reset None h - v_threshold."""
    s = m.spikes(fires)
    return s, h - s * n.v_threshold if n.v_reset is None else m.where(fires, n.v_reset, h)


for _kind in ("IF", "LIF", "PLIF"):
    register(
        Equation(
            _kind,
            _plif,
            ("decay_input", "charge"),
            optional=("alpha",),
            initial=lambda attrs: {"v": float(attrs["v_reset"] or 0)},
        )
    )


# --- snnTorch ---------------------------------------------------------------------------------------------------------


def _leaky(m: Math, n: Terms, x: Value, state: States) -> Stepped:
    """snnTorch 1.0 Leaky. reset: subtract, zero or none.

    With reset_delay (its default) a spike resets the membrane in the *next* step, which compares v with v_threshold again
    (late). Without it the membrane is reset in the step of the spike, by s - late, as snnTorch computes it.
    """
    v = state["v"]
    late = m.spikes(v > n.v_threshold)
    if n.reset == "zero":
        h = n.beta * ((1 - late) * v) + x
    elif n.reset == "subtract":
        h = n.beta * v + x - late * n.v_threshold
    else:
        h = n.beta * v + x
    s = m.spikes(h > n.v_threshold)
    after = h
    if not n.reset_delay and n.reset == "subtract":
        after = h - (s - late) * n.v_threshold
    elif not n.reset_delay and n.reset == "zero":
        after = h - (s - late) * h
    return h, s, {"v": after}


register(Equation("Leaky", _leaky, ("reset", "reset_delay"), ("beta",), alpha=lambda params: 1 - params["beta"]))


# --- Norse ------------------------------------------------------------------------------------------------------------


def _lif_box(m: Math, n: Terms, x: Value, state: States) -> Stepped:
    """k = dt / tau_mem."""
    v = state["v"]
    h = v + n.k * (x + n.v_leak - v)
    s, v = _fire(m, n, h, h > n.v_threshold)
    return h, s, {"v": v}


def _lif_cell(m: Math, n: Terms, x: Value, state: States) -> Stepped:
    """k = dt / tau_mem, k_syn = dt / tau_syn. The input is added to the current, which charges the membrane and decays."""
    v, i = state["v"], state["i"]
    i = i + x
    h = v + n.k * (n.v_leak - v + i)
    s, v = _fire(m, n, h, h > n.v_threshold)
    return h, s, {"v": v, "i": i - n.k_syn * i}


_k = itemgetter("k")


def _start_at_leak(attrs: Mapping[str, Any]) -> dict[str, float]:
    return {"v": float(attrs["v_leak"])}


_with_current = partial(
    Equation, states=("v", "i"), initial=lambda attrs: {"v": float(attrs["v_leak"]), "i": 0.0}, alpha=_k
)

register(Equation("LIFBox", _lif_box, ("v_leak",), ("k",), initial=_start_at_leak, alpha=_k))
register(_with_current("LIFCell", _lif_cell, ("v_leak",), ("k", "k_syn")))


# --- NIR, whose neurons are differential equations: forward Euler, k = dt / tau ------------------------------------


def _nir_fires(n: Terms, h: Value) -> Value:
    """NIR says v > v_threshold; fire ">=" is for files of libraries that fire at v >= v_threshold."""
    threshold: Operand = n.v_threshold
    return h >= threshold if n.fire == ">=" else h > threshold


def _nir_if(m: Math, n: Terms, x: Value, state: States) -> Stepped:
    """dv/dt = R I; gain = R dt."""
    h = state["v"] + (x if n.gain is None else n.gain * x)
    s, v = _fire(m, n, h, _nir_fires(n, h))
    return h, s, {"v": v}


def _nir_lif(m: Math, n: Terms, x: Value, state: States) -> Stepped:
    """tau dv/dt = v_leak - v + R I."""
    v = state["v"]
    h = v + n.k * (n.v_leak - v + (x if n.r is None else n.r * x))
    s, v = _fire(m, n, h, _nir_fires(n, h))
    return h, s, {"v": v}


def _nir_cuba(m: Math, n: Terms, x: Value, state: States) -> Stepped:
    """tau_syn dI/dt = -I + w_in S first, then the membrane with the new current (as snnTorch's Synaptic does it)."""
    v, i = state["v"], state["i"]
    i = i * (1 - n.k_syn) + (x if n.gain is None else n.gain * x)  # gain = w_in dt / tau_syn
    h = v + n.k * (n.v_leak - v + (i if n.r is None else n.r * i))
    s, v = _fire(m, n, h, _nir_fires(n, h))
    return h, s, {"v": v, "i": i}


register(Equation("NIR-IF", _nir_if, ("fire",), optional=("gain",)))
register(Equation("NIR-LIF", _nir_lif, ("fire", "v_leak"), ("k",), ("r",), initial=_start_at_leak, alpha=_k))
register(_with_current("NIR-CubaLIF", _nir_cuba, ("fire", "v_leak"), ("k", "k_syn"), ("r", "gain")))


# --- traced from any library's own code -----------------------------------------------------------------------------


register(
    Equation(
        "Traced",
        program.step,
        program.ATTRS,
        initial=lambda attrs: {variable: float(initial) for variable, initial in attrs["states"].items()},
        alpha=lambda params: None,
        check=program.check,
    )
)
