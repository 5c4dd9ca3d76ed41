"""The exceptions with which the rules of a layer, a function or a neuron refuse: the problem and the remedy."""

from __future__ import annotations


class Unsupported(Exception):
    """A network that breaks a rule of the exporter; the reader adds the place, unless `path` names it."""

    def __init__(self, rule: str, advice: str, path: str | None = None) -> None:
        super().__init__(f"{rule}; {advice}")
        self.rule, self.advice, self.path = rule, advice, path


class InvalidModule(Unsupported):
    """A module with an error of its own, which no other reader could export either."""


def require(holds: bool, rule: str, advice: str) -> None:
    """Raise Unsupported unless a condition holds.

    rule    the problem that was found;  advice: the remedy
    """
    if not holds:
        raise Unsupported(rule, advice)
