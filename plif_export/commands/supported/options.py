"""The options of a check, once for Python and for the command line."""

from __future__ import annotations

from plif_export.core.options import LayerOptions, TargetOptions


class CheckOptions(TargetOptions, LayerOptions):
    """The options of the command `plif check`."""
