"""Early exit: a sample ends when its answer leads by so much that further steps are not worth their time.

    E_t     votes of each class in the steps so far, E_t = sum of c      (runtime.core.engines.session.whole_votes)
    exit    at the first step t in which   E_t[first] - E_t[second] >= margin * voters * T

with T the card's: the margin is a share of all spikes that could vote in a whole sample, so a lead of M means the same in every
step, and the lead of a sample that was decided cannot come from one early spike. A sample that never gets there takes all
its steps. The card's key `exit` holds the margin; `plif eval --calibrate-exit` writes it, evaluation and
streams of recordings use it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.options import OptionRecord, option
from runtime.core.engines.model import OpenModel
from runtime.core.model.card import card_margin, check_margin
from runtime.native.rules import exit_lead, leads_of

OFF = "off"


class ExitOptions(OptionRecord):
    """When."""

    exit_margin: str | float | None = option(
        "End a sample where its answer leads by this share of all votes; or off. The card's.",
        default=None,
        typed=str | None,
    )


def hear(model: OpenModel, exit_margin: str | float | None) -> list[EarlyExit]:
    """Who ends samples of the model. Raises PlifError for what is no margin, and where no sample can end before the others."""
    margin = _chosen_margin(exit_margin, model)
    if margin is None:
        return []
    check_exits(model)
    return [EarlyExit(margin)]


@dataclass(frozen=True)
class EarlyExit:
    """The exit at a margin."""

    margin: float

    def enough(self, evidence: np.ndarray, model: OpenModel) -> np.ndarray:
        """Votes float64 [samples, classes] -> bool [samples]: whose answer leads by so much."""
        enough: np.ndarray = leads_of(evidence) >= exit_lead(self.margin, model.voters, model.T)
        return enough


def _chosen_margin(text: str | float | None, model: OpenModel) -> float | None:
    """The margin of `--exit-margin`: a number, "off", or None for the card's."""
    if text is None:
        return card_margin(model.card)
    if text == OFF:
        return None
    try:
        return check_margin(float(text), f"--exit-margin {text}")
    except ValueError:
        raise PlifError(f"--exit-margin {text}: expected a share such as 0.25, or off") from None


def check_exits(model: OpenModel) -> None:
    """Refuses an artifact whose steps cannot end one by one."""
    if model.unrolled or model.card.get("batch"):
        form = f"unrolled over T={model.T}" if model.unrolled else f"exported for exactly {model.card['batch']} streams"
        raise PlifError(f"{model.path}: is {form}, so no sample can end before the others; exit early in the step form")
