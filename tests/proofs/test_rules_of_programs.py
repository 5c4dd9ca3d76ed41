"""The rules by which two neuron programs count as one (same_program.py), proved for all float32 numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import z3

from plif_export.readers.step_program.same_program import RULES, Term, rewrite
from tests.proofs.symbols import FLOAT, Symbolic, prove, same

m = Symbolic(FLOAT)


def value(term: Term, numbers: dict[str, Any]) -> Any:
    """The term of Z3 for a term of a program; its names are put into `numbers`."""
    if isinstance(term, str):
        return numbers.setdefault(term, z3.Bool(term) if term.isupper() else z3.FP(term, FLOAT))
    if not isinstance(term, tuple):
        return m.value(term)
    op, *operands = term
    values = [value(operand, numbers) for operand in operands]
    return m.where(*values) if op == "Where" else m.op(op, *values)


def finite(numbers: dict[str, Any]) -> list[Any]:
    floats = [number for number in numbers.values() if z3.is_fp(number)]
    return [z3.Not(z3.Or(z3.fpIsInf(number), z3.fpIsNaN(number))) for number in floats]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule[0]).replace(" ", ""))
def test_a_rule_keeps_the_value_for_all_numbers(rule: tuple[Term, Term]) -> None:
    numbers: dict[str, Any] = {}
    before, after = (value(term, numbers) for term in rule)
    for case in (z3.BoolVal(True), z3.BoolVal(False)):  # Z3 decides each alone, not always both
        settled = [z3.simplify(z3.substitute(side, (z3.Bool("P"), case))) for side in (before, after)]
        prove(same(*settled), *finite(numbers))


@pytest.mark.parametrize("divisor", (2.0, 0.5, -4.0, 2.0**20))
def test_a_division_by_a_power_of_two_is_a_product(divisor: float) -> None:
    numbers: dict[str, Any] = {}
    term = ("Div", "a", divisor)
    assert rewrite(term) != term
    prove(same(value(term, numbers), value(rewrite(term), numbers)), *finite(numbers))


@pytest.mark.parametrize("number", (-0.2, -3.0))
def test_a_sign_is_taken_out_of_a_product(number: float) -> None:
    numbers: dict[str, Any] = {}
    term = ("Mul", "a", float(np.float32(number)))
    assert rewrite(term)[0] == "Neg"
    prove(same(value(term, numbers), value(rewrite(term), numbers)), *finite(numbers))


@pytest.mark.parametrize(
    "term",
    (
        ("Div", "a", 3.0), ("Mul", "a", 0.0), ("Sub", "a", "b"), ("Greater", ("Sub", "a", "b"), 0.5),
        ("Greater", ("Add", "a", "b"), 0.0), ("Max", "a", -2000.0), ("Where", "P", 0.0, "a"), ("Sub", ("Add", "a", "b"), "b"),
    ),
    ids=str,
)  # fmt: skip
def test_what_no_rule_names_stays(term: Term) -> None:
    assert rewrite(term)[0] == term[0] and len(rewrite(term)) == len(term)
