"""What rounding the weights changes, against the model in fp32: reported beside the gate.

Flips in one step, from the model's own spikes and membranes, are rounding alone; what the whole file does on its own spikes
(the free-running part of parity.py) adds what those flips set off.

The gate judges a file by the interpreter on the weights that the same pass rounded, so a pass that rounds badly would be
judged by its own mistake. Hence one bound here: rounding alone may not change a tenth of a layer's spikes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plif_export.proof.reference import Trace
from runtime.model.graph import spikes

if TYPE_CHECKING:
    from plif_export.proof.gate import Parts
    from plif_export.proof.report import Report


MOST_FLIPS = 0.1  # of a layer's spikes, in one step; trained networks lose 0.1 to 2 % of theirs to int8
FEW = 20  # flips say nothing about layers that hardly fire


def one_step(parts: Parts, trace: Trace, report: Report) -> None:
    """Counts each layer's spikes that differ from the model's when it gets the model's spikes and membranes; fails the
    report where they are too many to be rounding."""
    before = {layer.name: layer.rounding_mismatches for layer in report.layers}
    for t0 in range(0, len(trace.x), parts.chunk):
        known = parts.known(trace, t0)
        for layer in report.layers:
            found = parts.run(layer.name, known, report)
            if found is not None:
                name = spikes(layer.name)
                layer.rounding_mismatches += int(np.sum((found[name] > 0.5) != (known[name] > 0.5)))
    for layer in report.layers:
        fired = sum(int(s.sum()) for s in trace.layers[layer.name].s)
        flips = layer.rounding_mismatches - before[layer.name]
        if flips > FEW + MOST_FLIPS * fired:
            report.fail(
                layer.name,
                0,
                f"{report.precision} weights change {flips} of its {fired} spikes, too many for rounding; "
                "use a higher precision",
            )
