"""Early exit: a sample ends when its answer leads by so much that further steps are not worth their time.

    E_t     votes of each class in the steps so far, E_t = sum of c      (runtime.engines.session.whole_votes)
    exit    at the first step t in which   E_t[first] - E_t[second] >= margin * voters * T

with T the card's: the margin is a share of all spikes that could vote in a whole sample, so a lead of M means the same in every
step, and the lead of a sample that was decided cannot come from one early spike. A sample that never gets there takes all
its steps. The card's key `exit` holds the margin; `plif eval --calibrate-exit` writes it, evaluation and
streams of recordings use it.
"""

from __future__ import annotations

from runtime.base.errors import PlifError
from runtime.engines.model import OpenModel
from runtime.model.card import Card

KEY = "exit"
OFF = "off"


def card_margin(card: Card) -> float | None:
    """The margin that the card holds; None where there is none. Raises PlifError for one that is no margin."""
    record = card.get(KEY)
    if record is None:
        return None
    margin = record.get("margin") if isinstance(record, dict) else None
    return check_margin(margin, "the card's exit.margin")


def card_rule(card: Card) -> str | None:
    """How a feed without an end is decided, as --decide takes it (`decide`, of plif eval --calibrate-decide); None: not said."""
    return None if card.get("decide") is None else str(card["decide"]["rule"])


def chosen_margin(text: str | float | None, card: Card) -> float | None:
    """The margin of `--exit-margin`: a number, "off", or None for the card's."""
    if text is None:
        return card_margin(card)
    if text == OFF:
        return None
    try:
        return check_margin(float(text), f"--exit-margin {text}")
    except ValueError:
        raise PlifError(f"--exit-margin {text}: expected a share such as 0.25, or off") from None


def check_margin(margin: object, where: str) -> float:
    """The margin, where it is a finite number above 0."""
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 1e30:
        raise PlifError(f"{where}: expected a share of all possible spikes above 0, such as 0.25")
    return float(margin)


def check_exits(model: OpenModel) -> None:
    """Refuses an artifact whose steps cannot end one by one."""
    if model.unrolled or model.card.get("batch"):
        form = f"unrolled over T={model.T}" if model.unrolled else f"exported for exactly {model.card['batch']} streams"
        raise PlifError(f"{model.path}: is {form}, so no sample can end before the others; exit early in the step form")
