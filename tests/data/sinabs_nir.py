"""Makes sinabs.nir and sinabs.npz: a network of sinabs, and its spikes on events. Run once, in an environment with sinabs."""

import nir
import numpy as np
import sinabs.activation as sa
import sinabs.layers as sl
import torch
from sinabs.nir import to_nir
from torch import nn

torch.manual_seed(0)


def iaf() -> sl.IAFSqueeze:
    return sl.IAFSqueeze(batch_size=1, spike_threshold=1.0, spike_fn=sa.SingleSpike, min_v_mem=None)


net = nn.Sequential(
    nn.Conv2d(2, 6, 3), iaf(), sl.SumPool2d(2), nn.Flatten(), nn.Linear(6 * 9, 4), iaf()
)  # fmt: skip
x = np.random.default_rng(0).poisson(0.5, (50, 2, 8, 8)).astype(np.float32)
with torch.no_grad():
    net(torch.from_numpy(x))
    net[0].weight *= 2
    net[4].weight *= 0.8
    graph = to_nir(net, torch.from_numpy(x[:1]))
    for part in net.modules():
        if hasattr(part, "reset_states"):
            part.reset_states()
    spikes = net(torch.from_numpy(x)).numpy()
print("rate", spikes.mean(), "largest", spikes.max())
graph.nodes["0"].input_shape = (8, 8)  # sinabs leaves shapes out, and nir cannot write that
graph.nodes["3"].input_type = {"input": np.array([6, 3, 3])}
nir.write("sinabs.nir", graph)
np.savez_compressed("sinabs.npz", x=x[:, None].astype(np.uint8), spikes=spikes[:, None].astype(np.uint8))
