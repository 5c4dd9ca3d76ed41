"""Layers without state that a live module may be made of: torch.nn's, and SpikingJelly's of the same name.

LAYERS maps a class to a function (module, shape in, shape out) -> (op, attributes, parameters) of a graph node. Shapes are
without the batch axis. To add one: `register_layer(YourLayer, function)`, at any time before the export.

A subclass counts as its base only while it leaves `forward` alone (weight standardisation, say, changes it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from plif_export.readers.rules import require
from runtime.model.graph import Shape

Content = tuple[str, dict[str, Any], dict[str, np.ndarray]]
LayerReader = Callable[[Any, Shape, Shape], Content]

LAYERS: dict[str, LayerReader] = {}
IDENTITY = "Identity"  # an op that leaves no node


def register_layer(cls: type[nn.Module] | str, reader: LayerReader) -> None:
    """Makes a class of layers known, by the class itself or by its qualified name (so that it need not be imported)."""
    LAYERS[cls if isinstance(cls, str) else qualified(cls)] = reader


def qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def known_as(module: nn.Module, registry: dict[str, Any], own: tuple[str, ...] = ("forward",)) -> Any:
    """The entry of the first registered class among the module's class and bases, unless a class before it redefines
    what is done (`own`); None when there is none."""
    for cls in type(module).__mro__:
        if qualified(cls) in registry:
            return registry[qualified(cls)]
        if any(name in vars(cls) for name in own):
            return None
    return None


def array(value: Tensor) -> np.ndarray:
    return value.detach().cpu().numpy().astype(np.float32)


def _weights(module: Any) -> dict[str, np.ndarray]:
    params = {"weight": array(module.weight)}
    if module.bias is not None:
        params["bias"] = array(module.bias)
    return params


def plain(value: Any, dims: int) -> Any:
    """A pair as one number where both are equal, as a list otherwise (JSON has no tuples)."""
    values = (value,) * dims if isinstance(value, int) else tuple(int(v) for v in value)
    return values[0] if len(set(values)) == 1 else list(values)


def _conv(m: Any, shape: Shape, out: Shape) -> Content:
    dims = m.weight.dim() - 2
    require(
        m.padding_mode == "zeros", f"padding_mode '{m.padding_mode}'", "only zero padding is exported: pad before it"
    )
    padding = m.padding
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(m.dilation, m.kernel_size, strict=True)]
        require(
            padding == "valid" or all(r % 2 == 0 for r in reach),
            "padding 'same' with an even kernel pads one side more",
            "give the padding as a number, or use an odd kernel",
        )
        padding = [0] * dims if padding == "valid" else [r // 2 for r in reach]
    attrs = {"stride": plain(m.stride, dims), "padding": plain(padding, dims), "groups": int(m.groups)}
    if any(d != 1 for d in m.dilation):
        attrs["dilation"] = plain(m.dilation, dims)
    return "Conv", attrs, _weights(m)


def _linear(m: Any, shape: Shape, out: Shape) -> Content:
    require(len(shape) == 1, f"a Linear over a map {list(shape)}", "flatten before it: nn.Flatten()")
    return "Linear", {}, _weights(m)


def _batch_norm(m: Any, shape: Shape, out: Shape) -> Content:
    require(
        m.running_mean is not None,
        "it has no running statistics, so that a sample depends on its batch",
        "train with track_running_stats=True",
    )
    ones = np.ones(m.num_features, np.float32)
    params = {
        "weight": array(m.weight) if m.affine else ones,
        "bias": array(m.bias) if m.affine else 0 * ones,
        "mean": array(m.running_mean),
        "var": array(m.running_var),
    }
    return "BatchNorm", {"eps": float(m.eps)}, params


def pool_attrs(
    kernel: Any, stride: Any, padding: Any, shape: Shape, ceil_mode: bool, dilation: Any = 1
) -> dict[str, Any]:
    """Kernel, stride and padding of a pooling, and the rules that hold for all of them."""
    dims = len(shape) - 1
    kernel, padding, dilation = ((v,) * dims if isinstance(v, int) else tuple(v) for v in (kernel, padding, dilation))
    stride = kernel if stride in (None, ()) else (stride,) * dims if isinstance(stride, int) else tuple(stride)
    spare = [
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, k, s, p, d in zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    ]
    require(
        not ceil_mode or not any(spare),
        "ceil_mode=True, and a window hangs over the edge here",
        "use ceil_mode=False, or an input size that the windows fill",
    )
    attrs = {"kernel": plain(kernel, dims), "stride": plain(stride, dims)}
    if any(padding):
        attrs["padding"] = plain(padding, dims)
    if any(d != 1 for d in dilation):
        attrs["dilation"] = plain(dilation, dims)
    return attrs


def _max_pool(m: Any, shape: Shape, out: Shape) -> Content:
    require(not m.return_indices, "return_indices=True", "unpooling is not exported; use strided or transposed layers")
    return "MaxPool", pool_attrs(m.kernel_size, m.stride, m.padding, shape, m.ceil_mode, m.dilation), {}


def _avg_pool(m: Any, shape: Shape, out: Shape) -> Content:
    attrs = pool_attrs(m.kernel_size, m.stride, m.padding, shape, m.ceil_mode)
    require(getattr(m, "divisor_override", None) is None, "divisor_override is set", "scale the next layer's weights")
    require(
        "padding" not in attrs or m.count_include_pad,
        "padding with count_include_pad=False",
        "use count_include_pad=True, or no padding",
    )
    return "AvgPool", attrs, {}


def _adaptive_avg_pool(m: Any, shape: Shape, out: Shape) -> Content:
    if all(n == 1 for n in out[1:]):
        return "GlobalAvgPool", {}, {}
    require(
        all(n % o == 0 for n, o in zip(shape[1:], out[1:], strict=True)),
        f"it makes {list(out[1:])} of {list(shape[1:])}, with windows of different sizes",
        "use an output size that divides the input size, or nn.AvgPool2d",
    )
    kernel = [n // o for n, o in zip(shape[1:], out[1:], strict=True)]
    return "AvgPool", {"kernel": plain(kernel, len(kernel)), "stride": plain(kernel, len(kernel))}, {}


def _flatten(m: Any, shape: Shape, out: Shape) -> Content:
    require(len(out) == 1, f"it makes {list(out)} of {list(shape)}", "flatten all axes but the batch: nn.Flatten()")
    return "Flatten", {}, {}


def _dropout(m: Any, shape: Shape, out: Shape) -> Content:
    return "Dropout", {"p": float(m.p)}, {}


def _identity(m: Any, shape: Shape, out: Shape) -> Content:
    return IDENTITY, {}, {}


def _vote(m: Any, shape: Shape, out: Shape) -> Content:
    voters = int(m.voting_size if hasattr(m, "voting_size") else m.voters)  # SpikingJelly's, ours
    require(
        len(shape) == 1 and shape[0] % voters == 0,
        f"{voters} voters do not divide {list(shape)}",
        "give every class as many voters",
    )
    return "Vote", {"voters": voters}, {}


_SPIKINGJELLY = "spikingjelly.activation_based.layer."
for _name, _reader in (
    ("Conv1d", _conv),
    ("Conv2d", _conv),
    ("Linear", _linear),
    ("MaxPool1d", _max_pool),
    ("MaxPool2d", _max_pool),
    ("AvgPool1d", _avg_pool),
    ("AvgPool2d", _avg_pool),
    ("AdaptiveAvgPool1d", _adaptive_avg_pool),
    ("AdaptiveAvgPool2d", _adaptive_avg_pool),
    ("Flatten", _flatten),
    ("BatchNorm1d", _batch_norm),
    ("BatchNorm2d", _batch_norm),
):
    register_layer(qualified(getattr(nn, _name)), _reader)
    register_layer(f"{_SPIKINGJELLY}{'bn' if 'Norm' in _name else 'stateless_wrapper'}.{_name}", _reader)
for _cls in (nn.Dropout, nn.Dropout1d, nn.Dropout2d):
    register_layer(_cls, _dropout)
register_layer(nn.Identity, _identity)
register_layer(f"{_SPIKINGJELLY}dropout.Dropout", _dropout)
register_layer(f"{_SPIKINGJELLY}dropout.Dropout2d", _dropout)
register_layer(f"{_SPIKINGJELLY}misc.VotingLayer", _vote)
register_layer("plif_train.network.Vote", _vote)
register_layer("plif_train.network.Dropout", _dropout)
