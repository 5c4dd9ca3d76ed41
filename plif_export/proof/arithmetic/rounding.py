"""What rounding the weights changes, against the model in fp32: reported beside the gate.

Flips in one step, from the model's own spikes and membranes, are rounding alone; what the whole file does on its own spikes
(free-running, gate.py) adds the consequences of those flips.

The gate judges a file by the interpreter on the weights that the same pass rounded, so a pass that rounds badly would be
judged by its own mistake. Hence one bound here: rounding alone may not change a tenth of a layer's spikes.
"""

from __future__ import annotations

import numpy as np

from plif_export.proof.reference import History
from plif_export.proof.report import Report
from plif_export.proof.subjects.subject import Subject, cases

MOST_FLIPS = 0.1  # of a layer's spikes, in one step; trained networks lose 0.1 to 2 % of theirs to int8
FEW = 20  # flips say nothing about layers that hardly fire


def count_flips(subject: Subject, history: History, report: Report) -> None:
    """Counts each layer's spikes that differ from the model's when it gets the model's spikes and membranes; fails the
    report where they are too many to be rounding. The subject must show spikes."""
    flips = dict.fromkeys(history.layers, 0)
    for case in cases(history, subject.chunk):
        for name, steps in subject.forced(case).layers.items():
            for k, seen in steps.items():
                assert seen.s is not None, "the subject shows no spikes"
                if case.expected[name][k].values == "spikes":  # any value is rounded a little, and no spike of it
                    flips[name] += int(np.sum((seen.s > 0.5) != case.expected[name][k].s))
    for layer in report.layers:
        layer.rounding_mismatches += flips[layer.name]
        fired = history.layers[layer.name].spikes
        if flips[layer.name] > FEW + MOST_FLIPS * fired:
            report.fail(
                layer.name,
                0,
                f"{report.precision} weights change {flips[layer.name]} of its {fired} spikes, too many for rounding; "
                "use a higher precision",
            )
