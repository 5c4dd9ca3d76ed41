"""The encoders of the supplement, section 10, do what its formulas say."""

from __future__ import annotations

import math

import pytest
import torch

from plif_train.commands.paper_figures.encoders import encode_latency, encode_learnable, encode_poisson
from plif_train.core.network.neuron import Neuron
from runtime.core.base.errors import PlifError


def test_poisson_spikes_number_p_t_on_average() -> None:
    p = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64).repeat(4000, 1)
    T = 20
    total = encode_poisson(p, T, torch.Generator().manual_seed(0)).sum(0)
    mean = total.mean(0)
    spread = (T * p[0] * (1 - p[0]) / len(p)).sqrt()  # of the mean of 4000 binomials
    assert bool(((mean - T * p[0]).abs() <= 4 * spread).all())
    assert bool((total[:, 0] == 0).all()) and bool((total[:, 4] == T).all())


def test_latency_fires_once_and_earlier_when_brighter() -> None:
    p = torch.linspace(0, 1, 101, dtype=torch.float64)
    for T_max in (1, 8, 20):
        s = encode_latency(p, T_max)
        assert torch.equal(s.sum(0), torch.ones(101, dtype=torch.float64))
        expected = [math.floor((T_max - 1) * (1 - float(value))) for value in p]
        assert s.argmax(0).tolist() == expected
        assert expected == sorted(expected, reverse=True)


@pytest.mark.parametrize(("w", "v_threshold"), [(1.0, 1.0), (0.37, 1.0), (2.5, 0.8)])
def test_the_learnable_encoder_fires_every_so_many_steps(w: float, v_threshold: float) -> None:
    """floor(T / ceil(V_th / (w p))) spikes, the first in step ceil(V_th / (w p)), counted from 1."""
    T = 40
    p = torch.rand(500, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).clamp_min(1e-3)
    s = encode_learnable(p, T, w, v_threshold)
    every = [math.ceil(v_threshold / (w * float(value))) for value in p]
    assert s.sum(0).tolist() == [T // n for n in every]
    for i, n in enumerate(every):
        assert s[:, i].nonzero().flatten().tolist() == list(range(n - 1, T, n))
    silent = encode_learnable(torch.zeros(3, dtype=torch.float64), T, w, v_threshold)
    assert not silent.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_learnable_encoder_does_not_drift(dtype: torch.dtype) -> None:
    """Ten times 0.1 is a spike in step 10, whatever the sum rounds to."""
    s = encode_learnable(torch.tensor([0.1], dtype=dtype), 20)
    assert s[:, 0].nonzero().flatten().tolist() == [9, 19]


def test_the_learnable_encoder_is_an_if_neuron() -> None:
    """Where every sum is exact."""
    p = torch.arange(0, 65, dtype=torch.float64) / 64
    spikes = Neuron("IF", v_threshold=1.0, v_reset=0.0).eval().forward_sequence(p.expand(40, 65))
    assert torch.equal(encode_learnable(p, 40), spikes)


def test_with_w_and_threshold_1_the_learnable_encoder_is_close_to_poisson() -> None:
    """Its rate 1 / ceil(1 / p) never exceeds p, and is p where 1 / p is whole."""
    p = torch.linspace(0.01, 1, 100, dtype=torch.float64)
    rate = encode_learnable(p, 5040).mean(0)
    assert bool((rate <= p + 1e-3).all())
    for n in (1, 2, 4, 8):
        assert float(encode_learnable(torch.tensor([1 / n], dtype=torch.float64), 40).mean()) == 1 / n


def test_impossible_intensities_are_refused() -> None:
    for encoder in (encode_poisson, encode_latency, encode_learnable):
        with pytest.raises(PlifError, match="expected 0 to 1"):
            encoder(torch.tensor([1.2]), 5)
        with pytest.raises(PlifError, match="at least one"):
            encoder(torch.tensor([0.2]), 0)
