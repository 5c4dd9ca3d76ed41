"""`own`: an answer stands on its own evidence. The class "other" can neither break an answer for a moment nor hide that it fades.

E = E exp(-dt/tau) + c,    W = W exp(-dt/tau) + 1,    s = E / (voters W)         as with leak
w the class with the most evidence, lead = s_w - the second's

enter    w is no "other" and leads by margin: it becomes the answer at once, also in place of another
stay     whatever leads, until the answer's own share s is below release, and "other" is not about to take over
other    when "other" has led by margin for `other` on end, it becomes the answer; a step counts for half of that at most, since
         the gap before it is no lead
"""

from __future__ import annotations

import math

import numpy as np

OTHERS = ("other", "other gestures", "other_gestures")  # names of classes that mean none of the others


def find_other(classes: list[str]) -> int | None:
    """The number of the class that means none of the others, where there is one."""
    return next((i for i, name in enumerate(classes) if name in OTHERS), None)


class HeldAnswer:
    """Evidence of `own`; its members are those of FadingSum. `other` is the number of that class, or None; after `patience_us`
    of its lead it is the answer."""

    KEEPS = ("evidence", "weight", "share", "answer", "_other_us")
    final = False  # it always goes on

    def __init__(
        self,
        classes: int,
        voters: int,
        tau_us: float,
        margin: float,
        release: float,
        patience_us: float,
        other: int | None,
    ) -> None:
        self.evidence = np.zeros(classes)  # E, float64 [classes]
        self.weight = 0.0  # W
        self.voters, self.tau_us, self.margin, self.release = voters, tau_us, margin, release
        self.patience_us, self.other = patience_us, other
        self.share = 0.0
        self.answer: int | None = None
        self._other_us = 0.0  # for how long "other" has led

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        """The evidence c float64 [classes] of one step that lasted dt_us; returns the answer so far, or None."""
        self.fade(math.exp(-max(dt_us, 0) / self.tau_us))  # as C has it; np.exp may differ in the last bit
        self.evidence += c
        self.weight += 1
        share = self.evidence / (self.voters * self.weight)
        order = np.argsort(-share, kind="stable")  # the first of equals
        winner = int(order[0])
        leads = bool(share[winner] > 0 and share[winner] - (share[order[1]] if len(order) > 1 else 0.0) >= self.margin)
        other_leads = leads and winner == self.other
        self._other_us = self._other_us + min(max(dt_us, 0), self.patience_us / 2) if other_leads else 0.0
        if leads and winner not in (self.answer, self.other):
            self.answer = winner
        elif other_leads and self._other_us >= self.patience_us:
            self.answer = self.other
        elif self.answer is not None and share[self.answer] < self.release and not other_leads:
            self.answer = None
        self.share = 0.0 if self.answer is None else float(share[self.answer])
        return self.answer

    def fade(self, factor: float) -> None:
        """Multiplies the evidence by `factor`, after a gap in time."""
        self.evidence *= factor
        self.weight *= factor

    def reset(self) -> None:
        self.evidence[:] = 0
        self.weight = self.share = self._other_us = 0.0
        self.answer = None
