"""The options of a capacity measurement of a Triton server."""

from __future__ import annotations

from runtime.core.base.options import OptionRecord, option


def _parse_time(flag: str, value: object) -> object:
    """Parse a time such as "20ms", and return it in microseconds: 20000."""
    from runtime.core.events.framing import parse_time_us  # loads NumPy, as all of runtime.core.events does

    return parse_time_us(flag, "the time", value) if isinstance(value, str) else value


class TritonOptions(OptionRecord):
    """The command-line options of a measurement of how many streams a Triton server can serve.

    Times are in microseconds, or texts such as 20ms.
    """

    triton: str | None = option(
        "How many live streams (at most --streams) does this server hold?", default=None, metavar="HOST:PORT"
    )
    p99: int = option("Of --triton: the latency that 99 of 100 frames keep.", default="20ms", parse=_parse_time)
    every: int | None = option(
        "Of --triton: between two frames of a stream; the framing's if not given.", default=None, parse=_parse_time
    )
