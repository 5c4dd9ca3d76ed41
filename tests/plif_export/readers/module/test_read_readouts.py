"""What forward makes of its steps at the end: what gives the same in each step is part of the file, and the rest is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from plif_export.core.proof.reference import GraphReference
from plif_export.core.readers import read_model
from plif_export.readers.step_program.reading import ModuleReading
from tests.plif_export.readers.module.test_read_loops import lively, own_output

T = 6


class Ends(nn.Module):
    """One layer of neurons over all steps [T, B, 8], and what is done with its spikes [T, B, 10] at the end."""

    def __init__(self, end: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.lif, self.end = nn.Linear(8, 10), neuron.LIFNode(step_mode="m"), end
        self.head, self.plain, self.norm = nn.Linear(10, 5), nn.Linear(10, 5, bias=False), nn.BatchNorm1d(10)
        self.vote = layer.VotingLayer(2)
        self.register_buffer("V", torch.eye(5).repeat_interleave(2, 0) / 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self, self.lif(self.fc(x)))


# name -> (what is done with the spikes, how they are joined, whether what follows is part of the file)
ENDS: dict[str, tuple[Callable[[Any, Tensor], Tensor], str, bool]] = {
    "votes": (lambda m, s: m.vote(s.mean(0)), "mean", True),
    "matrix-of-votes": (lambda m, s: s.mean(0) @ m.V, "mean", True),
    "matrix-by-einsum": (lambda m, s: torch.einsum("bi,io->bo", s.mean(0), m.V), "mean", True),
    "voters-summed": (lambda m, s: s.mean(0).view(-1, 5, 2).sum(2), "mean", True),
    "voters-pooled": (lambda m, s: nn.functional.adaptive_avg_pool1d(s.mean(0), 5), "mean", True),
    "normalised": (lambda m, s: m.norm(s.mean(0)), "mean", True),
    "a-part": (lambda m, s: s.mean(0)[:, 2:7], "mean", True),
    "two-heads": (lambda m, s: torch.cat([m.head(q := s.mean(0)), m.plain(q)], 1), "mean", True),
    "around-a-layer": (lambda m, s: m.head(q := s.mean(0)) + q[:, :5], "mean", True),
    "from-one": (lambda m, s: 1 - s.mean(0), "mean", True),
    "sum-of-products": (lambda m, s: m.plain(s.sum(0)), "sum", True),
    "products-by-T": (lambda m, s: m.plain(s.sum(0)) / len(s), "mean", True),
    "largest-scaled": (lambda m, s: s.amax(0) * 3 + 1, "max", True),
    "sum-and-a-bias": (lambda m, s: m.head(s.sum(0)), "sum", False),
    "largest-and-a-layer": (lambda m, s: m.head(s.amax(0)), "max", False),
    "softmax": (lambda m, s: m.head(s.mean(0)).softmax(1), "mean", False),
    "rectified": (lambda m, s: m.head(s.mean(0)).relu(), "mean", False),
    "turned": (lambda m, s: (m.V.t() @ s.mean(0).t()).t(), "mean", False),
}


@pytest.mark.parametrize("case", ENDS)
def test_what_follows_the_steps_is_part_of_the_file_where_each_step_can_do_it(case: str) -> None:
    end, how, folded = ENDS[case]
    model = read_model(lively(Ends(end)), torch.zeros(3, 1, 8))
    reading: ModuleReading = model.reference.reading  # type: ignore[attr-defined]
    assert (reading.readout.reduction, reading.readout.folded) == (how, folded)
    assert any("which the file leaves out" in note for note in model.notes) != folded
    x = reading.form.make_input(T, 1, seed=3)
    reference = GraphReference(model.graph)  # the golden model, on the graph alone
    y = torch.from_numpy(reference.run(x.numpy(), reference.initial()).y)
    joined = {"mean": y.mean(0), "sum": y.sum(0), "max": y.amax(0)}[how]
    if not folded:
        joined = reading.readout.apply_tail(joined, {}, 1)
    expected = own_output(reading, x, T)
    torch.testing.assert_close(joined, expected, rtol=1e-4, atol=1e-4)
    assert len(expected.unique()) > 1


class Everywhere(nn.Module):
    """A convolution over the whole map: its spikes are [B, 5, 1, 1]."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.lif, self.end = nn.Conv2d(2, 5, 6), neuron.LIFNode(), end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.lif(self.conv(x)))


@pytest.mark.parametrize(
    ("end", "shape"),
    [(lambda y: y.flatten(1), (5,)), (lambda y: y.mean((2, 3)), (5,)), (lambda y: y, (5, 1, 1))],
    ids=("flatten", "mean", "map"),
)
def test_the_output_of_a_file_has_the_shape_that_forward_returns(end: Any, shape: tuple[int, ...]) -> None:
    graph = read_model(lively(Everywhere(end)), torch.zeros(1, 2, 6, 6)).graph
    assert graph[graph.output].shape == shape
