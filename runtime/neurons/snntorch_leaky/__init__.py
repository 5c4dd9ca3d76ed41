"""The Leaky neuron of snnTorch 1.0, which resets one step late.

Leaky         snnTorch Leaky                 h = beta * v + x - reset * v_threshold  s = h >  v_threshold
"""

from __future__ import annotations

from runtime.core.model.neurons import Equation, register_equation
from runtime.core.model.symbol import Math, States, StepOutput, Terms, Value


def _leaky(m: Math, n: Terms, x: Value, state: States) -> StepOutput:
    """Compute one step of Leaky, a neuron of snnTorch, with reset "subtract", "zero" or "none".

    With reset_delay (its default) a spike resets the membrane in the *next* step, which compares v with v_threshold
    again (late). Without it the membrane is reset in the step of the spike, by s - late, as snnTorch computes it.
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


register_equation(
    Equation("Leaky", _leaky, ("reset", "reset_delay"), ("beta",), alpha=lambda params: 1 - params["beta"])
)
