"""Neurons that integrate a differential equation with forward Euler in steps of dt, k = dt / tau.

LIFBox        Norse LIFBoxCell               h = v + k (x + v_leak - v)              s = h >  v_threshold
LIFCell       Norse LIFCell                  i' = i + x, h = v + k (v_leak - v + i')  s = h >  v_threshold
NIR-IF NIR-LIF NIR-CubaLIF                   the neurons of NIR, with scaled inputs
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import itemgetter
from typing import Any

from runtime.core.model.neurons import Equation, fire_and_reset, register_equation
from runtime.core.model.symbol import Math, Operand, States, StepOutput, Terms, Value


def _lif_box(m: Math, n: Terms, x: Value, state: States) -> StepOutput:
    """Compute one step of LIFBoxCell, a neuron of the Norse library, with k = dt / tau_mem."""
    v = state["v"]
    h = v + n.k * (x + n.v_leak - v)
    s, v = fire_and_reset(m, n, h, h > n.v_threshold)
    return h, s, {"v": v}


def _lif_cell(m: Math, n: Terms, x: Value, state: States) -> StepOutput:
    """Compute one step of LIFCell, a neuron of the Norse library, with k = dt / tau_mem, k_syn = dt / tau_syn.

    The input is added to the current, which charges the membrane and decays.
    """
    v, i = state["v"], state["i"]
    i = i + x
    h = v + n.k * (n.v_leak - v + i)
    s, v = fire_and_reset(m, n, h, h > n.v_threshold)
    return h, s, {"v": v, "i": i - n.k_syn * i}


_k = itemgetter("k")


def _start_at_leak(attrs: Mapping[str, Any]) -> dict[str, float]:
    return {"v": float(attrs["v_leak"])}


_with_current = partial(
    Equation, states=("v", "i"), initial=lambda attrs: {"v": float(attrs["v_leak"]), "i": 0.0}, alpha=_k
)

register_equation(Equation("LIFBox", _lif_box, ("v_leak",), ("k",), initial=_start_at_leak, alpha=_k))
register_equation(_with_current("LIFCell", _lif_cell, ("v_leak",), ("k", "k_syn")))


# --- NIR --------------------------------------------------------------------------------------------------------------


def _nir_is_spiking(n: Terms, h: Value) -> Value:
    """Return whether a NIR neuron with membrane h fires: h > v_threshold, or h >= v_threshold if fire is ">=".

    NIR defines v > v_threshold; fire ">=" is for files of libraries that fire at v >= v_threshold.
    """
    threshold: Operand = n.v_threshold
    return h >= threshold if n.fire == ">=" else h > threshold


def _nir_if(m: Math, n: Terms, x: Value, state: States) -> StepOutput:
    """Compute one step of an IF neuron of the NIR format, dv/dt = R I, with gain = R dt."""
    h = state["v"] + (x if n.gain is None else n.gain * x)
    s, v = fire_and_reset(m, n, h, _nir_is_spiking(n, h))
    return h, s, {"v": v}


def _nir_lif(m: Math, n: Terms, x: Value, state: States) -> StepOutput:
    """Compute one step of a LIF neuron of the NIR format, tau dv/dt = v_leak - v + R I."""
    v = state["v"]
    h = v + n.k * (n.v_leak - v + (x if n.r is None else n.r * x))
    s, v = fire_and_reset(m, n, h, _nir_is_spiking(n, h))
    return h, s, {"v": v}


def _nir_cuba(m: Math, n: Terms, x: Value, state: States) -> StepOutput:
    """Compute one step of a CubaLIF neuron of the NIR format: first the synaptic current, then the membrane.

    The current is tau_syn dI/dt = -I + w_in S. The membrane uses the new current, as snnTorch's Synaptic does.
    """
    v, i = state["v"], state["i"]
    i = i * (1 - n.k_syn) + (x if n.gain is None else n.gain * x)  # gain = w_in dt / tau_syn
    h = v + n.k * (n.v_leak - v + (i if n.r is None else n.r * i))
    s, v = fire_and_reset(m, n, h, _nir_is_spiking(n, h))
    return h, s, {"v": v, "i": i}


register_equation(Equation("NIR-IF", _nir_if, ("fire",), optional=("gain",)))
register_equation(Equation("NIR-LIF", _nir_lif, ("fire", "v_leak"), ("k",), ("r",), initial=_start_at_leak, alpha=_k))
register_equation(_with_current("NIR-CubaLIF", _nir_cuba, ("fire", "v_leak"), ("k", "k_syn"), ("r", "gain")))
