"""What may be said of a model that is checked, each option once: for Python and for the command line."""

from __future__ import annotations

from plif_export.core.options import Layers, TargetOptions


class CheckOptions(TargetOptions, Layers):
    """All options of a check."""
