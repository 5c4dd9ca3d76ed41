"""The version of plif: pyproject.toml, cards and `plif --version` read it here."""

from __future__ import annotations

__version__ = "0.1.0"
