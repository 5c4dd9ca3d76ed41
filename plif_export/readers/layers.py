"""Layers without state that a live module may be made of: torch.nn's, and SpikingJelly's of the same name.

LAYERS maps a class to a function (module, shape in, shape out) -> (op, attributes, parameters) of a graph node. Shapes are
without the batch axis; parameters are float32 arrays. To add one: `register_layer(YourLayer, function)`, at any time before
the export.

A subclass counts as its base only while it leaves `forward` alone (weight standardisation, say, changes it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from plif_export.readers.rules import require
from runtime.model.graph import Shape

Content = tuple[str, dict[str, Any], dict[str, np.ndarray]]
LayerReader = Callable[[Any, Shape, Shape], Content]

LAYERS: dict[str, LayerReader] = {}  # registered by users: one operation, whatever they do inside
OWN: dict[str, LayerReader] = {}  # of our own networks (checkpoint.py)


def register_layer(cls: type[nn.Module] | str, reader: LayerReader) -> None:
    """Makes a class of layers known, by the class itself or by its qualified name (so that it need not be imported)."""
    LAYERS[cls if isinstance(cls, str) else qualified(cls)] = reader


def qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def known_as(module: nn.Module, registry: dict[str, Any], own: tuple[str, ...] = ("forward",)) -> Any:
    """The entry of the first class of `registry` among the module's class and its bases.

    None when there is none, or when a class before it redefines one of the methods `own`: it then computes something else.
    """
    for cls in type(module).__mro__:
        if qualified(cls) in registry:
            return registry[qualified(cls)]
        if any(name in vars(cls) for name in own):
            return None
    return None


def array(value: Tensor) -> np.ndarray:
    """A tensor [...] as a float32 array of its shape, copied."""
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
    padding = padding_sizes(m.padding, m.dilation, m.kernel_size)
    return "Conv", conv_attrs(m.stride, padding, m.groups, m.dilation, dims), _weights(m)


def padding_sizes(padding: Any, dilation: Sequence[int], kernel: Sequence[int]) -> Any:
    """A convolution's padding, "same" and "valid" as one number for each spatial axis."""
    if not isinstance(padding, str):
        return padding
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    require(
        padding == "valid" or all(r % 2 == 0 for r in reach),
        "padding 'same' with an even kernel pads one side more",
        "give the padding as a number, or use an odd kernel",
    )
    return [0] * len(reach) if padding == "valid" else [r // 2 for r in reach]


def conv_attrs(stride: Any, padding: Any, groups: int, dilation: Sequence[int], dims: int) -> dict[str, Any]:
    """The attributes of a Conv node over `dims` spatial axes."""
    attrs = {"stride": plain(stride, dims), "padding": plain(padding, dims), "groups": int(groups)}
    if any(d != 1 for d in dilation):
        attrs["dilation"] = plain(dilation, dims)
    return attrs


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
    require(getattr(m, "divisor_override", None) is None, "divisor_override is set", "scale the next layer's weights")
    return "AvgPool", avg_pool_attrs(m.kernel_size, m.stride, m.padding, shape, m.ceil_mode, m.count_include_pad), {}


def avg_pool_attrs(
    kernel: Any, stride: Any, padding: Any, shape: Shape, ceil_mode: bool, count_include_pad: bool
) -> dict[str, Any]:
    attrs = pool_attrs(kernel, stride, padding, shape, ceil_mode)
    require(
        "padding" not in attrs or count_include_pad,
        "padding with count_include_pad=False",
        "use count_include_pad=True, or no padding",
    )
    return attrs


def adaptive_pool(shape: Shape, out: Shape) -> tuple[str, dict[str, Any]]:
    """(operation, attributes) of pooling to a size `out`: windows of one size, one over everything, or any."""
    if all(n == 1 for n in out[1:]):
        return "GlobalAvgPool", {}
    if any(n % o for n, o in zip(shape[1:], out[1:], strict=True)):
        return "AdaptiveAvgPool", {}
    kernel = plain([n // o for n, o in zip(shape[1:], out[1:], strict=True)], len(shape) - 1)
    return "AvgPool", {"kernel": kernel, "stride": kernel}


def _flatten(m: Any, shape: Shape, out: Shape) -> Content:
    require(len(out) == 1, f"it makes {list(out)} of {list(shape)}", "flatten all axes but the batch: nn.Flatten()")
    return "Flatten", {}, {}


def _dropout(m: Any, shape: Shape, out: Shape) -> Content:
    return "Dropout", {"p": float(m.p)}, {}


def one_number(value: Any, name: str) -> float:
    """The value of an array in which all are equal, rounded to float32. Refuses one in which they differ."""
    values = np.unique(np.asarray(value, np.float32))
    require(values.size == 1, f"{name} differs from neuron to neuron", f"use one {name} for a layer")
    return float(values[0])


def _vote(m: Any, shape: Shape, out: Shape) -> Content:
    voters = int(m.voting_size if hasattr(m, "voting_size") else m.voters)  # SpikingJelly's, ours
    require(
        len(shape) == 1 and shape[0] % voters == 0,
        f"{voters} voters do not divide {list(shape)}",
        "give every class as many voters",
    )
    return "Vote", {"voters": voters}, {}


for _cls, _reader in (
    (nn.Conv2d, _conv), (nn.Linear, _linear), (nn.BatchNorm2d, _batch_norm), (nn.MaxPool2d, _max_pool),
    (nn.AvgPool2d, _avg_pool), (nn.Flatten, _flatten),
):  # fmt: skip
    OWN[qualified(_cls)] = _reader
OWN["plif_train.network.Vote"] = _vote
OWN["plif_train.network.Dropout"] = _dropout
