"""What can be streamed at all, and by which rules where nobody chose any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.base.errors import PlifError
from runtime.events import Framing, Source
from runtime.events.sources.base import waits

if TYPE_CHECKING:
    from runtime.engines.session import OpenModel

# What is not given is, for recordings, what evaluation does; for feeds without an end, what was measured (docs/live.md).
RECORDING_RULES = ("sum", "recording")  # decide, reset
LIVE_RULES = ("leak:120ms,margin=0.2", "silence:1000")


def check_streamable(model: OpenModel, sources: Sequence[object], speed: str) -> None:
    if model.unrolled:
        raise PlifError(
            f"{model.path}: is unrolled over T={model.T} and cannot stream; use the step form: plif export --form step"
        )
    if model.static:
        raise PlifError(f"{model.path}: its input is a still image, not events; evaluate it instead: plif eval")
    if speed not in ("real", "max"):
        raise PlifError(f"--speed {speed}: expected real or max")
    if not sources:
        raise PlifError("stream: no source; expected a recording, -, udp://, tcp://, usb:// or sim:")
    if [getattr(one, "name", one) for one in sources].count("-") > 1:
        raise PlifError("stream: standard input is given twice")


def endless(source: Source, framing: Framing) -> bool:
    """Whether a stream of it has no end. Frames that divide a whole recording have one."""
    feed = getattr(source, "endless", source.live and not waits(source))
    return bool(feed) and framing.kind != "count"


def default_rules(decide: str | None, reset: str | None, endless: Sequence[bool]) -> tuple[str, str]:
    """decide and reset, from the defaults where not given: one pair for all sources, or each would not decide as alone."""
    if len(set(endless)) > 1 and (decide is None or reset is None):
        raise PlifError(
            "recordings and feeds side by side have no common default: say --decide and --reset "
            f"(recordings alone: {' and '.join(RECORDING_RULES)}; feeds alone: {' and '.join(LIVE_RULES)})"
        )
    usual = LIVE_RULES if endless[0] else RECORDING_RULES
    return usual[0] if decide is None else decide, usual[1] if reset is None else reset
