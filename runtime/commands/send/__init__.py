"""`plif send`: send a recording as datagrams.

The Python call is runtime.commands.send.recording.send.
"""

from __future__ import annotations

from typing import Annotated

from runtime.commands.send.options import SendOptions
from runtime.core.base.options import Argument
from runtime.core.cli.output import Output


def command(
    source: Annotated[str, Argument("A recording, or sim:digits?seed=1.")],
    target: Annotated[str, Argument("udp://HOST:PORT?format=t64|t32|spif|jaer")],
    options: SendOptions,
    output: Output,
) -> None:
    from runtime.commands.send.recording import send

    sent = send(source, target, **vars(options))
    output.show({"events": sent}, lambda: [f"sent {sent} events"])
