"""How a reader refuses a layer: where it is, what it is, which rule it breaks, and what to do.

The readers and `plif check` share these: a reader raises the first problem of a model, `check` lists all of them. No rule
is written twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.base.errors import PlifError

REGISTER = "register it: docs/other-libraries.md"


class Unsupported(Exception):
    """Raised by the rules of layers, functions and neurons; the reader adds where it was, unless `path` says it."""

    def __init__(self, rule: str, advice: str, path: str | None = None) -> None:
        super().__init__(f"{rule}; {advice}")
        self.rule, self.advice, self.path = rule, advice, path


class NeverSupported(Unsupported):
    """What reading it another way would not mend: the module is not what its author takes it for."""


@dataclass(frozen=True)
class Problem:
    """path: the module's path, as in named_modules(); type: its class, or the function called."""

    path: str
    type: str
    rule: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path} ({self.type}): {self.rule}; {self.advice}"

    def error(self, others: int = 0) -> PlifError:
        more = f" ({others} more: plif_export.check lists them)" if others else ""
        return PlifError(f"{self}{more}")


def require(holds: bool, rule: str, advice: str) -> None:
    """Raises Unsupported unless the condition holds. rule: what was found against it."""
    if not holds:
        raise Unsupported(rule, advice)
