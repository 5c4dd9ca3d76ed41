"""A convolution of spikes that skips the silent ones gives what PyTorch's convolution gives, forward and backward."""

from __future__ import annotations

import copy
import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

import plif_train
from plif_train.hooks.training_kernels import native, sparse
from plif_train.hooks.training_kernels.layers import TrainingConv2d
from tests.plif_train.hooks.training_kernels.test_convolution import nodes

pytestmark = pytest.mark.skipif(native.load_library() is None, reason="the kernels are not built here (no C compiler)")
HALF = torch.bfloat16


@pytest.fixture(autouse=True)
def whatever_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "_AMX", False)
    for dtype in (torch.float32, HALF):
        monkeypatch.setitem(sparse.MAX_DENSITY, dtype, 0.2)


def _spikes(*shape: int, share: float = 0.1, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.rand(shape) < share).to(dtype)


def sparse_sums(y: Tensor) -> list[Tensor]:
    """The weights of all sparse sums that y comes from."""
    return [node.next_functions[1][0].variable for node in nodes(y) if node.name() == "_SparseConvolutionBackward"]


def _step(conv: nn.Conv2d, x: Tensor, weights: Tensor) -> list[Tensor]:
    """y and the gradients of x, W and the bias."""
    x = x.clone().requires_grad_(True)
    with torch.autocast("cpu", HALF, enabled=x.dtype == HALF):
        y = conv(x)
    assert len(sparse_sums(y)) == isinstance(conv, TrainingConv2d)
    (y.float() * weights).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad for p in conv.parameters() if p.grad is not None)]


CASES = [  # channels in and out, kernel, stride, padding, height and width
    (16, 16, 3, 1, 1, (14, 14)),
    (24, 40, 3, 2, 0, (13, 11)),
    (17, 139, (2, 3), (1, 2), (0, 1), (9, 12)),
    (16, 250, 5, 4, 2, (17, 34)),
    (32, 16, (1, 2), 1, 0, (3, 3)),
    (16, 16, 5, 1, 2, (1, 1)),
    (16, 16, 3, 3, 5, (90, 80)),  # more spikes of a channel than a list holds at once
]


@pytest.mark.parametrize("values", ["ones", "any"])
@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize(("channels", "out", "kernel", "stride", "padding", "size"), CASES)
def test_value_and_gradients_are_those_of_pytorch(channels, out, kernel, stride, padding, size, dtype, values) -> None:
    torch.manual_seed(0)
    mine = TrainingConv2d(channels, out, kernel, stride, padding).train()
    theirs = nn.Conv2d(channels, out, kernel, stride, padding)
    theirs.load_state_dict(mine.state_dict())
    x = _spikes(5, channels, *size, share=0.08, dtype=dtype)
    if values == "any":
        x = x * torch.randn(x.shape).to(dtype)
    weights = torch.randn(theirs(x.float()).shape)
    exact = 2**-7 if dtype == HALF else 1e-5
    for a, b in zip(_step(mine, x, weights), _step(theirs, x, weights), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        torch.testing.assert_close(a.float(), b.float(), rtol=exact, atol=exact * float(b.abs().max()))


def test_silence_and_a_single_spike() -> None:
    conv = TrainingConv2d(16, 16, 3, padding=1, bias=False).train()
    x = torch.zeros(3, 16, 6, 7)
    assert not _step(conv, x, torch.ones(3, 16, 6, 7))[0].any()
    assert not conv.weight.grad.any()
    x[1, 5, 0, 6] = 1.0
    y, _, gradient = _step(conv, x, torch.ones(3, 16, 6, 7))
    assert torch.equal(y[1, :, 1, 5], conv.weight[:, 5, 0, 2]) and not y[0].any() and not y[2].any()
    assert gradient[:, 5].sum() == 4 * 16 and gradient.sum() == 4 * 16, "a corner is reached through four places"


def test_any_number_of_threads_and_parts_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    conv = TrainingConv2d(40, 48, 3, padding=1).train()
    x, weights = _spikes(9, 40, 12, 12), torch.randn(9, 48, 12, 12)
    monkeypatch.setattr(native, "MIN_THREAD_ELEMENTS", 1)  # a thread, however few elements it gets
    found = []
    before = torch.get_num_threads()
    an_image, four, all_of_them = 1, 1 << 15, 1 << 23  # at a time
    for threads, rows in itertools.product((1, 2, 5), (an_image, four, all_of_them)):
        monkeypatch.setattr(sparse, "ROWS", rows)
        torch.set_num_threads(threads)
        try:
            found.append(_step(copy.deepcopy(conv), x, weights))
        finally:
            torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_a_graph_goes_back_twice_in_two_threads_at_once() -> None:
    torch.manual_seed(4)
    conv = TrainingConv2d(16, 16, 3, padding=1, bias=False).train()
    y = conv(_spikes(64, 16, 20, 20))
    gradients = [torch.randn(y.shape) for _ in range(2)]

    def back(gradient: Tensor) -> Tensor:
        return torch.autograd.grad(y, conv.weight, gradient, retain_graph=True)[0]

    expected = [back(gradient) for gradient in gradients]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            assert all(map(torch.equal, pool.map(back, gradients), expected))


def test_gradients_only_where_they_are_wanted() -> None:
    torch.manual_seed(5)
    conv, x = TrainingConv2d(16, 16, 3, padding=1, bias=False).train(), _spikes(4, 16, 8, 8).requires_grad_(True)
    conv(x).sum().backward()
    both = x.grad, conv.weight.grad
    x.grad = None
    conv.weight.requires_grad_(False)
    conv(x).sum().backward()
    assert torch.equal(x.grad, both[0])
    conv.weight.requires_grad_(True)
    conv.weight.grad = None
    conv(x.detach()).sum().backward()
    torch.testing.assert_close(conv.weight.grad, both[1])
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.grad(conv(x).square().sum(), x, create_graph=True)[0].square().sum().backward()


def test_the_default_type_does_not_matter() -> None:
    torch.manual_seed(6)
    conv, x, weights = TrainingConv2d(16, 16, 3, padding=1).train(), _spikes(4, 16, 8, 8), torch.randn(4, 16, 8, 8)
    expected = _step(copy.deepcopy(conv), x, weights)
    torch.set_default_dtype(torch.float64)
    try:
        found = _step(conv, x, weights)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(map(torch.equal, found, expected))


def test_denormals_count_as_they_are_listed() -> None:
    conv = TrainingConv2d(16, 16, 3, padding=1, bias=False).train()
    x, counts = torch.zeros(1, 16, 32, 32), torch.zeros(1, 2, dtype=torch.int32)
    x[0, :, 0] = 1e-40
    job = sparse._make_call(x, conv.weight, (1, 1), (1, 1))
    job.x, job.counts = map(native.tensor_address, (x, counts))
    torch.set_flush_denormal(True)
    try:
        native.run_kernel("plif_sparse_count", job, 1, x.numel())
        conv(x.requires_grad_(True)).sum().backward()
    finally:
        torch.set_flush_denormal(False)
    assert counts[0, 0] == 16 * 32, "what the lists will hold"
    assert x.grad is not None and bool(conv.weight.grad.isfinite().all())


@pytest.mark.parametrize(
    "case",
    ["evaluation", "no_grad", "many spikes", "few channels", "few outputs", "1 x 1", "dilation", "matrix units", "off"],
)
def test_elsewhere_it_is_pytorchs(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    torch.manual_seed(2)
    channels, out = 8 if case == "few channels" else 16, 8 if case == "few outputs" else 16
    dtype = HALF if case == "matrix units" else torch.float32
    kernel, dilation = 1 if case == "1 x 1" else 3, 2 if case == "dilation" else 1
    conv = TrainingConv2d(channels, out, kernel, dilation=dilation).train(case != "evaluation")
    x = _spikes(4, channels, 9, 9, share=0.3 if case == "many spikes" else 0.1, dtype=dtype).requires_grad_(True)
    monkeypatch.setattr(sparse, "_AMX", case == "matrix units")
    if case == "off":
        monkeypatch.setenv(native.VARIABLE, "0")
    with torch.set_grad_enabled(case != "no_grad"), torch.autocast("cpu", HALF, enabled=dtype == HALF):
        y = conv(x)
    assert not sparse_sums(y)
    assert torch.equal(y.float(), nn.Conv2d.forward(conv.to(y.dtype), x.to(y.dtype)).float())


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(2, 16, 2, 2), "Kernel size"),
        (torch.zeros(2, 17, 9, 9), "channels"),
        (torch.zeros(2, 16, 9, 9, dtype=HALF), "type"),
    ],
    ids=["too small", "other channels", "another type"],
)
def test_what_pytorch_refuses_it_refuses(x: Tensor, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        TrainingConv2d(16, 16, 3).train()(x.requires_grad_(True))


def test_a_networks_second_convolution_is_one() -> None:
    torch.manual_seed(3)
    net = plif_train.build(
        "{c16k3s1-BN-PLIF-MPk2s2}*2-DP-FC10-PLIF-APk5s5", shape=(2, 12, 12), T=3, classes=("a", "b"), v_threshold=2.0
    )
    y = net.train()(torch.poisson(torch.full((3, 2, 2, 12, 12), 0.5))).sum()
    y.backward()
    (weight,) = sparse_sums(y)  # all steps at once
    assert weight is net.get_submodule("conv2").weight
    assert all(p.grad is not None for p in net.parameters())
