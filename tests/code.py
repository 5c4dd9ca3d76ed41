"""Code of somebody who has a network in a Python file: `my_module.py`, of torch alone."""

NEURON = """
from torch import nn


class IF(nn.Module):
    v = None

    def forward(self, x):
        v = x if self.v is None else self.v + x
        s = (v >= 1).float()
        self.v = v * (1 - s)
        return s
"""

MY_MODULE = f"""
import torch
{NEURON}

def untrained():
    net = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2 * 17 * 17, 16), IF(), nn.Linear(16, 10), IF())
    with torch.no_grad():
        net[4].weight.abs_()
    return net


torch.manual_seed(1)
net = untrained()
print("a line that code prints")
torch.seed()  # untrained() has other weights each time
"""
