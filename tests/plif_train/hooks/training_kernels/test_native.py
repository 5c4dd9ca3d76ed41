"""The kernels of a training step: what PyTorch's operations give, bit for bit where no sum is involved."""

from __future__ import annotations

import itertools

import pytest
import torch

from plif_train import build
from plif_train.core.network.neuron import Neuron
from plif_train.hooks.training_kernels import native
from plif_train.hooks.training_kernels.layers import AveragePool, MaxPool

pytestmark = pytest.mark.skipif(native.load_library() is None, reason="the kernels are not built here (no C compiler)")

HALF = torch.bfloat16
NEURONS = [
    case
    for case in itertools.product(("IF", "LIF", "PLIF"), (0.0, -0.3, None), (True, False), (None, 5))
    if case[0] == "PLIF" or case[3] is None
]


def _spikes(monkeypatch, on: bool, x, weight, threads: int = 1, **neuron) -> list[torch.Tensor | None]:
    monkeypatch.setenv(native.VARIABLE, str(int(on)))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        n = Neuron(v_threshold=1.0, detach_reset=True, init_tau=2.7, name="n", **neuron).train()
        x = x.clone().requires_grad_(True)
        s = torch.cat([n.forward_sequence(x[:4]), n.forward_sequence(x[4:])])
        (s * weight).sum().backward()
        return [s.detach(), n.v.detach(), x.grad, None if n.w is None else n.w.grad]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("surrogate", native.SURROGATES)
@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize(("kind", "v_reset", "decay_input", "channels"), NEURONS)
def test_the_recurrence_is_pytorchs_bit_for_bit(
    monkeypatch, kind: str, v_reset: float | None, decay_input: bool, channels: int | None, dtype, surrogate: str
) -> None:
    torch.manual_seed(1)
    x = (1.5 * torch.randn(7, 3, 5, 17, 19) + 0.5).to(dtype)
    weight = torch.randn(7, 3, 5, 17, 19).to(dtype)
    neuron = {
        "kind": kind, "v_reset": v_reset, "decay_input": decay_input, "channels": channels, "surrogate": surrogate
    }  # fmt: skip
    slow = _spikes(monkeypatch, False, x, weight, **neuron)
    fast = _spikes(monkeypatch, True, x, weight, **neuron)
    assert 0.05 < float(slow[0].float().mean()) < 0.95
    for a, b in zip(slow[:3], fast[:3], strict=True):
        assert torch.equal(a, b)
    if slow[3] is not None:
        torch.testing.assert_close(fast[3], slow[3], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pytorchs", [True, False], ids=["in PyTorch's threads", "in ours"])
def test_any_number_of_threads_gives_the_same_bits(monkeypatch, pytorchs: bool) -> None:
    if not pytorchs:
        monkeypatch.setattr(native, "_gomp_parallel", lambda: None)
    torch.manual_seed(2)
    x, weight = 2 * torch.randn(7, 5, 8, 33, 31), torch.randn(7, 5, 8, 33, 31)
    neuron = {"kind": "PLIF", "v_reset": 0.0, "decay_input": True, "channels": None, "surrogate": "atan"}
    one = _spikes(monkeypatch, True, x, weight, threads=1, **neuron)
    three = _spikes(monkeypatch, True, x, weight, threads=3, **neuron)
    for a, b in zip(one, three, strict=True):
        assert torch.equal(a, b)


def test_an_image_shown_t_times_needs_no_copies(monkeypatch) -> None:
    torch.manual_seed(3)
    image, weight = 2 * torch.rand(1, 3, 5, 17, 19), torch.randn(7, 3, 5, 17, 19)
    found = []
    for on in (False, True):
        monkeypatch.setenv(native.VARIABLE, str(int(on)))
        n = Neuron("PLIF", v_threshold=1.0, v_reset=0.0, decay_input=True, detach_reset=True, name="n").train()
        x = image.clone().requires_grad_(True)
        s = n.forward_sequence(x[0].expand(7, 3, 5, 17, 19))
        (s * weight).sum().backward()
        found.append((s.detach(), x.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize(("H", "W"), [(28, 28), (17, 15), (2, 3), (5, 2200), (1, 4)])
@pytest.mark.parametrize("pool", [MaxPool, AveragePool])
def test_pooling_takes_and_gives_back_as_pytorch_does(monkeypatch, pool, H: int, W: int, dtype) -> None:
    torch.manual_seed(4)
    x = (torch.randint(0, 3, (3, 4, H, W)) if pool is MaxPool else torch.randn(3, 4, H, W)).to(dtype)
    x[0, 0, 0, 0] = torch.nan
    found = []
    for on in (False, True):
        monkeypatch.setenv(native.VARIABLE, str(int(on)))
        mine = x.clone().requires_grad_(True)
        if H < 2:
            with pytest.raises(RuntimeError):
                pool(2, 2)(mine)
            continue
        y = pool(2, 2)(mine)
        torch.manual_seed(5)
        y.backward(torch.randn(y.shape).to(dtype))
        found.append((y.detach(), mine.grad))
    for a, b in zip(*found, strict=True) if found else []:
        assert torch.equal(a.nan_to_num(-9), b.nan_to_num(-9))


def test_a_network_pools_by_them() -> None:
    for pool, kind in (("MP", MaxPool), ("AP", AveragePool)):
        assert isinstance(build("mnist", channels=2, hidden=20, pool=pool).get_submodule("conv1_pool"), kind)


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize(("H", "W", "once"), [(28, 28, True), (6, 34, False), (2, 2, True), (16, 16, False)])
@pytest.mark.parametrize(("kind", "v_reset", "surrogate"), [("PLIF", 0.0, "atan"), ("IF", None, "piecewise")])
def test_spikes_that_come_pooled_are_pytorchs_bit_for_bit(
    monkeypatch, H: int, W: int, once: bool, kind: str, v_reset: float | None, surrogate: str, dtype
) -> None:
    torch.manual_seed(6)
    x, weight = torch.randn(1 if once else 7, 3, 4, H, W).to(dtype), torch.randn(7, 3, 4, H // 2, W // 2).to(dtype)
    found = []
    for on in (False, True):
        monkeypatch.setenv(native.VARIABLE, str(int(on)))
        n = Neuron(kind, v_threshold=0.7, v_reset=v_reset, surrogate=surrogate, name="n").train()
        mine = x.clone().requires_grad_(True)
        s = n.forward_sequence(mine, 7, pools=True)
        assert (s.shape == weight.shape) is on  # the kernels have pooled, or PyTorch does
        s = s if on else MaxPool(2, 2)(s.flatten(0, 1)).unflatten(0, (7, 3))
        (s * weight).sum().backward()
        found.append((s.detach(), n.v.detach(), mine.grad, n.w.grad if n.w is not None else torch.zeros(())))
    (*slow, slow_w), (*fast, fast_w) = found
    assert 0.1 < float(slow[0].float().mean()) < 0.99
    for a, b in zip(slow[:2] if once else slow, fast[:2] if once else fast, strict=True):
        assert torch.equal(a, b)
    if once:  # a sum over the steps, in bfloat16 of PyTorch's
        torch.testing.assert_close(
            fast[2], slow[2], rtol=0.02 if dtype == HALF else 1e-5, atol=0.02 if dtype == HALF else 1e-6
        )
    torch.testing.assert_close(fast_w, slow_w, rtol=1e-4, atol=1e-4)


def test_what_the_kernels_do_not_know_goes_to_pytorch() -> None:
    double = torch.zeros(2, 2, dtype=torch.float64)
    assert not native.can_run(double)
    pool, x = MaxPool(3, 2), torch.rand(1, 1, 7, 7, requires_grad=True)
    assert torch.equal(pool(x), torch.nn.functional.max_pool2d(x, 3, 2))


def test_the_default_type_does_not_matter(monkeypatch) -> None:
    torch.manual_seed(3)
    x, weight = torch.randn(7, 2, 3, 8, 8), torch.randn(7, 2, 3, 8, 8)
    before = _spikes(monkeypatch, True, x, weight, kind="PLIF")
    torch.set_default_dtype(torch.float64)
    try:
        neuron = Neuron("PLIF", v_threshold=1.0, detach_reset=True, init_tau=2.7, name="n").train().float()
        inputs = x.clone().requires_grad_(True)
        s = torch.cat([neuron.forward_sequence(inputs[:4]), neuron.forward_sequence(inputs[4:])])
        (s * weight).sum().backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(s, before[0]) and torch.equal(inputs.grad, before[2])
    torch.testing.assert_close(neuron.w.grad, before[3])
