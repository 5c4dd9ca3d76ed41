"""The options of evaluation workers: their number, and whether to resume."""

from __future__ import annotations

from runtime.core.base.options import option
from runtime.core.observers import ExtensibleOptions


class WorkerOptions(ExtensibleOptions, by="elsewhere"):
    """The command-line options of evaluation workers; none of them changes an answer."""

    workers: int | None = option(
        "Processes, each with its own engine and reader; one a core, where that pays, if not given.",
        default=None,
        least=1,
    )
    resume: bool = option("Go on with what --out has begun.", default=False)
