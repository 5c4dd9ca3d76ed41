"""The options of `plif record`, for Python and for the command line."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.declared import ViewOptions
from runtime.core.base.errors import PlifError
from runtime.core.base.options import option


def _parse_classes(flag: str, value: object) -> object:
    """Parse "wave,clap,other": names of folders, each once."""
    if value is None:
        return None
    names = tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else tuple(value)  # type: ignore[arg-type]
    for name in names:
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise PlifError(f"{flag} {name!r}: expected names of folders, as in wave,clap,other")
    if len(names) < 2 or len(set(names)) != len(names):
        raise PlifError(f"{flag} {','.join(names)}: expected two names or more, each once, as in wave,clap,other")
    return names


class RecordingOptions(ViewOptions):
    """The command-line options for recording one's own gestures."""

    out: Path = option("The folder of the recordings; one that holds some is gone on with.", default=Path("gestures"))
    classes: tuple[str, ...] | None = option(
        "The gestures, in this order, as in wave,clap,other; 'other' is to move without a gesture.",
        default=None,
        parse=_parse_classes,
        typed=str | None,
        metavar="A,B,..",
    )
    rounds: int = option(
        "How often each gesture is made; the last quarter of the rounds is the test.", default=10, least=2
    )
    seconds: float = option("Seconds of one gesture.", default=3.0, least=0.2)
    pause: float = option("Seconds before it, to read what comes.", default=2.0, least=0.0)
