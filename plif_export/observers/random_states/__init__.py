"""Random spikes and membranes: the gate's check of every layer (probe.py), and `--thorough` (search.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from plif_export.core.prove import Proof


class ThoroughOptions(OptionRecord):
    """The option --thorough of an export proof, which then takes minutes."""

    thorough: bool = option("Minutes more: 10,000 steps, and a search for an input on which they part.", default=False)


def hear(proof: Proof, thorough: bool) -> None:
    """Test a proved artifact further: on a long run, and by a search for inputs on which it differs from the model."""
    from plif_export.observers.random_states.search import run_thorough

    run_thorough(proof)
