"""Numbers that know what they are k steps on, through the arithmetic of Python, and note each comparison that they are in.

So a comparison is asked once for every later step at which its result is another one, and not for numbers that were guessed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

from plif_export.readers.unseen_state.generators import Anything
from plif_export.readers.unseen_state.looks import place

ARITHMETIC = (
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow),
    *(operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift),
)
COMPARISONS = (operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge)


@dataclass
class Comparison:
    """A comparison that was made: of which number, where, its result, and k -> what it is k steps on."""

    name: str
    where: str
    result: bool
    later: Callable[[int], Anything]


class Comparisons(list[Comparison]):
    """The comparisons of one run, in order."""

    def number(self, name: str, value: float, later: Callable[[int], Anything]) -> Anything:
        """A number as a code's own, which notes here what is asked of it."""
        made = _KINDS[type(value)](value)
        made.name, made.later, made.log = name, later, self
        return made

    def steps(self, domain: list[int]) -> dict[int, Comparison]:
        """{the first k at which a comparison comes out otherwise, those before it alike: which}"""
        found: dict[int, Comparison] = {}
        for each in self:
            outcomes = [(k, _or_none(each.later, k)) for k in domain]
            others = [k for k, outcome in outcomes if outcome not in (None, each.result)]
            if others:
                found.setdefault(min(others), each)
            domain = [k for k, outcome in outcomes if outcome == each.result]
        return found


def _or_none(later: Callable[[int], Anything], k: int) -> bool | None:
    try:
        return bool(later(k))
    except ArithmeticError:
        return None


def _at(value: Anything, k: int) -> Anything:
    return value.later(k) if type(value) in _OWN else value


def _plain(value: Anything) -> Anything:
    return next((kind(value) for kind, own in _KINDS.items() if isinstance(value, own)), value)


def _operation(function: Callable[..., Anything], compares: bool, swapped: bool) -> Callable[..., Anything]:
    def operation(self: Anything, *others: Anything) -> Anything:
        if not all(isinstance(other, int | float) for other in others):
            return NotImplemented
        values = (self, *others)[:: -1 if swapped else 1]
        made = function(*map(_plain, values))

        def later(k: int) -> Anything:
            return function(*(_at(value, k) for value in values))

        if compares:
            self.log.append(Comparison(self.name, place(), bool(made), later))
        return made if compares or type(made) not in _KINDS else self.log.number(self.name, made, later)

    return operation


def _kind(base: type) -> type:
    own: dict[str, Anything] = {"__hash__": base.__hash__, "__bool__": _operation(bool, True, False)}
    for function in COMPARISONS:
        own[f"__{function.__name__}__"] = _operation(function, True, False)
    for function in ARITHMETIC:
        name = function.__name__.strip("_")
        if f"__{name}__" in vars(base):
            own[f"__{name}__"] = _operation(function, False, False)
            own[f"__r{name}__"] = _operation(function, False, True)
    own |= {"__neg__": _operation(operator.neg, False, False), "__abs__": _operation(operator.abs, False, False)}
    return type(base.__name__, (base,), own)


_KINDS: dict[type, type] = {int: _kind(int), float: _kind(float)}
_OWN = tuple(_KINDS.values())
