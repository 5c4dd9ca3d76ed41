"""The options of a stream, each defined once for the command line, Python, recordings and replays.

model.stream("recording.raw", decide="leak:120ms,margin=0.2", reset="silence:1000")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from runtime.core.base.declared import ViewOptions
from runtime.core.base.errors import PlifError
from runtime.core.base.options import option
from runtime.core.events.framing import Framing
from runtime.core.model.card import Card, get_decide_rule
from runtime.core.observers import ExtensibleOptions

# Defaults. Recordings are decided as in evaluation; the defaults for feeds without an end were measured (docs/live-rules.md).
RECORDING_RULES = ("sum", "recording")  # decide, reset
LIVE_RULES = ("leak:120ms,margin=0.2,idle=auto", "silence:1000")
Size = tuple[int, int]  # of a sensor, (width, height)
LIVE_FRAMING = "events:n=5000,max=20ms"


class FramingOptions(ExtensibleOptions, by="framing"):
    """Options of parts that choose the framing of a run (runtime/core/observers.py)."""

    def choose_framing(self, card: Card, framing: Framing, feeds: Sequence[Size] | None) -> tuple[Framing, str | None]:
        """Return the framing of a run and the card's decision rule; feeds: their sensors, None with a recording."""
        chosen = framing, get_decide_rule(card)
        for choice in self.call_observers("framing", card, *chosen, feeds, always=True):
            chosen = choice
        return chosen


class StreamOptions(ViewOptions, FramingOptions, by="run"):
    """Options of `plif stream` and of model.stream; None where an option was not given."""

    framing: str | None = option("How events become frames; the card's when not given.", default=None)
    decide: str | None = option(
        f"sum (default of recordings), leak[:500ms] (default of feeds: the card's rule, else {LIVE_RULES[0]}), kofn[:3/5], "
        "own[:80ms] or cusum[:300ms], then ,margin= ,release= ,soft= ,exit= ,idle= (events/s, or auto) ,other= ,drift= ,most=.",
        default=None,
    )
    reset: str | None = option(
        "recording (default of recordings), silence:MS (of feeds: silence:1000), never, every:T[/ROWS] or decay:TAU.",
        default=None,
    )
    speed: str = option("max, or real: recordings are paced by the events' own time.", default="max")
    filters: str | None = option(
        "hot,refractory:1ms,background:5ms,roi:X0:Y0:X1:Y1,down:2,flip:x,rotate:90,swap", "--filter", default=None
    )
    overload: str | None = option(
        "merge[:8] (default) or drop[:8]: what happens to the oldest when more frames wait.", default=None
    )
    on_return: str | None = option(
        "hold (default) or reset: the state, when a live source was lost and is back.", default=None
    )

    def override(self, recorded: StreamOptions) -> StreamOptions:
        """Return these stream options, with missing ones from a recording's options, except speed, sensor, csv, up."""
        options: dict[str, Any] = {name: value for name, value in self.to_dict().items() if value is not None}
        return replace(
            recorded, **{**options, "speed": self.speed, "sensor": self.sensor, "csv": self.csv, "up": self.up}
        )

    def complete(
        self, framing: str, endless: Sequence[bool], exit_margin: float | None = None, rule: str | None = None
    ) -> StreamOptions:
        """Return stream options with all defaults filled in.

        endless      for each source, whether it has no end in sight
        exit_margin  the card's margin of an early exit, for recordings
        rule         the card's decision rule, for feeds
        """
        decide, reset = self.decide, self.reset
        # all streams share one pair of rules: with the defaults of one kind the others would not decide as they do alone
        if len(set(endless)) > 1 and (decide is None or reset is None):
            raise PlifError(
                "recordings and feeds side by side have no common default: say --decide and --reset "
                f"(recordings alone: {' and '.join(RECORDING_RULES)}; feeds alone: {rule or LIVE_RULES[0]} and {LIVE_RULES[1]})"
            )
        usual = (rule or LIVE_RULES[0], LIVE_RULES[1]) if endless[0] else RECORDING_RULES
        if exit_margin is not None and not endless[0]:
            usual = (f"{usual[0]},exit={exit_margin:.9f}".rstrip("0"), usual[1])
        return replace(
            self,
            framing=framing,
            decide=usual[0] if decide is None else decide,
            reset=usual[1] if reset is None else reset,
            overload="merge" if self.overload is None else self.overload,
            on_return="hold" if self.on_return is None else self.on_return,
        )

    def to_dict(self) -> dict[str, object]:
        """Return stream options as a dictionary, as in recording.json."""
        return asdict(self)
