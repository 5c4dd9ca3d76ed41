"""What rounding the weights changes, against the model in fp32: reported beside the gate, never part of it.

Flips in one step, from the model's own spikes and membranes, are rounding alone; what the whole file does on its own spikes
(the free-running part of parity.py) adds what those flips set off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plif_export.reference import Trace
from runtime.graph import spikes

if TYPE_CHECKING:
    from plif_export.parity import Parts, Report


def one_step(parts: Parts, trace: Trace, report: Report) -> None:
    """Counts each layer's spikes that differ from the model's when it gets the model's spikes and membranes."""
    for t0 in range(0, len(trace.x), parts.chunk):
        known = parts.known(trace, t0)
        for layer in report.layers:
            found = parts.run(layer.name, known, report)
            if found is not None:
                name = spikes(layer.name)
                layer.rounding_mismatches += int(np.sum((found[name] > 0.5) != (known[name] > 0.5)))
