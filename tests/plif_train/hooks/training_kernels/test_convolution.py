"""The first convolution as a product of matrices gives what PyTorch's convolution gives, forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import plif_train
from plif_train.hooks.training_kernels.layers import TrainingConv2d


def nodes(y: Tensor) -> set[Any]:
    """All operations that y comes from, as autograd knows them."""
    waiting, seen = [y.grad_fn], set[Any]()
    while waiting:
        if (node := waiting.pop()) is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return seen


def products(y: Tensor) -> list[int]:
    """Sizes of the batches that went through a product."""
    return [len(node._saved_mat2) for node in nodes(y) if node.name() == "BmmBackward0"]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "bias"),
    (
        (3, 1, 1, 1, False),
        (5, 4, 2, 1, False),
        (3, 2, 0, 1, True),
        ((2, 3), (1, 2), (0, 1), 2, True),
        (1, 1, 0, 1, False),
    ),
)
def test_value_and_gradients_are_those_of_pytorch(kernel, stride, padding, dilation, bias):
    torch.manual_seed(0)
    mine = TrainingConv2d(2, 7, kernel, stride, padding, dilation, bias=bias).double().train()
    theirs = nn.Conv2d(2, 7, kernel, stride, padding, dilation, bias=bias).double()
    theirs.load_state_dict(mine.state_dict())
    x = torch.poisson(torch.full((4, 2, 13, 11), 0.4)).double()
    y, expected = mine(x), theirs(x)
    assert products(y) == [4]
    assert y.shape == expected.shape and y.is_contiguous()
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(expected)
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)


def test_under_autocast_it_is_bfloat16_and_as_exact_as_a_convolution():
    torch.manual_seed(1)
    mine = TrainingConv2d(2, 16, 3, padding=1, bias=False).train()
    x = torch.poisson(torch.full((8, 2, 20, 20), 0.4))
    with torch.autocast("cpu", torch.bfloat16):
        y = mine(x)
    assert products(y) == [8] and y.dtype == torch.bfloat16
    exact = F.conv2d(x, mine.weight.bfloat16().float(), padding=1)
    torch.testing.assert_close(y.float(), exact, rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize("case", ("evaluation", "no_grad", "gradient of the input", "many channels", "groups"))
def test_elsewhere_it_is_pytorchs_convolution_to_the_bit(case):
    torch.manual_seed(2)
    channels = 16 if case == "many channels" else 2
    mine = TrainingConv2d(channels, 8, 3, padding=1, groups=2 if case == "groups" else 1).train(case != "evaluation")
    x = torch.randn(3, channels, 9, 9, requires_grad=case == "gradient of the input")
    with torch.set_grad_enabled(case != "no_grad"):
        y = mine(x)
    assert not products(y)
    assert torch.equal(y, F.conv2d(x, mine.weight, mine.bias, padding=1, groups=mine.groups))


def test_the_networks_first_layer_is_one():
    net = plif_train.build("{c8k3s1-BN-PLIF-MPk2s2}*2-DP-FC10-PLIF-APk5s5", shape=(2, 12, 12), T=3, classes=("a", "b"))
    y = net.train()(torch.poisson(torch.full((3, 2, 2, 12, 12), 0.5)))
    assert products(y) == [6], "the first convolution, all steps at once, and not the second"
