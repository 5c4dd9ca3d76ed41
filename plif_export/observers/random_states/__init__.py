"""Random spikes and membranes: what the gate asks of every layer (probe.py), and `--thorough`, minutes more (search.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from plif_export.core.prove import Proof


class ThoroughOptions(OptionRecord):
    """Whether it is proved for minutes."""

    thorough: bool = option("Minutes more: 10,000 steps, and a search for an input on which they part.", default=False)


def hear(proof: Proof, thorough: bool) -> None:
    """A long run and a search, on what passed the gate."""
    from plif_export.observers.random_states.search import search

    search(proof)
