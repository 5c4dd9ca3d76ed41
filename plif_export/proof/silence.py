"""What a network does without any input: which channels fire from their biases alone, and how many spikes a silent step costs.

A neuron whose bias reaches the threshold fires for ever in an empty scene. The golden model runs STEPS empty steps from reset, of
which the second half is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plif_export.proof.arithmetic.interpret import start, step
from runtime.model.graph import Graph

STEPS = 40
MOST_NAMED = 8
MOST_NUMBERS = 1 << 22  # of all neurons: larger graphs would take minutes


@dataclass(frozen=True)
class SilentLayer:
    """One layer in silence: the numbers of the channels that fire, of how many, and spikes a step."""

    layer: str
    channels: list[int]
    of: int
    spikes: float

    def sentence(self) -> str:
        named = ", ".join(map(str, self.channels[:MOST_NAMED])) + (", ..." if len(self.channels) > MOST_NAMED else "")
        return (
            f"{self.layer}: {len(self.channels)} of {self.of} channels fire without any input ({named}), {self.spikes:.0f} spikes"
            " a step: a silent scene costs these; train with --set bias_limit=0.95"
        )


def silent_layers(graph: Graph) -> list[SilentLayer]:
    """The layers that fire in silence; none where the graph is too large to be run so, or reads no single input."""
    sizes = [int(np.prod(neuron.shape)) for neuron in graph.neurons]
    if sum(sizes) > MOST_NUMBERS:
        return []
    state = start(graph, 1)
    counts = {neuron.layer: np.zeros(neuron.shape, np.int64) for neuron in graph.neurons}
    x = np.zeros((1, *graph.input_shape), np.float32)
    for t in range(STEPS):
        _, state, layers = step(graph, x, state)
        for layer, fired in layers.items():
            if 2 * t >= STEPS:
                counts[layer] += fired.s[0] != 0
    found = []
    for layer, count in counts.items():
        channels = count.sum(tuple(range(1, count.ndim)))
        if channels.any():
            spikes = 2 * float(count.sum()) / STEPS
            found.append(SilentLayer(layer, np.flatnonzero(channels).tolist(), len(channels), spikes))
    return found
