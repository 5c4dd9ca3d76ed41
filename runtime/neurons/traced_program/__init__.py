"""Neurons of any library's own code, as programs of elementwise operations (program.py)."""

from __future__ import annotations

from runtime.core.model.neurons import Equation, register
from runtime.neurons.traced_program import program

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
