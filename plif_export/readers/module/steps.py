"""Operations on all time-steps at once, taken apart into one for each step.

A tensor of all steps (`Steps`) comes from an input with time in an axis, from stack or cat of one item a step, from expand or
repeat to T, or from y[t] = ... Taking items out again (select, unbind, slice, split along that axis) gives the steps back.
Any other operation is tried: once on random numbers for all steps, and once for each step, also with a size in its arguments
divided by T. Where the results agree it is an operation for each step. So there is no table of rules: it holds for
convolutions with time in the batch, for normalisation, products of matrices, attention, pooling. Where they do not agree, the
operation mixes steps, and stays one operation on the joined tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from plif_export.readers.module.nodes import (
    FILLED,
    PERMUTES,
    RESHAPES,
    SAME,
    Node,
    Registered,
    Steps,
    Writer,
    aten,
    axes_of,
    execute,
    leaves,
    numel,
    op_name,
    swap,
)


def joined(items: list[Tensor], axis: int, outer: int = 1) -> Tensor:
    """The items as one tensor with an axis of size outer * T * inner."""
    return torch.stack([v.unflatten(axis, (outer, -1)) for v in items], axis + 1).flatten(axis, axis + 2)


def shape_of(v: Any) -> list[int]:
    """The shape of what a node or Steps stands for."""
    if isinstance(v, Node):
        return list(v.shape)
    return [sum(i.shape[d] for i in v.items) if d == v.axis else n for d, n in enumerate(v.items[0].shape)]


def rule(run: Writer, op: Any, a: list[Any], out: Any) -> Any:
    """What an operation makes of nodes and Steps: a node, Steps, or a list of them. out: the tensors that it made."""
    if isinstance(op, Registered):
        return _apart(run, op, a, [v for v in a if isinstance(v, Steps)]) or run.call(op, tuple(a), out)
    name, v = op_name(op), cast(Any, a[0] if a else None)
    stacked = [s for s in leaves(a) if isinstance(s, Steps)]
    shape = list(out.shape) if isinstance(out, Tensor) else []
    if name in FILLED:
        value = FILLED[name]
        return run.filled(out, a[{"scalar_tensor": 0, "new_full": 2}.get(name, 1)] if value is None else value)
    old = shape_of(v) if isinstance(v, Node | Steps) else []
    if name in SAME or (name == "expand" and shape == old) or (name in RESHAPES and shape == old):
        return v
    if name == "_to_copy" and (v.items[0] if isinstance(v, Steps) else v).dtype == out.dtype:
        return v
    found = _arises(run, name, a, out, shape, old)
    if found is None and isinstance(v, Steps):
        found = _taken_out(run, name, v, a, old)
    if found is None and stacked:
        found = _apart(run, op, a, stacked)
    return run.call(op, tuple(swap(a, Steps, lambda s: whole(run, s))), out) if found is None else found


def _arises(run: Writer, name: str, a: list[Any], out: Any, shape: list[int], old: list[int]) -> Any:
    """A tensor of all steps that comes into being: stack, cat, expand, repeat, y[t] = ..."""
    T, v = run.length, cast(Any, a[0] if a else None)
    stacked = any(isinstance(s, Steps) for s in leaves(a))
    if name == "stack" and not stacked:
        axis = a[1] % len(shape)
        return _along([run.reshaped(n, run.with_one(n.shape, axis)) for n in v], axis)
    if name == "cat":
        axis = a[1] % len(shape)
        parts = [p for p in v if isinstance(p, Steps) or numel(p.shape)]
        if all(p.axis == axis and p.outer == 1 if isinstance(p, Steps) else p.shape[axis] == 1 for p in parts):
            return _along([i for p in parts for i in (p.items if isinstance(p, Steps) else [p])], axis)
    if name in ("expand", "repeat") and not stacked:
        before = [1] * (len(shape) - len(old)) + old
        grown = [i for i, (n, m) in enumerate(zip(shape, before, strict=True)) if n != m]
        if len(grown) == 1 and (before[grown[0]] == 1 or name == "repeat") and shape[grown[0]] == T * before[grown[0]]:
            axis = grown[0]
            item = run.reshaped(v, before)
            return Steps([item] * T, axis)
    if name in ("select_scatter", "slice_scatter") and shape[a[2]] == T:
        start, end = (a[3], a[3] + 1) if name == "select_scatter" else (a[3] or 0, T if a[4] is None else min(a[4], T))
        axis = a[2] % len(shape)
        if end - start == 1 and (not isinstance(v, Steps) or (v.axis == axis and v.outer == 1)):
            one = [1 if d == axis else n for d, n in enumerate(shape)]
            items = v.items if isinstance(v, Steps) else [_piece(run, v, axis, t, one) for t in range(T)]
            new = a[1] if isinstance(a[1], Node) else whole(run, a[1])
            new = (
                run.reshaped(new, one)
                if numel(new.shape) == numel(one)
                else run.put(aten.expand.default, (new, run.table.sizes(one), False), one, new.dtype)
            )
            return Steps([new if t == start % T else item for t, item in enumerate(items)], axis)
    return None


def _piece(run: Writer, node: Node, axis: int, t: int, shape: list[int]) -> Node:
    if node.op == "full":
        return run.put("full", (run.table.sizes(shape), *node.args[1:]), shape, node.dtype)
    return run.put(aten.slice.Tensor, (node, axis, t, t + 1, 1), shape, node.dtype)


def _taken_out(run: Writer, name: str, v: Steps, a: list[Any], old: list[int]) -> Any:
    """Items of a tensor of all steps."""
    axis = v.axis
    if v.outer != 1 or old[axis] != len(v.items) or name not in ("select", "unbind", "slice", "split") or len(a) < 2:
        return None
    where = a[2] if name == "split" else a[1]
    if where % len(old) != axis:
        return None
    if name in ("select", "unbind"):
        items = v.items if name == "unbind" else [v.items[a[2]]]
        found = [run.reshaped(i, [n for d, n in enumerate(i.shape) if d != axis]) for i in items]
        return found if name == "unbind" else found[0]
    if name == "split" and isinstance(a[1], int):
        parts = [v.items[i : i + a[1]] for i in range(0, len(v.items), a[1])]
        return [_along(part, axis) for part in parts]
    if name == "slice":
        return _along(v.items[slice(*a[2:5])], axis)
    return None


def _along(items: list[Node], axis: int) -> Node | Steps:
    """Items of a tensor of steps; one by itself is no tensor of steps."""
    return items[0] if len(items) == 1 else Steps(items, axis)


def whole(run: Writer, v: Any) -> Any:
    """Steps as one node, joined."""
    if not isinstance(v, Steps):
        return v
    first, dtype = v.items[0].shape, v.items[0].dtype
    lead, size, rest = first[: v.axis], first[v.axis] // v.outer, first[v.axis + 1 :]
    if v.outer == 1:
        node = run.put(aten.cat.default, (list(v.items), v.axis), shape_of(v), dtype)
    else:
        items = [run.reshaped(i, (*lead, v.outer, 1, size, *rest)) for i in v.items]
        apart = run.put(aten.cat.default, (items, v.axis + 1), (*lead, v.outer, len(items), size, *rest), dtype)
        node = run.reshaped(apart, shape_of(v))
    if len(v.items) == run.length:
        run.joined.add(node)
    return node


def _step(value: Any, items: dict[int, Any], t: int) -> Any:
    """A value with each Steps in it as its item of step t; items: those of a Steps by its id."""
    return swap(value, Steps, lambda s: items[id(s)][t])


def _noise(node: Node) -> Tensor:
    if node.data is not None:
        return node.data
    if node.dtype == torch.bool:
        return torch.rand(node.shape) > 0.5
    return torch.rand(node.shape).mul(2).to(node.dtype)


def _apart(run: Writer, op: Any, a: list[Any], stacked: list[Steps]) -> Any:
    """The operation once for each step, where that gives the same; None where it does not."""
    if not stacked or any(len(s.items) != len(stacked[0].items) for s in stacked):
        return None
    n = len(stacked[0].items)
    again = _moved(run, op, a, stacked[0], n) or _without_axis(run, op, a, stacked)
    if again is not None:
        return again
    items = {id(s): s.items for s in stacked}
    noise = {key: [_noise(i) for i in own] for key, own in items.items()}
    real = swap(a, Node, _noise)
    batch = run.table.batch
    generator = torch.random.get_rng_state()
    try:
        want = execute(op, swap(real, Steps, lambda s: joined(noise[id(s)], s.axis, s.outer)), batch)
        many = isinstance(want, tuple | list)
        wants = list(want) if many else [want]
        if not all(isinstance(w, Tensor) for w in wants):
            return None
        sizes = [
            (p, i) for p, arg in enumerate(a) if isinstance(arg, list | tuple)
            for i, size in enumerate(arg) if type(size) is int and size and size % n == 0
        ]  # fmt: skip
        for change in [None, *sizes]:
            try:
                got = [execute(op, _with(_step(real, noise, t), change, n), batch) for t in range(n)]
            except (RuntimeError, IndexError, ValueError, TypeError):
                continue
            each = [[g[i] for g in got] if many else got for i in range(len(wants))]
            places = [_place(w, e, stacked[0].outer) for w, e in zip(wants, each, strict=True)]
            if all(places):
                made = [run.call(op, tuple(_with(_step(a, items, t), change, n)), got[t]) for t in range(n)]
                columns = list(zip(*made, strict=True)) if many else [made]
                parts = [Steps(list(c), *p) for c, p in zip(columns, places, strict=True)]  # type: ignore[misc]
                return parts if many else parts[0]
    finally:
        torch.random.set_rng_state(generator)
    return None


def _moved(run: Writer, op: Any, a: list[Any], v: Steps, n: int) -> Steps | None:
    """Permutations, which need no trial."""
    if isinstance(op, Registered) or op_name(op) not in PERMUTES or v.outer != 1:
        return None
    axes = axes_of(op_name(op), a, len(v.items[0].shape))
    return Steps([run.permuted(i, axes) for i in v.items], axes.index(v.axis))


def _without_axis(run: Writer, op: Any, a: list[Any], stacked: list[Steps]) -> Steps | list[Steps] | None:
    """The operation on steps that have no axis of time, where that gives the same, tried on random numbers."""
    axis = stacked[0].axis
    if (
        isinstance(op, Registered)
        or op_name(op) in RESHAPES
        or any(s.axis != axis or s.outer != 1 or s.items[0].shape[axis] != 1 for s in stacked)
    ):
        return None
    args = list(a)
    for i, declared in enumerate(op._schema.arguments[: len(args)]):
        if declared.name in ("dim", "dims") and args[i] is not None:
            rank = len(stacked[0].items[0].shape)
            dims = [d % rank for d in (args[i] if isinstance(args[i], list | tuple) else [args[i]])]
            if axis in dims:
                return None
            dims = [d - (d > axis) for d in dims]
            args[i] = dims if isinstance(args[i], list | tuple) else dims[0]
    bare = {id(s): [run.reshaped(i, [n for d, n in enumerate(i.shape) if d != axis]) for i in s.items] for s in stacked}
    noise = {key: [_noise(i) for i in items] for key, items in bare.items()}
    generator = torch.random.get_rng_state()
    try:
        real, same = (swap(given, Node, _noise) for given in (a, args))
        want = execute(
            op, swap(real, Steps, lambda s: joined([v.unsqueeze(axis) for v in noise[id(s)]], axis)), run.table.batch
        )
        n = len(stacked[0].items)
        got = [execute(op, _step(same, noise, t), run.table.batch) for t in range(n)]
    except (RuntimeError, IndexError, ValueError, TypeError):
        return None
    finally:
        torch.random.set_rng_state(generator)
    many = isinstance(want, tuple | list)
    wants, gots = (list(want), list(zip(*got, strict=True))) if many else ([want], [tuple(got)])
    axes = [_new_axis(w, g, axis) for w, g in zip(wants, gots, strict=True)]
    if any(each is None for each in axes):
        return None
    made = [run.call(op, tuple(_step(args, bare, t)), got[t]) for t in range(n)]
    columns = list(zip(*made, strict=True)) if many else [made]
    parts = [
        Steps([run.reshaped(m, run.with_one(m.shape, where)) for m in column], where)
        for column, where in zip(columns, axes, strict=True)
        if where is not None
    ]
    return parts if many else parts[0]


def _new_axis(want: Any, items: Sequence[Tensor], usual: int) -> int | None:
    """The axis along which items without an axis of time are stacked to the wanted tensor; None where they are not."""
    if not isinstance(want, Tensor) or want.dim() != items[0].dim() + 1 or not want.numel():
        return None
    for where in dict.fromkeys((min(usual, items[0].dim()), *range(items[0].dim() + 1))):
        if _place(want, [item.unsqueeze(where) for item in items], 1) == (where, 1):
            return where
    return None


def _with(args: Any, change: tuple[int, int] | None, n: int) -> list[Any]:
    """The arguments, a size in them divided by n."""
    args = list(args)
    if change is not None:
        p, i = change
        args[p] = [size // n if j == i else size for j, size in enumerate(args[p])]
    return args


def _place(want: Tensor, items: list[Tensor], outer: int) -> tuple[int, int] | None:
    """(axis, outer) along which the items make the wanted tensor, or None."""
    if not want.numel():
        return 0, 1  # what batch norm leaves empty in evaluation
    near = 1e-4 * float(want.double().abs().max())  # many terms are summed in another order for one step
    for axis, size in enumerate(items[0].shape):
        if size and list(want.shape) == [m * len(items) if i == axis else m for i, m in enumerate(items[0].shape)]:
            for o in dict.fromkeys([outer, *range(1, size + 1)]):
                if size % o == 0 and torch.allclose(joined(items, axis, o).double(), want.double(), 0, near):
                    return axis, o
    return None
