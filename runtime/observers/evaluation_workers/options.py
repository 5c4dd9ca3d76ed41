"""How many workers, and from where they go on."""

from __future__ import annotations

from runtime.core.base.options import option
from runtime.core.observers import HeardOptions


class WorkerOptions(HeardOptions, by="elsewhere"):
    """None of them changes an answer."""

    workers: int | None = option(
        "Processes, each with its own engine and reader; one a core, where that pays, if not given.",
        default=None,
        least=1,
    )
    resume: bool = option("Go on with what --out has begun.", default=False)
