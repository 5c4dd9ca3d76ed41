"""Operations on all time-steps at once, split into one operation for each step.

A tensor of all steps (`Steps`) comes from an input with time in an axis, from stack or cat of one item a step, from
expand or repeat to T, or from y[t] = ... Selecting items (select, unbind, slice, split along that axis) gives the
steps back. Every other operation is tried: once on random numbers for all steps, and once for each step, also with a
size in its arguments divided by T. If the results agree, the operation is recorded for each step. So no table of rules
is needed: the trial works for convolutions with time in the batch, for normalisation, products of matrices, attention,
pooling. If the results differ, the operation mixes steps, and stays one operation on the joined tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from plif_export.readers.tracing.nodes import (
    FILL_OPS,
    IDENTITY_OPS,
    PERMUTE_OPS,
    RESHAPE_OPS,
    Argument,
    LayerOp,
    NodeOrSteps,
    Overload,
    Result,
    Steps,
    TraceNode,
    TraceWriter,
    as_int,
    as_node,
    as_tensors,
    aten,
    find_permutation,
    flatten_arguments,
    op_name,
    replace_arguments,
    run_operation,
)

# Errors that an operation raises for arguments that do not fit it.
ARGUMENT_ERRORS = (RuntimeError, IndexError, ValueError, TypeError)


def join_steps(items: list[Tensor], axis: int, outer: int = 1) -> Tensor:
    """Join one tensor [..., outer * inner, ...] per time-step along that axis, to size outer * T * inner."""
    return torch.stack([v.unflatten(axis, (outer, -1)) for v in items], axis + 1).flatten(axis, axis + 2)


def find_shape(v: NodeOrSteps) -> list[int]:
    """Return the shape of the tensor that a recorded node, or one node per step (Steps), stands for."""
    if isinstance(v, TraceNode):
        return list(v.shape)
    return [sum(i.shape[d] for i in v.items) if d == v.axis else n for d, n in enumerate(v.items[0].shape)]


def record_operation(
    run: TraceWriter, op: Overload | LayerOp, a: Sequence[Argument], out: Result
) -> NodeOrSteps | Sequence[NodeOrSteps]:
    """Record an operation on all time-steps, as one operation per step if possible; return the recorded outputs.

    out: the tensors [...] that the operation returned. Returns: a node, Steps, or a list of them.
    """
    stacked = [s for s in flatten_arguments(a) if isinstance(s, Steps)]
    recorded: NodeOrSteps | Sequence[NodeOrSteps] | None = None
    if not isinstance(op, LayerOp):
        name, v = op_name(op), a[0] if a else None
        if name in FILL_OPS:
            value: Argument = FILL_OPS[name]
            return run.add_full(out, a[{"scalar_tensor": 0, "new_full": 2}.get(name, 1)] if value is None else value)
        if isinstance(v, TraceNode | Steps):
            keeps_shape = isinstance(out, Tensor) and list(out.shape) == find_shape(v)
            if name in IDENTITY_OPS or (keeps_shape and (name == "expand" or name in RESHAPE_OPS)):
                return v
            if name == "_to_copy" and (v.items[0] if isinstance(v, Steps) else v).dtype == as_tensors(out)[0].dtype:
                return v
        if isinstance(out, Tensor):
            recorded = _record_creation(run, name, a, list(out.shape), bool(stacked))
        if recorded is None and isinstance(v, Steps):
            recorded = _select_items(run, name, v, a)
    if recorded is None and stacked:
        recorded = _split_by_step(run, op, a, stacked)
    return (
        run.add_call(op, replace_arguments(a, Steps, lambda s: concat_steps(run, s)), out)
        if recorded is None
        else recorded
    )


def _record_creation(
    run: TraceWriter, name: str, a: Sequence[Argument], shape: list[int], stacked: bool
) -> NodeOrSteps | None:
    """Record an operation that makes a tensor of all steps (stack, cat, expand, y[t] = ...); None for others."""
    T, v = run.length, a[0] if a else None
    if name == "stack" and not stacked:
        assert isinstance(v, list | tuple)
        axis = as_int(a[1]) % len(shape)
        return _wrap_items([run.reshape_node(n, run.insert_axis(n.shape, axis)) for n in map(as_node, v)], axis)
    if name == "cat":
        axis = as_int(a[1]) % len(shape)
        parts = [p for p in flatten_arguments(v) if isinstance(p, Steps) or 0 not in as_node(p).shape]
        if all(p.axis == axis and p.outer == 1 if isinstance(p, Steps) else as_node(p).shape[axis] == 1 for p in parts):
            return _wrap_items([i for p in parts for i in (p.items if isinstance(p, Steps) else [as_node(p)])], axis)
    if name in ("expand", "repeat") and isinstance(v, TraceNode) and not stacked:
        before = [1] * (len(shape) - len(v.shape)) + list(v.shape)
        grown = [i for i, (n, m) in enumerate(zip(shape, before, strict=True)) if n != m]
        if len(grown) == 1 and (before[grown[0]] == 1 or name == "repeat") and shape[grown[0]] == T * before[grown[0]]:
            return Steps([run.reshape_node(v, before)] * T, grown[0])
    if name in ("select_scatter", "slice_scatter") and shape[as_int(a[2])] == T:
        axis = as_int(a[2]) % len(shape)
        start = as_int(a[3] or 0)
        end = start + 1 if name == "select_scatter" else T if a[4] is None else min(as_int(a[4]), T)
        if end - start == 1 and (isinstance(v, TraceNode) or (isinstance(v, Steps) and (v.axis, v.outer) == (axis, 1))):
            step_shape = [1 if d == axis else n for d, n in enumerate(shape)]
            items = v.items if isinstance(v, Steps) else [_slice_step(run, v, axis, t, step_shape) for t in range(T)]
            new = concat_steps(run, a[1]) if isinstance(a[1], Steps) else as_node(a[1])
            if prod(new.shape) == prod(step_shape):
                new = run.reshape_node(new, step_shape)
            else:
                new = run.add_node(
                    aten.expand.default, (new, run.table.mark_batch(step_shape), False), step_shape, new.dtype
                )
            return Steps([new if t == start % T else old for t, old in enumerate(items)], axis)
    return None


def _slice_step(run: TraceWriter, node: TraceNode, axis: int, t: int, shape: list[int]) -> TraceNode:
    if node.op == "full":
        return run.add_node("full", (run.table.mark_batch(shape), *node.args[1:]), shape, node.dtype)
    return run.add_node(aten.slice.Tensor, (node, axis, t, t + 1, 1), shape, node.dtype)


def _select_items(
    run: TraceWriter, name: str, v: Steps, a: Sequence[Argument]
) -> NodeOrSteps | Sequence[NodeOrSteps] | None:
    """Return the recorded steps that select, unbind, slice or split takes from a tensor of all steps, or None."""
    axis, shape = v.axis, find_shape(v)
    if v.outer != 1 or shape[axis] != len(v.items) or name not in ("select", "unbind", "slice", "split") or len(a) < 2:
        return None
    if as_int(a[2] if name == "split" else a[1]) % len(shape) != axis:
        return None
    if name in ("select", "unbind"):
        items = v.items if name == "unbind" else [v.items[as_int(a[2])]]
        steps = [run.reshape_node(i, [n for d, n in enumerate(i.shape) if d != axis]) for i in items]
        return steps if name == "unbind" else steps[0]
    if name == "split" and isinstance(a[1], int):
        parts = [v.items[i : i + a[1]] for i in range(0, len(v.items), a[1])]
        return [_wrap_items(part, axis) for part in parts]
    if name == "slice":
        start, stop, step = (bound if bound is None else as_int(bound) for bound in a[2:5])
        return _wrap_items(v.items[start:stop:step], axis)
    return None


def _wrap_items(items: list[TraceNode], axis: int) -> NodeOrSteps:
    """Wrap the recorded nodes of several time-steps as one Steps object; return a single node unchanged."""
    return items[0] if len(items) == 1 else Steps(items, axis)


def concat_steps(run: TraceWriter, v: Steps) -> TraceNode:
    """Record the concatenation of one node per time-step, so that a single node holds all steps."""
    first, dtype = v.items[0].shape, v.items[0].dtype
    lead, size, trailing = first[: v.axis], first[v.axis] // v.outer, first[v.axis + 1 :]
    if v.outer == 1:
        node = run.add_node(aten.cat.default, (list(v.items), v.axis), find_shape(v), dtype)
    else:
        items = [run.reshape_node(i, (*lead, v.outer, 1, size, *trailing)) for i in v.items]
        unfolded = run.add_node(
            aten.cat.default, (items, v.axis + 1), (*lead, v.outer, len(items), size, *trailing), dtype
        )
        node = run.reshape_node(unfolded, find_shape(v))
    if len(v.items) == run.length:
        run.joined.add(node)
    return node


# --- tried on random numbers -------------------------------------------------------------------------------------------------


def _select_step(values: Sequence[Argument], items: Mapping[int, Sequence[Argument]], t: int) -> list[Argument]:
    """Select time-step t in an operation's arguments that hold all steps, from {id of a Steps: its items}."""
    return replace_arguments(values, Steps, lambda s: items[id(s)][t])


def _random_value(node: TraceNode) -> Tensor:
    if node.data is not None:
        return node.data
    if node.dtype == torch.bool:
        return torch.rand(node.shape) > 0.5
    return torch.rand(node.shape).mul(2).to(node.dtype)


def _record_per_step(
    run: TraceWriter, op: Overload | LayerOp, args: Sequence[Sequence[Argument]], results: Sequence[Result],
    builders: Sequence[Callable[[list[TraceNode]], Steps]], joint_result: Result,
) -> NodeOrSteps | Sequence[NodeOrSteps]:  # fmt: skip
    """Record an operation once for each time-step, and collect each of its outputs as Steps.

    builders: for each result, the function that makes Steps of the nodes.
    """
    nodes = [run.add_call(op, a, out) for a, out in zip(args, results, strict=True)]
    rows = [m if isinstance(m, list) else [m] for m in nodes]
    parts = [build(list(column)) for build, column in zip(builders, zip(*rows, strict=True), strict=True)]
    return parts[0] if isinstance(joint_result, Tensor) else parts


def _split_by_step(
    run: TraceWriter, op: Overload | LayerOp, a: Sequence[Argument], stacked: list[Steps]
) -> NodeOrSteps | Sequence[NodeOrSteps] | None:
    """Record an operation once for each time-step if that gives the same result; None if the operation mixes steps."""
    if any(len(s.items) != len(stacked[0].items) for s in stacked):
        return None
    n, batch = len(stacked[0].items), run.table.batch
    recorded = _permute_steps(run, op, a, stacked[0]) or _split_without_axis(run, op, a, stacked)
    if recorded is not None:
        return recorded
    items = {id(s): s.items for s in stacked}
    with torch.random.fork_rng(devices=[]):
        noise = {key: [_random_value(i) for i in pairs] for key, pairs in items.items()}
        real = replace_arguments(a, TraceNode, _random_value)
        joint_result = run_operation(
            op, replace_arguments(real, Steps, lambda s: join_steps(noise[id(s)], s.axis, s.outer)), batch
        )
        joint_outputs = as_tensors(joint_result)
        if not all(isinstance(w, Tensor) for w in joint_outputs):
            return None
        sizes = [
            (p, i) for p, arg in enumerate(a) if isinstance(arg, list | tuple)
            for i, size in enumerate(arg) if type(size) is int and size and size % n == 0
        ]  # fmt: skip
        for change in [None, *sizes]:
            try:
                results = [
                    run_operation(op, _divide_size(_select_step(real, noise, t), change, n), batch) for t in range(n)
                ]
            except ARGUMENT_ERRORS:
                continue
            pairs = zip(joint_outputs, zip(*map(as_tensors, results), strict=True), strict=True)
            axes = [_find_join_axis(w, list(parts), stacked[0].outer) for w, parts in pairs]
            if all(axes):
                steps = [lambda nodes, p=axis_outer: Steps(nodes, *p) for axis_outer in axes]
                return _record_per_step(
                    run,
                    op,
                    [_divide_size(_select_step(a, items, t), change, n) for t in range(n)],
                    results,
                    steps,
                    joint_result,
                )
    return None


def _permute_steps(run: TraceWriter, op: Overload | LayerOp, a: Sequence[Argument], v: Steps) -> Steps | None:
    """Record a permutation of a tensor of all steps as one permutation per step; None for other operations."""
    if isinstance(op, LayerOp) or op_name(op) not in PERMUTE_OPS or v.outer != 1:
        return None
    axes = find_permutation(op_name(op), a, len(v.items[0].shape))
    return Steps([run.permute_node(i, axes) for i in v.items], axes.index(v.axis))


def _split_without_axis(
    run: TraceWriter, op: Overload | LayerOp, a: Sequence[Argument], stacked: list[Steps]
) -> NodeOrSteps | Sequence[NodeOrSteps] | None:
    """Record an operation once per step without the time axis; None if the result differs on random numbers."""
    axis = stacked[0].axis
    if (
        isinstance(op, LayerOp)
        or op_name(op) in RESHAPE_OPS
        or any(s.axis != axis or s.outer != 1 or s.items[0].shape[axis] != 1 for s in stacked)
    ):
        return None
    args = list(a)
    for i, declared in enumerate(op._schema.arguments[: len(args)]):
        if declared.name in ("dim", "dims") and args[i] is not None:
            rank = len(stacked[0].items[0].shape)
            dims = [as_int(d) % rank for d in flatten_arguments(args[i])]
            if axis in dims:
                return None
            dims = [d - (d > axis) for d in dims]
            args[i] = dims if isinstance(args[i], list | tuple) else dims[0]
    squeezed = {
        id(s): [run.reshape_node(i, [n for d, n in enumerate(i.shape) if d != axis]) for i in s.items] for s in stacked
    }
    steps = range(len(stacked[0].items))
    with torch.random.fork_rng(devices=[]):
        noise = {key: [_random_value(i) for i in items] for key, items in squeezed.items()}
        joint_arguments, step_arguments = (
            replace_arguments(arguments, TraceNode, _random_value) for arguments in (a, args)
        )
        try:
            joint = replace_arguments(
                joint_arguments, Steps, lambda s: join_steps([v.unsqueeze(axis) for v in noise[id(s)]], axis)
            )
            joint_result = run_operation(op, joint, run.table.batch)
            results = [run_operation(op, _select_step(step_arguments, noise, t), run.table.batch) for t in steps]
        except ARGUMENT_ERRORS:
            return None
    pairs = zip(as_tensors(joint_result), zip(*map(as_tensors, results), strict=True), strict=True)
    axes = [_find_stack_axis(w, parts, axis) for w, parts in pairs]
    if None in axes:
        return None

    def stack_along(time_axis: int) -> Callable[[list[TraceNode]], Steps]:
        return lambda nodes: Steps([run.reshape_node(m, run.insert_axis(m.shape, time_axis)) for m in nodes], time_axis)

    builders = [stack_along(time_axis) for time_axis in axes if time_axis is not None]
    return _record_per_step(run, op, [_select_step(args, squeezed, t) for t in steps], results, builders, joint_result)


def _find_stack_axis(joint: Tensor, items: Sequence[Tensor], time_axis: int) -> int | None:
    """Return the axis on which stacked outputs of single steps give the output of all steps; None if none does."""
    if not isinstance(joint, Tensor) or joint.dim() != items[0].dim() + 1 or not joint.numel():
        return None
    axes: list[int] = [min(time_axis, items[0].dim()), *range(items[0].dim() + 1)]
    for axis in dict.fromkeys(axes):
        if _find_join_axis(joint, [tensor.unsqueeze(axis) for tensor in items], 1) == (axis, 1):
            return axis
    return None


def _divide_size(args: list[Argument], change: tuple[int, int] | None, n: int) -> list[Argument]:
    """Divide one size in the arguments of an operation by n, so that it fits a single time-step."""
    if change is None:
        return args
    p, i = change
    sizes = [as_int(size) // n if j == i else size for j, size in enumerate(flatten_arguments(args[p]))]
    return [*args[:p], sizes, *args[p + 1 :]]


def _find_join_axis(joint: Tensor, items: list[Tensor], outer: int) -> tuple[int, int] | None:
    """Return (axis, outer) by which joined outputs of single steps give the output of all; None if none do."""
    if not joint.numel():
        return 0, 1  # an output that batch norm leaves empty in evaluation
    near = 1e-4 * float(joint.double().abs().max())  # one step sums its terms in another order
    for axis, size in enumerate(items[0].shape):
        if size and list(joint.shape) == [m * len(items) if i == axis else m for i, m in enumerate(items[0].shape)]:
            for o in dict.fromkeys([outer, *range(1, size + 1)]):
                if size % o == 0 and torch.allclose(join_steps(items, axis, o).double(), joint.double(), 0, near):
                    return axis, o
    return None
