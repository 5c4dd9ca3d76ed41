"""Numbers that can be evaluated k steps ahead through Python arithmetic, and that log every comparison.

So each comparison is evaluated once for every later step, and the steps with another outcome are computed, not
guessed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

from plif_export.readers.unseen_state.generators import Anything
from plif_export.readers.unseen_state.looks import find_source_line

ARITHMETIC = (
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow),
    *(operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift),
)
COMPARISONS = (operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge)


@dataclass
class LoggedComparison:
    """A logged comparison of a Python number in a module's code, with its outcome now and k steps later.

    name: of the number. source_line: of the comparison. later: k -> its outcome k steps ahead.
    """

    name: str
    source_line: str
    outcome: bool
    later: Callable[[int], Anything]


class ComparisonLog(list[LoggedComparison]):
    """The log of all comparisons of tracked Python numbers in one run of a module, in order.

    hashed: the line that looked up such a number in a set or dict, which no comparison shows.
    """

    hashed: str | None = None

    def track_number(self, name: str, value: float, later: Callable[[int], Anything]) -> Anything:
        """Wrap a Python number so that its comparisons are logged, with their outcomes k steps later.

        later: k -> the value k steps ahead.
        """
        tracked = _TRACKED_TYPES[type(value)](value)
        tracked.name, tracked.later, tracked.log = name, later, self
        return tracked

    def find_flips(self, domain: list[int]) -> dict[int, LoggedComparison]:
        """Find the later steps at which a logged comparison of a number changes its outcome: {step: comparison}.

        domain: the steps k to try. A step counts only while all earlier comparisons keep their outcomes.
        """
        flips: dict[int, LoggedComparison] = {}
        for comparison in self:
            outcomes = [(k, _outcome_or_none(comparison.later, k)) for k in domain]
            changed = [k for k, outcome in outcomes if outcome not in (None, comparison.outcome)]
            if changed:
                flips.setdefault(min(changed), comparison)
            domain = [k for k, outcome in outcomes if outcome == comparison.outcome]
        return flips


def _outcome_or_none(later: Callable[[int], Anything], k: int) -> bool | None:
    try:
        return bool(later(k))
    except ArithmeticError:
        return None


def _value_at(value: Anything, k: int) -> Anything:
    return value.later(k) if type(value) in _TRACKED else value


def _untrack(value: Anything) -> Anything:
    return next((kind(value) for kind, tracked in _TRACKED_TYPES.items() if isinstance(value, tracked)), value)


def _tracked_operator(function: Callable[..., Anything], compares: bool, swapped: bool) -> Callable[..., Anything]:
    def operation(self: Anything, *operands: Anything) -> Anything:
        if not all(isinstance(operand, int | float) for operand in operands):
            return NotImplemented
        values = (self, *operands)[:: -1 if swapped else 1]
        value_now = function(*map(_untrack, values))

        def later(k: int) -> Anything:
            return function(*(_value_at(value, k) for value in values))

        if compares:
            self.log.append(LoggedComparison(self.name, find_source_line(), bool(value_now), later))
        return (
            value_now
            if compares or type(value_now) not in _TRACKED_TYPES
            else self.log.track_number(self.name, value_now, later)
        )

    return operation


def _tracked_type(base: type) -> type:
    def hash_number(self: Anything) -> int:
        self.log.hashed = find_source_line()
        return hash(base(self))

    members: dict[str, Anything] = {"__hash__": hash_number, "__bool__": _tracked_operator(bool, True, False)}
    for function in COMPARISONS:
        members[f"__{function.__name__}__"] = _tracked_operator(function, True, False)
    for function in ARITHMETIC:
        name = function.__name__.strip("_")
        if f"__{name}__" in vars(base):
            members[f"__{name}__"] = _tracked_operator(function, False, False)
            members[f"__r{name}__"] = _tracked_operator(function, False, True)
    members |= {
        "__neg__": _tracked_operator(operator.neg, False, False),
        "__abs__": _tracked_operator(operator.abs, False, False),
    }
    return type(base.__name__, (base,), members)


_TRACKED_TYPES: dict[type, type] = {int: _tracked_type(int), float: _tracked_type(float)}
_TRACKED = tuple(_TRACKED_TYPES.values())
