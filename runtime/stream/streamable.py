"""Which models stream, and what a source is."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.base.errors import PlifError
from runtime.engines.model import OpenModel
from runtime.events.sources.base import Source


def check_streamable(model: OpenModel, sources: Sequence[str | Source], speed: str) -> None:
    """PlifError for a model that cannot stream, and for what is no source."""
    if model.unrolled:
        raise PlifError(
            f"{model.path}: is unrolled over T={model.T} and cannot stream; use the step form: plif export --form step"
        )
    if model.static:
        raise PlifError(f"{model.path}: its input is a still image, not events; evaluate it instead: plif eval")
    assert model.classes  # or it says why there are none
    if speed not in ("real", "max"):
        raise PlifError(f"--speed {speed}: expected real or max")
    if not sources:
        raise PlifError("stream: no source; expected a recording, -, udp://, tcp://, usb:// or sim:")
    for one in sources:
        if not isinstance(one, str | Source):
            raise PlifError(f"{one!r} is no source of events: derive its class from runtime.events.Source")
    if [one.name if isinstance(one, Source) else one for one in sources].count("-") > 1:
        raise PlifError("stream: standard input is given twice")
