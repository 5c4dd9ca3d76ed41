"""The exceptions with which the rules of a layer, a function or a neuron refuse: the problem and the remedy."""

from __future__ import annotations


class Unsupported(Exception):
    """The error for a network that breaks a rule of the exporter; a model reader adds the place without `path`."""

    def __init__(self, rule: str, advice: str, path: str | None = None) -> None:
        super().__init__(f"{rule}; {advice}")
        self.rule, self.advice, self.path = rule, advice, path


class InvalidModule(Unsupported):
    """The error for a module that is itself wrong, so that no other model reader could export it either."""


def require(holds: bool, rule: str, advice: str) -> None:
    """Raise Unsupported unless a condition holds.

    rule    the problem that was found;  advice: the remedy
    """
    if not holds:
        raise Unsupported(rule, advice)
