"""How a rule of a layer, a function or a neuron refuses: what was found against it, and what to do."""

from __future__ import annotations


class Unsupported(Exception):
    """Raised where a rule is broken; whoever reads the network adds where it was, unless `path` says it."""

    def __init__(self, rule: str, advice: str, path: str | None = None) -> None:
        super().__init__(f"{rule}; {advice}")
        self.rule, self.advice, self.path = rule, advice, path


class NeverSupported(Unsupported):
    """What reading it another way would not mend: the module is not what its author takes it for."""


def require(holds: bool, rule: str, advice: str) -> None:
    """Raises Unsupported unless the condition holds. rule: what was found against it."""
    if not holds:
        raise Unsupported(rule, advice)
