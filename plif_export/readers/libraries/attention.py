"""PyTorch's attention layers written again with the batch first, to record them.

Their own forward moves the batch to another axis, or runs a fused kernel of the whole layer. As with REWRITTEN
(rewritten.py), the result is compared with that forward.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plif_export.core.readers.rules import require

HIDDEN = -1e30  # its exponential is 0, as that of -inf, and it is finite, as all numbers of a file


def rewrite_attention(m: nn.MultiheadAttention) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """Return a forward function that computes nn.MultiheadAttention on [B, tokens, features].

    Y = softmax(Q K^T / sqrt(d) + mask) V for each head; Q, K and V are linear layers of the arguments.
    """
    own_keys = m.bias_k is not None or m.bias_v is not None or m.add_zero_attn
    require(not own_keys, "it adds keys of its own (add_bias_kv or add_zero_attn)", "leave both off")
    is_joined = m.in_proj_weight is not None
    weights = m.in_proj_weight.chunk(3) if is_joined else (m.q_proj_weight, m.k_proj_weight, m.v_proj_weight)
    biases = (None, None, None) if m.in_proj_bias is None else m.in_proj_bias.chunk(3)

    def forward(
        query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None, need_weights: bool = True,
        attn_mask: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        require(query.dim() == 3, f"its query is {list(query.shape)}", "give it [B, tokens, features]")
        tokens = (query, key, value) if m.batch_first else tuple(x.transpose(0, 1) for x in (query, key, value))
        q, k, v = (
            F.linear(x, w, b).unflatten(-1, (m.num_heads, -1)).transpose(1, 2)
            for x, w, b in zip(tokens, weights, biases, strict=True)
        )  # each [B, heads, tokens, d]
        mask = _join_masks(attn_mask, key_padding_mask, q)
        dropout = m.dropout if m.training else 0.0
        heads = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        out: Tensor = F.linear(heads.transpose(1, 2).flatten(2), m.out_proj.weight, m.out_proj.bias)
        out = out if m.batch_first else out.transpose(0, 1)
        if not need_weights:
            return out, None
        scores = q @ k.transpose(-2, -1) / sqrt(q.shape[-1])
        shares = torch.softmax(scores if mask is None else scores + mask, -1)
        return out, shares.mean(1) if average_attn_weights else shares

    return forward


def _join_masks(mask: Tensor | None, padding: Tensor | None, q: Tensor) -> Tensor | None:
    """Return what is added to the scores [B, heads, L, S] of an attention, from its two masks; True hides a key."""
    mask, padding = (None if m is None else _to_number(m, q) for m in (mask, padding))
    if mask is not None and mask.dim() == 3:
        mask = mask.unflatten(0, (q.shape[0], q.shape[1]))
    if padding is None:
        return mask
    return padding[:, None, None] if mask is None else mask + padding[:, None, None]


def _to_number(mask: Tensor, q: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(mask, HIDDEN)
    return mask.clamp(min=HIDDEN)


def rewrite_encoder_layer(m: nn.TransformerEncoderLayer) -> Callable[..., Tensor]:
    """Return a forward function that computes nn.TransformerEncoderLayer without its fused kernel.

    It computes on [B, tokens, features], whichever axis is the first of its argument.
    """

    def forward(
        src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            x = x if m.self_attn.batch_first else x.transpose(0, 1)
            y: Tensor = m._sa_block(x, src_mask, src_key_padding_mask, is_causal)
            return y if m.self_attn.batch_first else y.transpose(0, 1)

        x = src if m.self_attn.batch_first else src.transpose(0, 1)
        if m.norm_first:
            x = x + attend(m.norm1(x))
            x = x + m._ff_block(m.norm2(x))
        else:
            x = m.norm1(x + attend(x))
            x = m.norm2(x + m._ff_block(x))
        return x if m.self_attn.batch_first else x.transpose(0, 1)

    return forward
