"""Operations on all time-steps at once, taken apart into one for each step.

A tensor of all steps (`Steps`) comes from an input with time in an axis, from stack or cat of one item a step, from expand or
repeat to T, or from y[t] = ... Taking items out again (select, unbind, slice, split along that axis) gives the steps back.
Every other operation is tried: once on random numbers for all steps, and once for each step, also with a size in its arguments
divided by T. Where the results agree it is an operation for each step. So there is no table of rules: it holds for
convolutions with time in the batch, for normalisation, products of matrices, attention, pooling. Where they do not agree, the
operation mixes steps, and stays one operation on the joined tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from plif_export.readers.tracing.nodes import (
    FILLED,
    PERMUTES,
    RESHAPES,
    SAME,
    Argument,
    NodeOrSteps,
    Overload,
    Registered,
    Result,
    Steps,
    TraceNode,
    Writer,
    as_int,
    as_node,
    aten,
    axes_of,
    execute,
    leaves,
    op_name,
    several,
    swap,
)

# What an operation raises on arguments that it is not made for.
MISFITS = (RuntimeError, IndexError, ValueError, TypeError)


def joined(items: list[Tensor], axis: int, outer: int = 1) -> Tensor:
    """Items [..., outer * inner, ...] as one tensor with an axis of size outer * T * inner."""
    return torch.stack([v.unflatten(axis, (outer, -1)) for v in items], axis + 1).flatten(axis, axis + 2)


def shape_of(v: NodeOrSteps) -> list[int]:
    """The shape of what a node or Steps stands for."""
    if isinstance(v, TraceNode):
        return list(v.shape)
    return [sum(i.shape[d] for i in v.items) if d == v.axis else n for d, n in enumerate(v.items[0].shape)]


def rule(
    run: Writer, op: Overload | Registered, a: Sequence[Argument], out: Result
) -> NodeOrSteps | Sequence[NodeOrSteps]:
    """What an operation makes of nodes and Steps: a node, Steps, or a list of them. out: the tensors [...] that it made."""
    stacked = [s for s in leaves(a) if isinstance(s, Steps)]
    found: NodeOrSteps | Sequence[NodeOrSteps] | None = None
    if not isinstance(op, Registered):
        name, v = op_name(op), a[0] if a else None
        if name in FILLED:
            value: Argument = FILLED[name]
            return run.filled(out, a[{"scalar_tensor": 0, "new_full": 2}.get(name, 1)] if value is None else value)
        if isinstance(v, TraceNode | Steps):
            same = isinstance(out, Tensor) and list(out.shape) == shape_of(v)
            if name in SAME or (same and (name == "expand" or name in RESHAPES)):
                return v
            if name == "_to_copy" and (v.items[0] if isinstance(v, Steps) else v).dtype == several(out)[0].dtype:
                return v
        if isinstance(out, Tensor):
            found = _arises(run, name, a, list(out.shape), bool(stacked))
        if found is None and isinstance(v, Steps):
            found = _taken_out(run, name, v, a)
    if found is None and stacked:
        found = _apart(run, op, a, stacked)
    return run.call(op, swap(a, Steps, lambda s: whole(run, s)), out) if found is None else found


def _arises(run: Writer, name: str, a: Sequence[Argument], shape: list[int], stacked: bool) -> NodeOrSteps | None:
    """A tensor of all steps that comes into being: stack, cat, expand, repeat, y[t] = ..."""
    T, v = run.length, a[0] if a else None
    if name == "stack" and not stacked:
        assert isinstance(v, list | tuple)
        axis = as_int(a[1]) % len(shape)
        return _along([run.reshaped(n, run.with_one(n.shape, axis)) for n in map(as_node, v)], axis)
    if name == "cat":
        axis = as_int(a[1]) % len(shape)
        parts = [p for p in leaves(v) if isinstance(p, Steps) or 0 not in as_node(p).shape]
        if all(p.axis == axis and p.outer == 1 if isinstance(p, Steps) else as_node(p).shape[axis] == 1 for p in parts):
            return _along([i for p in parts for i in (p.items if isinstance(p, Steps) else [as_node(p)])], axis)
    if name in ("expand", "repeat") and isinstance(v, TraceNode) and not stacked:
        before = [1] * (len(shape) - len(v.shape)) + list(v.shape)
        grown = [i for i, (n, m) in enumerate(zip(shape, before, strict=True)) if n != m]
        if len(grown) == 1 and (before[grown[0]] == 1 or name == "repeat") and shape[grown[0]] == T * before[grown[0]]:
            return Steps([run.reshaped(v, before)] * T, grown[0])
    if name in ("select_scatter", "slice_scatter") and shape[as_int(a[2])] == T:
        axis = as_int(a[2]) % len(shape)
        start = as_int(a[3] or 0)
        end = start + 1 if name == "select_scatter" else T if a[4] is None else min(as_int(a[4]), T)
        if end - start == 1 and (isinstance(v, TraceNode) or (isinstance(v, Steps) and (v.axis, v.outer) == (axis, 1))):
            one = [1 if d == axis else n for d, n in enumerate(shape)]
            items = v.items if isinstance(v, Steps) else [_piece(run, v, axis, t, one) for t in range(T)]
            new = whole(run, a[1]) if isinstance(a[1], Steps) else as_node(a[1])
            if prod(new.shape) == prod(one):
                new = run.reshaped(new, one)
            else:
                new = run.put(aten.expand.default, (new, run.table.sizes(one), False), one, new.dtype)
            return Steps([new if t == start % T else item for t, item in enumerate(items)], axis)
    return None


def _piece(run: Writer, node: TraceNode, axis: int, t: int, shape: list[int]) -> TraceNode:
    if node.op == "full":
        return run.put("full", (run.table.sizes(shape), *node.args[1:]), shape, node.dtype)
    return run.put(aten.slice.Tensor, (node, axis, t, t + 1, 1), shape, node.dtype)


def _taken_out(run: Writer, name: str, v: Steps, a: Sequence[Argument]) -> NodeOrSteps | Sequence[NodeOrSteps] | None:
    """Items of a tensor of all steps."""
    axis, shape = v.axis, shape_of(v)
    if v.outer != 1 or shape[axis] != len(v.items) or name not in ("select", "unbind", "slice", "split") or len(a) < 2:
        return None
    if as_int(a[2] if name == "split" else a[1]) % len(shape) != axis:
        return None
    if name in ("select", "unbind"):
        items = v.items if name == "unbind" else [v.items[as_int(a[2])]]
        found = [run.reshaped(i, [n for d, n in enumerate(i.shape) if d != axis]) for i in items]
        return found if name == "unbind" else found[0]
    if name == "split" and isinstance(a[1], int):
        parts = [v.items[i : i + a[1]] for i in range(0, len(v.items), a[1])]
        return [_along(part, axis) for part in parts]
    if name == "slice":
        start, stop, step = (each if each is None else as_int(each) for each in a[2:5])
        return _along(v.items[start:stop:step], axis)
    return None


def _along(items: list[TraceNode], axis: int) -> NodeOrSteps:
    """Items of a tensor of steps; one by itself is no tensor of steps."""
    return items[0] if len(items) == 1 else Steps(items, axis)


def whole(run: Writer, v: Steps) -> TraceNode:
    """Steps as one node, joined."""
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


# --- tried on random numbers -------------------------------------------------------------------------------------------------


def _step(values: Sequence[Argument], items: Mapping[int, Sequence[Argument]], t: int) -> list[Argument]:
    """Arguments with each Steps in them as its item of step t; items: those of a Steps by its id."""
    return swap(values, Steps, lambda s: items[id(s)][t])


def _noise(node: TraceNode) -> Tensor:
    if node.data is not None:
        return node.data
    if node.dtype == torch.bool:
        return torch.rand(node.shape) > 0.5
    return torch.rand(node.shape).mul(2).to(node.dtype)


def _in_columns(
    run: Writer, op: Overload | Registered, args: Sequence[Sequence[Argument]], got: Sequence[Result],
    steps: Sequence[Callable[[list[TraceNode]], Steps]], want: Result,
) -> NodeOrSteps | Sequence[NodeOrSteps]:  # fmt: skip
    """The operation written down once for each step; steps: for each of its results, what makes Steps of the nodes."""
    made = [run.call(op, a, out) for a, out in zip(args, got, strict=True)]
    rows = [m if isinstance(m, list) else [m] for m in made]
    parts = [make(list(column)) for make, column in zip(steps, zip(*rows, strict=True), strict=True)]
    return parts[0] if isinstance(want, Tensor) else parts


def _apart(
    run: Writer, op: Overload | Registered, a: Sequence[Argument], stacked: list[Steps]
) -> NodeOrSteps | Sequence[NodeOrSteps] | None:
    """The operation once for each step, where that gives the same; None where it does not."""
    if any(len(s.items) != len(stacked[0].items) for s in stacked):
        return None
    n, batch = len(stacked[0].items), run.table.batch
    again = _moved(run, op, a, stacked[0]) or _without_axis(run, op, a, stacked)
    if again is not None:
        return again
    items = {id(s): s.items for s in stacked}
    with torch.random.fork_rng(devices=[]):
        noise = {key: [_noise(i) for i in each] for key, each in items.items()}
        real = swap(a, TraceNode, _noise)
        want = execute(op, swap(real, Steps, lambda s: joined(noise[id(s)], s.axis, s.outer)), batch)
        wants = several(want)
        if not all(isinstance(w, Tensor) for w in wants):
            return None
        sizes = [
            (p, i) for p, arg in enumerate(a) if isinstance(arg, list | tuple)
            for i, size in enumerate(arg) if type(size) is int and size and size % n == 0
        ]  # fmt: skip
        for change in [None, *sizes]:
            try:
                got = [execute(op, _with(_step(real, noise, t), change, n), batch) for t in range(n)]
            except MISFITS:
                continue
            each = zip(wants, zip(*map(several, got), strict=True), strict=True)
            places = [_place(w, list(parts), stacked[0].outer) for w, parts in each]
            if all(places):
                steps = [lambda nodes, p=place: Steps(nodes, *p) for place in places]
                return _in_columns(run, op, [_with(_step(a, items, t), change, n) for t in range(n)], got, steps, want)
    return None


def _moved(run: Writer, op: Overload | Registered, a: Sequence[Argument], v: Steps) -> Steps | None:
    """Permutations, which need no trial."""
    if isinstance(op, Registered) or op_name(op) not in PERMUTES or v.outer != 1:
        return None
    axes = axes_of(op_name(op), a, len(v.items[0].shape))
    return Steps([run.permuted(i, axes) for i in v.items], axes.index(v.axis))


def _without_axis(
    run: Writer, op: Overload | Registered, a: Sequence[Argument], stacked: list[Steps]
) -> NodeOrSteps | Sequence[NodeOrSteps] | None:
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
            dims = [as_int(d) % rank for d in leaves(args[i])]
            if axis in dims:
                return None
            dims = [d - (d > axis) for d in dims]
            args[i] = dims if isinstance(args[i], list | tuple) else dims[0]
    bare = {id(s): [run.reshaped(i, [n for d, n in enumerate(i.shape) if d != axis]) for i in s.items] for s in stacked}
    steps = range(len(stacked[0].items))
    with torch.random.fork_rng(devices=[]):
        noise = {key: [_noise(i) for i in items] for key, items in bare.items()}
        real, same = (swap(given, TraceNode, _noise) for given in (a, args))
        try:
            joint = swap(real, Steps, lambda s: joined([v.unsqueeze(axis) for v in noise[id(s)]], axis))
            want = execute(op, joint, run.table.batch)
            got = [execute(op, _step(same, noise, t), run.table.batch) for t in steps]
        except MISFITS:
            return None
    each = zip(several(want), zip(*map(several, got), strict=True), strict=True)
    axes = [_new_axis(w, parts, axis) for w, parts in each]
    if None in axes:
        return None

    def along(where: int) -> Callable[[list[TraceNode]], Steps]:
        return lambda nodes: Steps([run.reshaped(m, run.with_one(m.shape, where)) for m in nodes], where)

    ways = [along(where) for where in axes if where is not None]
    return _in_columns(run, op, [_step(args, bare, t) for t in steps], got, ways, want)


def _new_axis(want: Tensor, items: Sequence[Tensor], usual: int) -> int | None:
    """The axis along which items without an axis of time are stacked to the wanted tensor; None where they are not."""
    if not isinstance(want, Tensor) or want.dim() != items[0].dim() + 1 or not want.numel():
        return None
    axes: list[int] = [min(usual, items[0].dim()), *range(items[0].dim() + 1)]
    for where in dict.fromkeys(axes):
        if _place(want, [item.unsqueeze(where) for item in items], 1) == (where, 1):
            return where
    return None


def _with(args: list[Argument], change: tuple[int, int] | None, n: int) -> list[Argument]:
    """The arguments, a size in them divided by n."""
    if change is None:
        return args
    p, i = change
    sizes = [as_int(size) // n if j == i else size for j, size in enumerate(leaves(args[p]))]
    return [*args[:p], sizes, *args[p + 1 :]]


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
