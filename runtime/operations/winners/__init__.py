"""The operation TopK: the k largest values of an axis, the largest first.

The k-th largest is the largest of the values that at most k - 1 others exceed, counted with repeated values:

    n(v) = number of values >= v        y_k = max {v: n(v) >= k}
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.core.model.ops.operation import Backend, NewNode, Node, Params, Shape, Value, names, register
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall
from runtime.core.model.refusals import Unsupported, require

MOST = 1024  # values of an axis: the definition compares each pair


def _top_k(m: Backend, node: Node, p: Params, x: Value) -> Value:
    axis, k, rank = node.attrs["axis"], node.attrs["k"], len(node.shape)
    n, rest = node.attrs["values"], [size for i, size in enumerate(node.shape, 1) if i != axis]
    last = [*(i for i in range(1 + rank) if i != axis), axis]  # axes of x with `axis` moved to the end
    v = m.permute(x, last)
    reaches = m.op("GreaterOrEqual", m.reshape(v, (*rest, 1, n)), m.reshape(v, (*rest, n, 1)))
    count = m.sum(m.op("Cast", reaches), (1 + rank,))  # [B, *rest, n]
    least = m.max(v * -1.0, (rank,), True) * -1.0
    largest = []
    for place in range(1, k + 1):
        needed = m.broadcast_like(m.parameter(np.full((1,) * rank, place, np.float32)), node.shape)
        among = m.op("Where", m.op("GreaterOrEqual", count, needed), v, least)
        largest.append(m.max(among, (rank,), True))
    y = m.concat(largest, rank) if k > 1 else largest[0]
    return m.permute(y, [last.index(i) for i in range(1 + rank)])


def _check_sizes(node: Node, shapes: Sequence[Shape]) -> str | None:
    k, axis, n = (node.attrs[key] for key in ("k", "axis", "values"))
    whole = all(type(value) is int for value in (k, axis, n))
    fits = whole and 0 < axis <= len(shapes[0]) == len(node.shape) and shapes[0][axis - 1] == n <= MOST and 0 < k <= n
    return None if fits else f"takes the {k} largest of {n} along axis {axis} of {list(shapes[0])}"


def _top_k_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    k = e.weight(f"{node.name}.k", np.array([node.attrs["k"]], np.int64))
    return str(e.op("TopK", [x, k], node.name, 1, axis=node.attrs["axis"]))


def _read_top_k(c: TorchCall) -> NewNode:
    x, k, axis = c.tensor(0), int(c.get(1)), int(c.get(2, -1)) % len(c.get(0).shape)
    require(bool(c.get(3, True)), "it takes the smallest values", "take the largest of -h")
    require(axis != 0, "it compares the rows of a batch", "compare the neurons of a layer: dim=1")
    n = x.shape[axis - 1]
    require(n <= MOST, f"it sorts {n} values", f"sort at most {MOST}: the neurons of a group, or the means of channels")
    attrs = {"k": k, "axis": axis, "values": n}
    return NewNode("TopK", (x,), attrs, shape=(*x.shape[: axis - 1], k, *x.shape[axis:]))


def _read_one_hot(c: TorchCall) -> NewNode:
    raise Unsupported("it has one_hot() behind the last step", "use it inside of the step: one_hot(h.argmax(1), n)")


register(
    "TopK",
    _top_k,
    attrs=("k", "axis", "values"),
    fits=_check_sizes,
    onnx=_top_k_onnx,
    torch={**names("topk", _read_top_k), **names("one_hot", _read_one_hot)},
)
