"""The loop that people write to evaluate a network in PyTorch or SpikingJelly, in its quickest forms.

Batches come from a DataLoader, which reads and frames in `workers` processes of its own (0: in between): N-MNIST with a few lines
of NumPy, as people write them, other recordings with plif's code.
PyTorch's loops run PyTorch's own operations; OURS is the same loop with the kernels that plif trains with, which are no loop that
people write. `step by step` calls the network T times for a batch; `all steps` hands it a whole sequence [T, B, C, H, W], so that
layers without state see T x B samples at once (SpikingJelly's multi-step mode).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from bench.peers import spikingjelly_modules
from plif_train.core.network.network import Network
from plif_train.hooks.training_kernels import native
from runtime.core.data import Dataset
from runtime.core.data.recordings import Nmnist

OURS = "PyTorch with plif's kernels, all steps"
Run = Callable[[Tensor], Tensor]  # x float32 [T, B, C, H, W] -> the sum of y over the steps, float32 [B, classes]


@dataclass
class Recordings(torch.utils.data.Dataset[Tensor]):
    """A data set of plif for a DataLoader: frames of sample i, float32 [T, C, H, W]."""

    dataset: Dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> Tensor:
        if isinstance(self.dataset, Nmnist):
            return torch.from_numpy(digit_frames(self.dataset.path(i), self.dataset.framing.T or 1, self.dataset.shape))
        return torch.from_numpy(self.dataset.sample(i))


def digit_frames(path: str, T: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Read a recording of N-MNIST as float32 [T, C, H, W], T slices of equal event count."""
    c, h, w = shape
    words = np.fromfile(path, np.uint8).reshape(-1, 5)
    x, y, p = words[:, 0].astype(np.int64), words[:, 1], words[:, 2] >> 7
    t = np.minimum(np.arange(len(words)) // (len(words) // T), T - 1)
    counts = np.bincount(((t * c + p) * h + y) * w + x, minlength=T * c * h * w)
    return counts.astype(np.float32).reshape(T, c, h, w)


def loops(net: Network) -> dict[str, Run]:
    """{name: loop body} of PyTorch's and, where it is installed, SpikingJelly's."""

    def steps(x: Tensor) -> Tensor:
        net.reset()
        return torch.stack([net.step(x_t) for x_t in x]).sum(0)

    def whole(x: Tensor) -> Tensor:
        net.reset()
        return net(x).sum(0)

    found = {"PyTorch, step by step": _plain(steps), "PyTorch, all steps": _plain(whole), OURS: whole}
    try:
        from spikingjelly.activation_based import functional, layer
    except ImportError:
        return found
    single = torch.nn.Sequential(*spikingjelly_modules(net)).eval()
    multi = torch.nn.Sequential(
        *(m if hasattr(m, "step_mode") else layer.SeqToANNContainer(m) for m in spikingjelly_modules(net))
    ).eval()
    functional.set_step_mode(multi, "m")

    def peer_steps(x: Tensor) -> Tensor:
        functional.reset_net(single)
        return torch.stack([single(x_t) for x_t in x]).sum(0)

    def peer_whole(x: Tensor) -> Tensor:
        functional.reset_net(multi)
        return multi(x).sum(0)

    return found | {"SpikingJelly, step by step": peer_steps, "SpikingJelly, all steps": peer_whole}


def _plain(body: Run) -> Run:
    """Run the training step without the kernels of plif_train."""

    def run(x: Tensor) -> Tensor:
        before = os.environ.get(native.VARIABLE)
        os.environ[native.VARIABLE] = "0"
        try:
            return body(x)
        finally:
            del os.environ[native.VARIABLE]
            if before is not None:
                os.environ[native.VARIABLE] = before

    return run


def evaluate_with(
    run: Run, dataset: Dataset, batch: int, workers: int, samples: int | None = None
) -> tuple[list[int], float]:
    """(predictions in the order of the data set, seconds), of the first `samples`, or all."""
    recordings = Subset(Recordings(dataset), range(len(dataset) if samples is None else samples))
    began = time.perf_counter()
    answers: list[np.ndarray] = []
    with torch.inference_mode():
        for x in DataLoader(recordings, batch, num_workers=workers):
            answers.append(run(x.transpose(0, 1)).numpy().argmax(1))
    return np.concatenate(answers).tolist(), time.perf_counter() - began
