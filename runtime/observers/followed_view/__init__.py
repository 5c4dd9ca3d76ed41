"""`--follow on|off|auto`: two rows of the network a step, the whole picture and a view that follows a small figure.

Frames of a framing with follow=on have two pictures (runtime/native/rules/follow/follow.h has the equations of the
view). Decisions are made on the greater of both rows' votes, class by class:

    c_i = max(c_i whole, c_i view)        while the figure is small, else c_i = c_i whole

A maximum is biased upward, so the pair has a decision rule of its own, which `plif eval --calibrate-decide --follow on`
writes into the card's key `follow`, beside the rule of one row in `decide`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError
from runtime.core.base.options import OptionRecord, option
from runtime.core.events.framing import Framing
from runtime.core.model.card import get_decide_rule
from runtime.core.stream.options import Size

if TYPE_CHECKING:
    from runtime.core.model.card import Card

CHOICES = ("on", "off", "auto")
ROWS = 2


class FollowOptions(OptionRecord):
    """The command-line option of the view that follows."""

    follow: str | None = option(
        "on, off or auto (default): a second row sees a small figure enlarged. auto: feeds of sensors larger than the "
        "network's input, where the card has a rule for it.",
        default=None,
    )


def hear(
    card: Card, framing: Framing, rule: str | None, feeds: Sequence[Size] | None, follow: str | None
) -> list[tuple[Framing, str | None]]:
    """Return the framing of a stream with or without the view that follows, and the card's rule for it.

    rule   the card's decision rule of one row
    feeds  the sensor of each source, if all are feeds without an end; recordings follow only where it is asked for
    Raise PlifError where --follow on cannot be: the framing, or an engine of a fixed batch.
    """
    if follow not in (None, *CHOICES):
        raise PlifError(f"--follow {follow}: expected {', '.join(CHOICES)}")
    of_pair = get_decide_rule(card, "follow")
    if follow == "off":
        return [(replace(framing, follow="off"), rule)]
    if follow == "on" and framing.follow == "off":
        try:
            framing = Framing.parse(str(replace(framing, follow="on")))
        except PlifError as error:
            raise PlifError(f"--follow on: {error}") from None
    elif framing.follow == "off" and feeds and of_pair is not None and can_follow(card, framing, feeds):
        framing = replace(framing, follow="on")
    if framing.follow == "on" and card["batch"] is not None and card["batch"] % ROWS:
        raise PlifError(f"--follow on: needs {ROWS} rows a step, and the file has a fixed batch of {card['batch']}")
    return [(framing, of_pair or rule if framing.follow == "on" else rule)]


def can_follow(card: Card, framing: Framing, feeds: Sequence[Size]) -> bool:
    """Return whether a view can follow and gains: frames end every 20 ms, and each sensor has more pixels than cells."""
    if card["batch"] is not None and card["batch"] % ROWS:
        return False
    if any(min(framing.visible_size(sensor)) <= max(card["input"]["shape"][1:]) for sensor in feeds):
        return False
    try:
        Framing.parse(str(replace(framing, follow="on")))
    except PlifError:
        return False
    return True
