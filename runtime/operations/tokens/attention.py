"""The reader of PyTorch's scaled_dot_product_attention: softmax(q k^T scale + mask) v, as four operations of the graph."""

from __future__ import annotations

from math import sqrt

import numpy as np

from runtime.core.model.ops.operation import NewNode, Shape
from runtime.core.model.ops.ports import TorchCall
from runtime.core.model.refusals import require

HIDDEN = np.float32(-1e30)  # e^(HIDDEN - max) is 0, as of -inf, and finite in every sum


def read_attention(c: TorchCall) -> NewNode:
    """Read attention of q [B, .., L, E], k [B, .., S, E] and v [B, .., S, F] as products and a softmax."""
    require(not c.get(4, 0.0), "its dropout draws random numbers", "call model.eval(), or give dropout_p=0.0")
    require(not c.get(7, False), "its queries share keys (enable_gqa)", "repeat the keys and values")
    q, k, v = (c.tensor(i) for i in range(3))
    rule = f"it attends with {list(q.shape)}, {list(k.shape)} and {list(v.shape)}"
    require(len(q.shape) == len(k.shape) == len(v.shape) >= 2, rule, "give all as many axes")
    rank, scale = len(q.shape), c.get(6)
    swapped = [*range(rank - 1), rank, rank - 1]
    k_turned = NewNode("Permute", (k,), {"axes": swapped}, shape=(*k.shape[:-2], k.shape[-1], k.shape[-2]))
    shape = (*q.shape[:-1], k.shape[-2])
    factor = np.asarray(1 / sqrt(q.shape[-1]) if scale is None else scale, np.float32)
    products = NewNode("MatMul", (q, k_turned), shape=shape)
    scores = NewNode("Affine", (products,), {}, {"scale": factor, "shift": np.zeros_like(factor)}, shape)
    mask = _read_mask(c, shape)
    if mask is not None:
        scores = NewNode("Add", (scores, NewNode("Constant", (), {}, {"value": mask}, mask.shape)), shape=shape)
    return NewNode("MatMul", (NewNode("Softmax", (scores,), {"axis": rank}, shape=shape), v))


def _read_mask(c: TorchCall, shape: Shape) -> np.ndarray | None:
    """Return what is added to the scores [.., L, S] before the softmax, with as many axes, or None."""
    if c.get(5, False):
        return _pad_rank(np.where(np.tri(shape[-2], shape[-1]) > 0, np.float32(0), HIDDEN), shape)
    if c.get(3) is None:
        return None
    mask, is_condition = c.array(3, "its mask"), "bool" in str(c.get(3).dtype)
    if is_condition:
        mask = np.where(mask != 0, np.float32(0), HIDDEN)
    mask = np.maximum(mask, HIDDEN)
    require(bool((mask > HIDDEN).any(-1).all()), "its mask hides all keys of a query", "let each query see one key")
    if mask.ndim > len(shape):
        same = bool((mask == mask[:1]).all())
        require(same, "its mask differs between the rows of a batch", "use one mask for all rows")
        mask = mask[0]
    return _pad_rank(mask, shape)


def _pad_rank(mask: np.ndarray, shape: Shape) -> np.ndarray:
    return np.ascontiguousarray(mask.reshape((1,) * (len(shape) - mask.ndim) + mask.shape), np.float32)
