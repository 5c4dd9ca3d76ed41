"""Layers that people put between neurons, in the few lines in which they write them: each comes through with its proof."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from plif_export import check, export
from tests.conftest import needs_spikingjelly_2
from tests.foreign import scale_to_threshold

MAP, TOKENS, VOLUME = (2, 16, 16), (6, 8), (2, 4, 16, 16)


class Between(nn.Module):
    """A convolution or linear layer, a neuron, then the layer, a neuron, and a readout of three classes."""

    def __init__(self, part: Callable[[Tensor], Tensor], first: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.part, self.first, self.fire, self.again = part, first, neuron.IFNode(), neuron.IFNode()
        with torch.no_grad():
            size = part(first(torch.zeros(1, *shape))).flatten(1).shape[1]
        self.readout, self.last = nn.Linear(size, 3), neuron.IFNode()

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.part(self.fire(self.first(x))))
        return self.last(self.readout(x.flatten(1)))  # type: ignore[no-any-return]


class Heads(nn.Module):
    """Attention over tokens with two heads, without softmax, as Spikformer has it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:  # [B, N, 8]
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return (q @ k.transpose(-2, -1) @ v * 0.25).transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Groups(nn.Module):
    """A matrix for each group of two tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bgti,gio->btog", x.unflatten(1, (3, 2)), self.weight)


class Attention(nn.Module):
    """nn.MultiheadAttention with the tokens first, its weights and two masks."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, dropout=0.1)
        self.padding = torch.tensor([[False] * 5 + [True]])

    def forward(self, x: Tensor) -> Tensor:  # [B, 6, 8]
        tokens, mask = x.transpose(0, 1), torch.ones(6, 6).triu(1).bool()
        y, shares = self.attend(tokens, tokens, tokens, self.padding.expand(len(x), 6), attn_mask=mask)
        return y.transpose(0, 1) + shares.sum(-1, keepdim=True)  # type: ignore[no-any-return]


def encoder() -> nn.Module:
    block = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(block, 2, nn.LayerNorm(8), enable_nested_tensor=False)


def causal(x: Tensor) -> Tensor:
    q, k, v = x.unflatten(-1, (2, 4)).transpose(1, 2).chunk(3, 2)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.7).flatten(2)


def soft(x: Tensor) -> Tensor:
    return F.gelu(x) + F.gelu(x, approximate="tanh") + F.silu(x) + F.elu(x, 0.7) + F.leaky_relu(x) * 3


def shapes(x: Tensor) -> Tensor:
    """unsqueeze, concat, permute, reshape."""
    left, right = x.unsqueeze(1), x[:, None]
    return torch.cat((left, right * 0.5), dim=1).permute(0, 2, 1, 3, 4).contiguous().view(x.size(0), -1, *x.shape[2:])


LAYERS: dict[str, tuple[Callable[[], Callable[[Tensor], Tensor]], tuple[int, ...]]] = {
    "linear-over-tokens": (lambda: nn.Linear(8, 12), TOKENS),
    "layer-norm": (lambda: nn.LayerNorm(8), TOKENS),
    "attention": (Heads, TOKENS),
    "attention-of-pytorch": (Attention, TOKENS),
    "causal-attention": (lambda: causal, TOKENS),
    "transformer-encoder": (encoder, TOKENS),
    "root-mean-square-norm": (lambda: nn.RMSNorm(8), TOKENS),
    "group-norm": (lambda: nn.GroupNorm(2, 4), MAP),
    "group-norm-without-weights": (lambda: nn.GroupNorm(4, 4, affine=False), MAP),
    "soft-activations": (lambda: nn.Sequential(nn.PReLU(6, 0.3), Function(soft)), TOKENS),
    "unfold": (lambda: lambda x: F.unfold(x, (3, 2), dilation=(1, 2), padding=(1, 0), stride=2), MAP),
    "einsum-of-groups": (lambda: Groups(), TOKENS),
    "einsum-of-two-values": (lambda: lambda x: torch.einsum("bnd,b...d->b...n", x, x * 0.5), TOKENS),
    "transposed-convolution": (lambda: nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1), MAP),
    "upsample-nearest": (lambda: nn.Upsample(scale_factor=2), MAP),
    "upsample-bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), MAP),
    "pad-zeros": (lambda: nn.ZeroPad2d((1, 2, 0, 3)), MAP),
    "pad-channels": (lambda: lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), MAP),
    "pad-edge": (lambda: nn.ReplicationPad2d(2), MAP),
    "pad-reflect": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), MAP),
    "pool-that-hangs-over": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), MAP),
    "pool-that-hangs-over-its-padding": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), MAP),
    "interpolate-to-a-size": (lambda: lambda x: F.interpolate(x, size=(9, 12), mode="bilinear"), MAP),
    "adaptive-pooling-that-does-not-divide": (lambda: nn.AdaptiveAvgPool2d((5, 7)), MAP),
    "shapes": (lambda: shapes, MAP),
    "volumes": (lambda: nn.Sequential(nn.MaxPool3d((1, 2, 2)), nn.Conv3d(4, 3, 3, padding=1)), VOLUME),
    "volumes-of-another-size": (
        lambda: nn.Sequential(nn.AdaptiveAvgPool3d((3, 5, 4)), nn.ConvTranspose3d(4, 2, 2)),
        VOLUME,
    ),
    "interpolated-volumes": (lambda: lambda x: F.interpolate(x, size=(5, 6, 9), mode="trilinear"), VOLUME),
}


def between(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    first: nn.Module = nn.Linear(8, 8) if shape == TOKENS else nn.Conv2d(2, 4, 3, stride=2, padding=1)
    first = nn.Conv3d(2, 4, 3, stride=(1, 2, 2), padding=1) if shape == VOLUME else first
    return scale_to_threshold(Between(make(), first, shape), shape), shape


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_between_neurons_comes_through(tmp_path: Path, name: str) -> None:
    net, shape = between(name)
    report = export(net, tmp_path / "m.onnx", torch.zeros(1, *shape)).verify
    assert report is not None and report.passed and report.spikes > 100
    assert not {"fire", "again"} & set(report.untested)


def test_normalisation_that_depends_on_the_threshold_is_folded(tmp_path: Path) -> None:
    needs_spikingjelly_2("ThresholdDependentBatchNorm2d takes no input")
    torch.manual_seed(0)
    norm = layer.ThresholdDependentBatchNorm2d(1.0, 1.0, 8)
    net = nn.Sequential(
        layer.Conv2d(2, 8, 3), norm, neuron.IFNode(), layer.Flatten(), layer.Linear(288, 3), neuron.IFNode()
    )
    functional.set_step_mode(net, "m")
    report = export(net.eval(), tmp_path / "m.onnx", torch.zeros(4, 1, 2, 8, 8)).verify
    assert report is not None and report.passed and report.spikes > 100


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (nn.AdaptiveMaxPool2d((5, 7)), "adaptive_max_pool2d() is not exported"),
        (nn.Upsample(scale_factor=1.3), "scale_factor [1.3, 1.3] makes no whole size of [4, 8, 8]; give it the size"),
    ],
)
def test_a_layer_that_is_not_exported_is_named(part: nn.Module, says: str) -> None:
    net = Between(part, nn.Conv2d(2, 4, 3, stride=2, padding=1), MAP)
    assert f"part ({type(part).__name__}): {says}" in check(net, torch.zeros(1, *MAP)).problems[0]
