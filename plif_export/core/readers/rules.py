"""How a reader refuses a layer: where it is, what it is, which rule it breaks, and what to do.

The readers and `plif check` share these: a reader raises the first problem of a model, `check` lists all of them. No rule
is written twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.core.base.errors import PlifError
from runtime.core.model.refusals import NeverSupported, Unsupported, require

REGISTER = "register it: docs/own-neurons.md"


@dataclass(frozen=True)
class Problem:
    """path: the module's path, as in named_modules(); type: its class, or the function called."""

    path: str
    type: str
    rule: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path} ({self.type}): {self.rule}; {self.advice}"


def refuse(problems: Sequence[Problem], where: str = "") -> None:
    """Raises PlifError with the first problem, where there is one."""
    if problems:
        more = f" ({len(problems) - 1} more: plif_export.check lists them)" if len(problems) > 1 else ""
        raise PlifError(f"{where}{problems[0]}{more}")


__all__ = ["REGISTER", "NeverSupported", "Problem", "Unsupported", "refuse", "require"]
