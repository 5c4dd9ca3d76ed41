"""Early exit: a sample ends when the lead of its answer is so large that further steps are not worth their time.

    E_t     votes of each class in the steps so far, E_t = sum of c      (runtime.core.engines.session.to_spike_counts)
    exit    at the first step t with   E_t[first] - E_t[second] >= margin * voters * T

T is the T of the card: the margin is a share of all spikes that could vote in a whole sample. So a lead of M means
the same in every step, and a single early spike cannot end a sample. A sample that never gets there takes all its
steps. The card's key `exit` holds the margin; `plif eval --calibrate-exit` writes it, evaluation and streams of
recordings use it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.options import OptionRecord, option
from runtime.core.engines.model import OpenModel
from runtime.core.model.card import check_margin, get_exit_margin
from runtime.native.rules import compute_leads, exit_lead

OFF = "off"


class ExitOptions(OptionRecord):
    """The command-line option that sets the margin of an early exit."""

    exit_margin: str | float | None = option(
        "End a sample where its answer leads by this share of all votes; or off. The card's.",
        default=None,
        typed=str | None,
    )


def hear(model: OpenModel, exit_margin: str | float | None) -> list[EarlyExit]:
    """Return the early-exit rule of an evaluation or stream, if the option or the artifact's card sets a margin.

    Raises PlifError for an invalid margin, and if the samples of a batch cannot end one by one.
    """
    margin = _resolve_margin(exit_margin, model)
    if margin is None:
        return []
    check_exits(model)
    return [EarlyExit(margin)]


@dataclass(frozen=True)
class EarlyExit:
    """An early-exit rule: a sample ends once its answer leads by a fixed margin, a share (0..1) of all votes."""

    margin: float

    def is_enough(self, evidence: np.ndarray, model: OpenModel) -> np.ndarray:
        """Return whether each sample may exit early: votes float64 [samples, classes] -> bool [samples]."""
        can_end: np.ndarray = compute_leads(evidence) >= exit_lead(self.margin, model.voters, model.T)
        return can_end


def _resolve_margin(text: str | float | None, model: OpenModel) -> float | None:
    """Return the early-exit margin that `--exit-margin` sets (None for "off"), else that in the artifact's card."""
    if text is None:
        return get_exit_margin(model.card)
    if text == OFF:
        return None
    try:
        return check_margin(float(text), f"--exit-margin {text}")
    except ValueError:
        raise PlifError(f"--exit-margin {text}: expected a share such as 0.25, or off") from None


def check_exits(model: OpenModel) -> None:
    """Refuse an early exit for an artifact that cannot end the samples of a batch one by one."""
    if model.unrolled or model.card.get("batch"):
        form = f"unrolled over T={model.T}" if model.unrolled else f"exported for exactly {model.card['batch']} streams"
        raise PlifError(f"{model.path}: is {form}, so no sample can end before the others; exit early in the step form")
