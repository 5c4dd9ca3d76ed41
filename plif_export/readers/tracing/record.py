"""One forward of a PyTorch module, written down: every tensor operation becomes a node of a table.

The operations are seen by a TorchDispatchMode, below autograd (so surrogate gradients do not show) and below any library. The
table is shared by several runs: the same operation on the same arguments is the same node, in whichever run it is made, so
that plain sets tell what two runs have in common. On the way into the table an operation is put into one form:

    views and copies that change nothing                    no node
    view, squeeze, unsqueeze, flatten, ...                  reshape of what they all started from
    transpose, t, permute                                   permute; a reshape where it only moves axes of size 1
    zeros, ones, full, and their *_like                     full
    add_, copy_, y[t] = ...                                 the operation that makes a new value; views of it follow
    on all time-steps at once                               once for each step (steps.py)

A leaf is a step of the input ("x"), a parameter or another tensor of the module ("param"), or a constant ("const"): a tensor of
numbers that no value of another had a part in. What is made of others without an operation is refused.
Sizes that hold the batch are written as `BatchSize`, so that what was written down runs for any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.libraries.layers import LAYERS, known_as
from plif_export.readers.libraries.rewritten import rewrite
from plif_export.readers.tracing.copies import Calls
from plif_export.readers.tracing.nodes import (
    FILLED,
    PERMUTES,
    RESHAPES,
    SAME,
    Argument,
    Given,
    NodeOrSteps,
    Overload,
    Registered,
    Result,
    Steps,
    Table,
    TraceNode,
    Writer,
    aten,
    axes_of,
    leaves,
    op_name,
    several,
    swap,
)
from plif_export.readers.tracing.steps import rule
from plif_export.readers.unseen_state.looks import Looks, TensorMemory, place, refuse_look, stored_tensors
from runtime.core.model.ops import OPERATIONS

_REFERENCES = (torch._C.DispatchKey.AutogradCPU, torch._C.DispatchKey.CPU)
RANDOM = "encode outside, and give it the encoded steps"
# Operations that torch could write with smaller ones, and that the graph has whole.
WHOLE = {name for operation in OPERATIONS.values() for name in operation.torch}
NARROW = {torch.uint8, torch.int8, torch.int16, torch.int32}
# Operations that choose among numbers or move them, so that their results fit where the numbers did.
CHOOSES = RESHAPES | SAME | PERMUTES | {"select", "slice", "split", "unbind", "cat", "stack", "expand", "where"}
CHOOSES |= {"index", "gather", "minimum", "maximum", "amax", "amin", "bitwise_and", "bitwise_or"}


@dataclass(frozen=True)
class _Alias:
    """A tensor that is a part of another. take: what it is, of what the parent is; back: (old value of the parent, new one of the
    view) -> new value of the parent; seen: what the parent was when this was looked at last."""

    parent: Tensor
    take: Callable[[NodeOrSteps], NodeOrSteps]
    back: Callable[[NodeOrSteps, NodeOrSteps], NodeOrSteps]
    seen: NodeOrSteps


class TraceRun(Writer, TorchDispatchMode):
    """One forward of a module, written down. `order`: its nodes; `made`: what it returned, as nodes and Steps.

    module   a fresh copy, which the run may change
    inputs   the tensor of each step, or the one of all (axis None): [B, ...], or with time in an axis of its own
    forward  (module, inputs) -> what it returns
    """

    def __init__(self, table: Table, module: nn.Module, length: int) -> None:
        Writer.__init__(self, table, length, Calls(module).paths)
        TorchDispatchMode.__init__(self)
        self.known: MutableMapping[Tensor, NodeOrSteps] = WeakTensorKeyDictionary()
        self.views: MutableMapping[Tensor, _Alias] = WeakTensorKeyDictionary()
        self.memory, self.looks = TensorMemory(), Looks(self.moves)
        self.module = module
        self.made: object = None
        self.held: set[str] = set()  # tensors, neither parameters nor buffers, that forward put others in the place of
        self.left: dict[TraceNode, str] = {}  # what the next call goes on from: names of the module's tensors
        self.plain: dict[str, Tensor] = {}
        self.raising: dict[str, None] = {}  # what some values of an index do, and none that was tried
        self.stored: list[tuple[TraceNode, Tensor, int]] = []  # of the module, with their nodes and places in memory
        # of a parameter: what it is, and that node's value
        self.weights: MutableMapping[Tensor, tuple[TraceNode, Tensor]] = WeakTensorKeyDictionary()
        for path, part in module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                raise Unsupported("it is compiled by torch.jit.script", "give the Python module")
            if known_as(part, LAYERS) is not None and not hasattr(part, "recorded_forward"):
                object.__setattr__(part, "recorded_forward", part.forward)
                object.__setattr__(part, "forward", lambda x, m=part, p=path: self.leaf(Registered(p, m), x))
        rewrite(module)
        weights = {name for name, _ in module.named_parameters()}
        learned = weights | {name for name, _ in module.named_buffers()}
        for name, put, tensor in stored_tensors(module):
            plain = tensor
            if put is not None:
                plain = tensor.detach()
                vars(plain).update(vars(tensor))
                put(plain)
            where = name.lstrip(".")
            if where not in learned:
                self.plain[where] = plain
            node = self.put("param", (where,), plain.shape, plain.dtype, plain)
            if plain.layout is torch.strided:
                self.stored.append((node, plain, plain.data_ptr()))
            self.learn(plain, node)
            if where in weights and node.data is not None:
                self.weights[plain] = node, node.data

    def record(self, x: Given, axis: int | None, forward: Callable[[nn.Module, Given], object]) -> TraceRun:
        """x: a list of steps [B, ...], or a tensor whose axis is time (None: static, read by every step)."""
        if isinstance(x, list):
            for t, x_t in enumerate(x):
                self.learn(x_t, self.put("x", (t,), x_t.shape, x_t.dtype))
        elif axis is None:
            self.learn(x, self.put("x", (0,), x.shape, x.dtype))
        else:
            items = [x.select(axis, t) for t in range(self.length)]
            nodes = [self.put("x", (t,), item.shape, item.dtype) for t, item in enumerate(items)]
            self.learn(x, Steps([self.reshaped(n, self.with_one(n.shape, axis)) for n in nodes], axis))
        with torch.inference_mode(), self, self.looks:
            out = forward(self.module, x)
        for node, tensor, pointer in self.stored:
            if tensor.data_ptr() != pointer and node.data is not None and not torch.equal(node.data, tensor):
                raise Unsupported(f"it puts other values into {node.args[0]}.data", "make a new tensor")
        self.made = tree_map_only(Tensor, self.of, out)
        now = {name.lstrip("."): tensor for name, _, tensor in stored_tensors(self.module)}
        self.held |= {name for name, tensor in self.plain.items() if now.get(name) is not tensor}
        made = {name: self.known.get(tensor) for name, tensor in now.items()}
        self.left = {node: name for name, node in made.items() if isinstance(node, TraceNode)}
        return self

    # --- tensors of the running forward ----------------------------------------------------------------------------------

    def learn(self, tensor: Tensor, made: NodeOrSteps) -> None:
        """Notes what a tensor [...] of the running forward is."""
        self.known[tensor] = made
        self.memory.note(tensor, _moves([made]))

    def of(self, tensor: Tensor) -> NodeOrSteps:
        """What a tensor [...] is now: a view of something that was written to since is taken again."""
        views = [tensor]
        while (view := self.views.get(views[-1])) is not None:
            views.append(view.parent)
        self._require_known(views.pop())
        for each in reversed(views):
            view = self.views[each]
            if (now := self.known[view.parent]) is not view.seen:
                self.views[each], self.known[each] = replace(view, seen=now), view.take(now)
        made = self.known[tensor]
        if self.memory.elsewhere(tensor):
            data = made.data if isinstance(made, TraceNode) else None
            if self.memory.moves(tensor) or data is None or not torch.equal(data, tensor):
                raise Unsupported(f"it puts other values into .data ({place()})", "make a new tensor")
            self.memory.note(tensor, False)
        return made

    def _require_known(self, tensor: Tensor) -> None:
        """A tensor [...] that no operation made is a constant, where no value that depends on the input can be in it."""
        made = self.known.get(tensor)
        constant = made is None or (isinstance(made, TraceNode) and made.op == "const")
        if constant and self.memory.moves(tensor) and not self.memory.elsewhere(tensor):
            raise Unsupported(f"it uses a tensor in the memory of another ({place()})", "use that tensor itself")
        if made is None:
            self.looks.constants += 1
            key = (str(tensor.dtype), tuple(tensor.shape), str(tensor.tolist()))
            self.learn(tensor, self.put("const", key, tensor.shape, tensor.dtype, tensor))

    def moves(self, tensor: Tensor) -> bool:
        """Whether a tensor [...] depends on the input."""
        with _disable_current_modes():
            return tensor in self.known and _moves([self.of(tensor)])

    def write(self, tensor: Tensor, made: NodeOrSteps) -> None:
        """After an operation in place: the tensor [...], and all that it is a view of, have a new value."""
        views = list[tuple[Tensor, _Alias, NodeOrSteps]]()
        while (view := self.views.get(tensor)) is not None:
            self._replace(tensor, made)
            views.append((tensor, view, made))
            tensor, made = view.parent, view.back(self.of(view.parent), made)
        self._replace(tensor, made)
        if not _moves([made]):
            self.memory.rests(tensor)
        for tensor, view, made in reversed(views):
            self.views[tensor], self.known[tensor] = replace(view, seen=self.known[view.parent]), made

    def _replace(self, tensor: Tensor, made: NodeOrSteps) -> None:
        """A parameter to which nothing new was written is what it was: its diagonal is set to zero, or it is clamped."""
        if tensor in self.weights and isinstance(made, TraceNode) and not made.moves:
            node, value = self.weights[tensor]
            made = node if torch.equal(value, tensor) else made
            self.weights[tensor] = made, tensor.clone()
        self.held |= {name for name, plain in self.plain.items() if plain is tensor}
        self.learn(tensor, made)

    def leaf(self, op: Registered, x: Tensor) -> Tensor:
        """A registered layer on x [B, ...], or on all steps: one operation, whatever it does inside."""
        with _disable_current_modes():
            out = op.run(x)
        self.learn(out, _one(rule(self, op, [self.of(x)], out)))
        return out

    def __torch_dispatch__(
        self, func: Overload, types: object, args: Sequence[Argument] = (), kwargs: Mapping[str, Argument] | None = None
    ) -> object:
        kwargs = kwargs or {}
        schema, name = func._schema, op_name(func)
        if name not in WHOLE and name not in RESHAPES | SAME and func._can_decompose():
            with self:
                smaller = func.decompose(*args, **kwargs)
            if smaller is not NotImplemented:
                return smaller
        if func.namespace not in ("aten", "prims"):
            kernel = next((key for key in _REFERENCES if func.has_kernel_for_dispatch_key(key)), None)
            if kernel is not None:
                with self:  # an operation of a library's own: what it does in PyTorch, in training where it says that
                    return func._op_dk(kernel, *args, **kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise Unsupported(f"it draws random numbers ({name}) in forward", RANDOM)
        given = [*args, *(kwargs.get(a.name, a.default_value) for a in schema.arguments[len(args) :])]
        a = swap(given, Tensor, self.of)
        looks = name == "nonzero" or not any("Tensor" in str(each.type) for each in schema.returns)
        if looks and _moves(a):
            refuse_look(name)
        for each, s in zip(a, schema.arguments, strict=False):
            if s.name in ("index", "indices") and _dtypes([each]) - {torch.bool}:
                self.raising[f"values for which {name}() raises ({place()})"] = None
        masks = a[1:] if name == "index" else a
        sized = torch.Tag.dynamic_output_shape in func.tags and (name != "index" or _dtypes(masks) == {torch.bool})
        if sized and _moves(masks):
            raise Unsupported(f"the size of what {name}() makes depends on values ({place()})", "use torch.where")
        if name in ("max", "min") and len(args) == 2 and isinstance(args[1], Tensor):
            with self:
                return (aten.maximum if name == "max" else aten.minimum)(*args)
        declared = zip(args, schema.arguments, strict=False)
        written = [each for each, s in declared if isinstance(each, Tensor) and s.alias_info and s.alias_info.is_write]
        old = [tuple(t.shape) for t in written]
        out = func(*args, **kwargs)
        if looks or (name in SAME and name.endswith("_")):
            return out
        narrow = next((o.dtype for o in parts_of(out) if isinstance(o, Tensor) and o.dtype in NARROW), None)
        fits = _dtypes(a) <= ({torch.bool, narrow} if name in CHOOSES else {torch.bool} if "copy" in name else set())
        if narrow is not None and not fits and name not in FILLED:
            raise Unsupported(f"it computes in {narrow} ({name}, {place()}), which wraps", "keep it float")
        if written and old != [tuple(t.shape) for t in written]:
            raise Unsupported(f"it changes a shape in place ({name})", "make a new tensor")
        if written:
            self._write_into(func, name, args, a, out)
        elif any(isinstance(o, Tensor) for o in parts_of(out)):
            self._enter(func, name, args, a, out)
        return out

    def _write_into(self, func: Overload, name: str, args: Sequence[Argument], a: list[Argument], out: Result) -> None:
        """Notes what an operation in place makes of its first argument."""
        target = args[0]
        assert isinstance(target, Tensor)
        if name == "copy_" or (name == "fill_" and _moves(a[1:])):
            (new,), source, made = several(out), args[1], a[1]
            assert isinstance(source, Tensor)
            if source.dtype != new.dtype:
                made = _one(rule(self, aten._to_copy.default, [made, new.dtype], source.to(new.dtype)))
            self.write(target, _one(rule(self, aten.expand.default, [made, list(new.shape)], new)))
        elif name in ("fill_", "zero_") and not _moves(a[1:]):
            value = 0 if name == "zero_" else float(args[1]) if isinstance(args[1], Tensor) else a[1]
            self.write(target, self.filled(out, value))
        else:
            base = getattr(getattr(aten, name[:-1], None), func._overloadname, None)
            if not name.endswith("_") or base is None:
                raise Unsupported(f"it writes in place with {name}", "make a new tensor")
            self.write(target, _one(rule(self, base, a, out)))

    def _enter(self, func: Overload, name: str, args: Sequence[Argument], a: list[Argument], out: Result) -> None:
        made = rule(self, aten.split.Tensor if name == "unsafe_split" else func, a, out)
        view = func._schema.returns[0].alias_info is not None  # unsafe_split's parts are tensors of their own
        for i, each in enumerate(parts_of(out)):
            if not isinstance(each, Tensor) or (args and each is args[0]):
                continue
            self.learn(each, _part(made, i))
            parent = args[0] if args else None
            if view and isinstance(parent, Tensor):

                def take(now: NodeOrSteps, i: int = i) -> NodeOrSteps:
                    return _part(rule(self, func, [now, *a[1:]], out), i)

                self.views[each] = _Alias(parent, take, self._put_back(name, a, parent, i), self.of(parent))

    def _put_back(
        self, name: str, a: list[Argument], parent: Tensor, i: int
    ) -> Callable[[NodeOrSteps, NodeOrSteps], NodeOrSteps]:
        """(old value of the parent, new value of the view) -> new value of the parent."""
        rank = parent.dim()
        rest = a[1:] if name != "unbind" else [a[1], i]
        scatter = getattr(aten, f"{name}_scatter" if name != "unbind" else "select_scatter", None)
        if scatter is not None:
            return lambda old, new: _one(rule(self, scatter.default, [old, new, *rest], parent))
        if name in PERMUTES:
            axes = axes_of(name, a, rank)
            inverse = [axes.index(d) for d in range(rank)]
            return lambda old, new: _one(rule(self, aten.permute.default, [new, inverse], parent))
        if name in RESHAPES | SAME:
            return lambda old, new: _one(rule(self, aten.reshape.default, [new, list(parent.shape)], parent))

        def refuse(old: NodeOrSteps, new: NodeOrSteps) -> NodeOrSteps:
            raise Unsupported(f"it writes into a part that {name} took", "make a new tensor")

        return refuse


def _moves(values: Sequence[Argument]) -> bool:
    """Whether something among arguments depends on the input."""
    return any(isinstance(v, Steps) or (isinstance(v, TraceNode) and v.moves) for v in leaves(values))


def _dtypes(values: Sequence[Argument]) -> set[torch.dtype]:
    found = (v.items[0] if isinstance(v, Steps) else v for v in leaves(values))
    return {v.dtype for v in found if isinstance(v, TraceNode) and v.moves}


def parts_of(out: object) -> Sequence[object]:
    """What an operation made, as a list."""
    return out if isinstance(out, list | tuple) else [out]


def _part(made: NodeOrSteps | Sequence[NodeOrSteps], i: int) -> NodeOrSteps:
    return made if isinstance(made, TraceNode | Steps) else made[i]


def _one(made: NodeOrSteps | Sequence[NodeOrSteps]) -> NodeOrSteps:
    assert isinstance(made, TraceNode | Steps)
    return made
