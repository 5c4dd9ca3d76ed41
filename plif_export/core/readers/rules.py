"""The refusal of a layer by a reader: its path, its class, the rule that it breaks, and advice.

The readers and `plif check` share these: a reader raises the first problem of a model, `check` lists all of them. No
rule is written twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.core.base.errors import PlifError
from runtime.core.model.refusals import InvalidModule, Unsupported, require

REGISTER = "register it: docs/own-neurons.md"


@dataclass(frozen=True)
class Problem:
    """A layer that cannot be exported, with the rule that it breaks and advice to the user.

    path: the module's path, as in named_modules(); type: its class, or the function called.
    """

    path: str
    type: str
    rule: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path} ({self.type}): {self.rule}; {self.advice}"


def refuse_problems(problems: Sequence[Problem], prefix: str = "") -> None:
    """Raise PlifError with the first of the problems that prevent an export, if there is one."""
    if problems:
        count_note = f" ({len(problems) - 1} more: plif_export.check lists them)" if len(problems) > 1 else ""
        raise PlifError(f"{prefix}{problems[0]}{count_note}")


__all__ = ["REGISTER", "InvalidModule", "Problem", "Unsupported", "refuse_problems", "require"]
