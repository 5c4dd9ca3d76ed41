"""The reader of torch.einsum of one or two tensors: sums, moved axes, and one product of matrices.

An axis of two tensors is shared (in both and in the output), contracted (in both alone), free (in one and in the
output), or summed first (in one alone). With the axes of a kind joined to one, except for the shared:

    [B, shared.., free of a, contracted] x [B, shared.., contracted, free of b] -> [B, shared.., free of a, free of b]

With weights as b it is a linear layer, or with shared axes a convolution in groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from string import ascii_letters

import numpy as np

from runtime.core.model.ops.convolution import conv_attrs
from runtime.core.model.ops.operation import GraphTensor, NewNode, Shape
from runtime.core.model.ops.ports import TorchCall
from runtime.core.model.refusals import require

Part = GraphTensor | NewNode


def read_einsum(c: TorchCall) -> Part:
    """Read an einsum in which the batch is the first axis of each tensor that depends on the input."""
    equation, operands = str(c.get(0)).replace(" ", ""), list(c.get(1))
    place = f"einsum '{equation}'"
    require(len(operands) <= 2, f"{place} joins {len(operands)} tensors", "join two at a time")
    *terms, output = _write_out(equation, [len(n.shape) for n in operands])
    distinct = all(len(set(term)) == len(term) for term in terms)
    require(distinct, f"{place} takes a diagonal", "use torch.diagonal")
    if not operands[0].moves:
        operands, terms = operands[::-1], terms[::-1]
    batch = terms[0][0]
    is_first = all(term[:1] == batch if n.moves else batch not in term for n, term in zip(operands, terms, strict=True))
    rule = f"{place} moves the batch, or sums over it"
    require(is_first and output[:1] == batch, rule, "keep the batch as the first axis of each, by itself")
    sizes = {x: n for node, term in zip(operands, terms, strict=True) for x, n in zip(term, node.shape, strict=True)}
    a, a_axes = c.shaped(operands[0]), terms[0]
    if len(operands) == 1:
        return _arrange(a, a_axes, output, sizes)
    b, b_axes = operands[1], terms[1]
    shared, contracted, free_a = (
        "".join(x for x in a_axes[1:] if (x in b_axes, x in output) == kind)
        for kind in ((True, True), (True, False), (False, True))
    )
    free_b = "".join(x for x in b_axes if x not in a_axes and x in output)
    groups = tuple(sizes[x] for x in shared)
    rows, inner, columns = (prod(sizes[x] for x in kind) for kind in (free_a, contracted, free_b))
    if b.moves:
        made = batch + shared + free_a + free_b
        left = _arrange(a, a_axes, batch + shared + free_a + contracted, sizes)
        right = _arrange(c.shaped(b), b_axes, batch + shared + contracted + free_b, sizes)
        factors = _reshape(left, (*groups, rows, inner)), _reshape(right, (*groups, inner, columns))
        y = NewNode("MatMul", factors, shape=(*groups, rows, columns))
    elif shared:  # a matrix for each group: a convolution with kernel 1
        made = batch + shared + free_b + free_a
        left = _arrange(a, a_axes, batch + shared + contracted + free_a, sizes)
        weight = _weights(c.value(b), b_axes, shared + free_b + contracted, (-1, inner, 1))
        x = _reshape(left, (prod(groups) * inner, rows))
        y = NewNode("Conv", (x,), conv_attrs(1, 0, prod(groups), [1], 1), weight, (prod(groups) * columns, rows))
    else:  # one matrix: a linear layer
        made = batch + free_a + free_b
        left = _arrange(a, a_axes, batch + free_a + contracted, sizes)
        lead = tuple(sizes[x] for x in free_a)
        weight = _weights(c.value(b), b_axes, free_b + contracted, (columns, inner))
        y = NewNode("Linear", (_reshape(left, (*lead, inner)),), {}, weight, (*lead, columns))
    return _arrange(_reshape(y, tuple(sizes[x] for x in made[1:])), made, output, sizes)


def _weights(value: np.ndarray, axes: str, order: str, shape: Shape) -> dict[str, np.ndarray]:
    """Return the weights of a layer from a constant with these axes: summed over those that are not in `order`."""
    arranged = np.einsum(f"{axes}->{order}", value).reshape(shape)
    return {"weight": np.ascontiguousarray(arranged, np.float32)}


def _write_out(equation: str, ranks: Sequence[int]) -> list[str]:
    """Return the axes of each operand, then of the output, with letters for '...' and for an output left out."""
    left, arrow, output = equation.partition("->")
    terms = left.split(",")
    hidden = [rank - len(term.replace("...", "")) for rank, term in zip(ranks, terms, strict=True)]
    letters = "".join(x for x in ascii_letters if x not in equation)[: max(hidden)]
    full = [term.replace("...", letters[len(letters) - n :]) for n, term in zip(hidden, terms, strict=True)]
    if arrow:
        return [*full, output.replace("...", letters)]
    named = left.replace(",", "").replace(".", "")
    return [*full, (letters if "..." in left else "") + "".join(x for x in sorted(set(named)) if named.count(x) == 1)]


def _arrange(x: Part, axes: str, order: str, sizes: Mapping[str, int]) -> Part:
    """Return a tensor [B, ..] summed over the axes that are not in `order`, with the others in that order."""
    kept = "".join(letter for letter in axes if letter in order)
    if kept != axes:
        attrs = {"how": "sum", "axes": [i for i, letter in enumerate(axes) if letter not in order], "keepdims": False}
        x = NewNode("Reduce", (x,), attrs, shape=tuple(sizes[letter] for letter in kept[1:]))
    if kept == order:
        return x
    moved = [kept.index(letter) for letter in order]
    return NewNode("Permute", (x,), {"axes": moved}, shape=tuple(sizes[letter] for letter in order[1:]))


def _reshape(x: Part, shape: Shape) -> Part:
    return x if x.shape == shape else NewNode("Flatten" if len(shape) == 1 else "Reshape", (x,), shape=shape)
