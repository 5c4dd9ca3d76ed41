"""Neurons defined by the traced code of any library, as programs of elementwise operations (program.py)."""

from __future__ import annotations

from runtime.core.model.neurons import Equation, register_equation
from runtime.neurons.traced_program import program

register_equation(
    Equation(
        "Traced",
        program.run_program,
        program.ATTRS,
        initial=lambda attrs: {variable: float(initial) for variable, initial in attrs["states"].items()},
        alpha=lambda params: None,
        check=program.check_program,
    )
)
