"""The options of `plif send`, for Python and for the command line."""

from __future__ import annotations

from runtime.core.base.declared import ReadingOptions
from runtime.core.base.options import option


class SendOptions(ReadingOptions):
    """The command-line options for sending a recording as network datagrams."""

    speed: str = option("real: paced by the events' own time; max; or events a second.", default="real")
    # 100 events are 1300 bytes of t64 and fit the usual 1500 of Ethernet; no datagram is longer than 65,507 bytes
    each: int = option("Events in one datagram.", default=100, least=1, most=5000)
