"""A recorder of one forward of a PyTorch module: every tensor operation becomes a node of a table.

A TorchDispatchMode sees the operations, below autograd (so surrogate gradients do not show) and below any library.
Several runs share the table: the same operation on the same arguments is the same node, in whichever run it occurs. So
plain sets tell the nodes that two runs share. Operations are put into one form before they enter the table:

    views and copies that change nothing                    no node
    view, squeeze, unsqueeze, flatten, ...                  reshape of the tensor that the chain of views started from
    transpose, t, permute                                   permute; a reshape where it only moves axes of size 1
    zeros, ones, full, and their *_like                     full
    add_, copy_, y[t] = ...                                 the operation that makes a new value; views of it follow
    on all time-steps at once                               once for each step (steps.py)

A leaf is a step of the input ("x"), a parameter or another tensor of the module ("param"), or a constant ("const"). A
constant holds only numbers that depend on no other tensor. A tensor made from others without an operation is refused.
Sizes that hold the batch are written as `BatchSize`, so that the record runs for any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.libraries.layers import LAYERS, find_entry
from plif_export.readers.libraries.rewritten import rewrite_forwards
from plif_export.readers.tracing.copies import CallStack, find_held_arrays, run_uncompiled
from plif_export.readers.tracing.nodes import (
    IDENTITY_OPS,
    PERMUTE_OPS,
    RESHAPE_OPS,
    Argument,
    ForwardInput,
    LayerOp,
    NodeOrSteps,
    NodeTable,
    Overload,
    Result,
    Steps,
    TraceNode,
    TraceWriter,
    any_dynamic,
    as_outputs,
    as_tensors,
    aten,
    dynamic_dtypes,
    find_permutation,
    op_name,
    replace_arguments,
    select_output,
)
from plif_export.readers.tracing.refused import refuse_narrow_integers, refuse_random_numbers, refuse_sizes_from_values
from plif_export.readers.tracing.steps import record_operation
from plif_export.readers.unseen_state.codes import list_codes
from plif_export.readers.unseen_state.looks import (
    HostAccessGuard,
    TensorMemory,
    find_source_line,
    iter_module_tensors,
    refuse_host_read,
)
from runtime.core.base.progress import show_stage
from runtime.core.model.ops import OPERATIONS

_REFERENCE_KERNELS = (torch._C.DispatchKey.AutogradCPU, torch._C.DispatchKey.CPU)
# Operations that torch could decompose, and that the graph has as one operation.
GRAPH_OPS = {name for operation in OPERATIONS.values() for name in operation.torch}


@dataclass(frozen=True)
class _View:
    """A tensor view in a recorded run: it shares memory with a part of another tensor, its parent.

    take: parent's node -> the view's node. write_back: (parent's old node, view's new node) -> parent's new node.
    parent_node: the parent's node when the view was last updated.
    """

    parent: Tensor
    take: Callable[[NodeOrSteps], NodeOrSteps]
    write_back: Callable[[NodeOrSteps, NodeOrSteps], NodeOrSteps]
    parent_node: NodeOrSteps


class TraceRun(TraceWriter, TorchDispatchMode):
    """A recording of the operations that one forward of a PyTorch module runs, as nodes of a table.

    module: a fresh copy, which the run may change. order: the nodes. output: of forward, as nodes and Steps.
    leaves_torch: forward may read values where no recorder sees it. held: objects around the module, not owned by it.
    """

    def __init__(
        self, table: NodeTable, module: nn.Module, length: int, leaves_torch: bool = True, held: Iterable[object] = ()
    ) -> None:
        TraceWriter.__init__(self, table, length, CallStack(module).paths)
        TorchDispatchMode.__init__(self)
        self.node_of: MutableMapping[Tensor, NodeOrSteps] = WeakTensorKeyDictionary()
        self.views: MutableMapping[Tensor, _View] = WeakTensorKeyDictionary()
        self.memory, self.guard = TensorMemory(), HostAccessGuard(self.depends_on_input, list_codes(module))
        self.module, self.leaves_torch, self.held = module, leaves_torch, held
        self.output: object = None
        self.replaced_tensors: set[str] = set()  # names of plain tensors of the module that forward replaced
        self.final_states: dict[TraceNode, str] = {}  # {node: the module's tensor that holds it after the run}
        self.plain_tensors: dict[str, Tensor] = {}
        self.index_notes: dict[str, None] = {}  # indexing operations that may raise for values that were not tried
        self.stored: list[tuple[TraceNode, Tensor, int]] = []  # tensors of the module, with their nodes and addresses
        self.weights: MutableMapping[Tensor, tuple[TraceNode, Tensor]] = WeakTensorKeyDictionary()  # node and value
        for path, part in module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                raise Unsupported("it is compiled by torch.jit.script", "give the Python module")
            if find_entry(part, LAYERS) is not None and not hasattr(part, "recorded_forward"):
                object.__setattr__(part, "recorded_forward", part.forward)
                object.__setattr__(part, "forward", lambda x, m=part, p=path: self.record_layer(LayerOp(p, m), x))
        rewrite_forwards(module)
        weights = {name for name, _ in module.named_parameters()}
        learned = weights | {name for name, _ in module.named_buffers()}
        for name, put, tensor in iter_module_tensors(module):
            plain = tensor
            if put is not None:
                plain = tensor.detach()
                vars(plain).update(vars(tensor))
                put(plain)
            key = name.lstrip(".")
            if key not in learned:
                self.plain_tensors[key] = plain
            node = self.add_node("param", (key,), plain.shape, plain.dtype, plain)
            if plain.layout is torch.strided:
                self.stored.append((node, plain, plain.data_ptr()))
            self.set_node(plain, node)
            self.memory.add_known(plain)
            if key in weights and node.data is not None:
                self.weights[plain] = node, node.data

    def record(
        self, x: ForwardInput, axis: int | None, forward: Callable[[nn.Module, ForwardInput], object]
    ) -> TraceRun:
        """Record the forward of a module on a list of steps [B, ...], or a tensor of them on `axis` (None: static)."""
        if isinstance(x, list):
            for t, x_t in enumerate(x):
                self.set_node(x_t, self.add_node("x", (t,), x_t.shape, x_t.dtype))
        elif axis is None:
            self.set_node(x, self.add_node("x", (0,), x.shape, x.dtype))
        else:
            items = [x.select(axis, t) for t in range(self.length)]
            nodes = [self.add_node("x", (t,), step.shape, step.dtype) for t, step in enumerate(items)]
            self.set_node(x, Steps([self.reshape_node(n, self.insert_axis(n.shape, axis)) for n in nodes], axis))
        for value in find_held_arrays(self.module, self.held):
            self.memory.add_known(value)
        show_stage(f"reading the module: recording {self.length} steps")
        with torch.inference_mode(), run_uncompiled(), self, self.guard:
            out = forward(self.module, x)
        self.index_notes |= self.guard.notes
        for node, tensor, pointer in self.stored:
            if tensor.data_ptr() != pointer and node.data is not None and not torch.equal(node.data, tensor):
                raise Unsupported(f"it puts other values into {node.args[0]}.data", "make a new tensor")
        self.output = tree_map_only(Tensor, self.find_node, out)
        tensors = {name.lstrip("."): tensor for name, _, tensor in iter_module_tensors(self.module)}
        self.replaced_tensors |= {name for name, old in self.plain_tensors.items() if tensors.get(name) is not old}
        nodes_by_name = {name: self.node_of.get(tensor) for name, tensor in tensors.items()}
        self.final_states = {node: name for name, node in nodes_by_name.items() if isinstance(node, TraceNode)}
        return self

    def set_node(self, tensor: Tensor, node: NodeOrSteps) -> None:
        """Set the node that stands for a tensor [...] in the recording of a module's forward."""
        self.node_of[tensor] = node
        self.memory.record_address(tensor, any_dynamic([node]), node)

    def find_node(self, tensor: Tensor) -> NodeOrSteps:
        """Return the node of a tensor [...] in a recording; first update a view whose parent was written to."""
        views = [tensor]
        while (view := self.views.get(views[-1])) is not None:
            views.append(view.parent)
        self._record_constant(views.pop())
        for child in reversed(views):
            view = self.views[child]
            if (parent_node := self.node_of[view.parent]) is not view.parent_node:
                self.views[child], self.node_of[child] = replace(view, parent_node=parent_node), view.take(parent_node)
        node = self.node_of[tensor]
        if self.memory.has_moved(tensor):
            data = node.data if isinstance(node, TraceNode) else None
            if self.memory.is_dynamic(tensor) or data is None or not torch.equal(data, tensor):
                swapped = self.memory.find_constant(tensor)  # w.data = w.sign(), and back
                if not isinstance(swapped, TraceNode | Steps):
                    raise Unsupported(f"it puts other values into .data ({find_source_line()})", "make a new tensor")
                node = self.node_of[tensor] = swapped
            self.memory.record_address(tensor, False)
        return node

    def _record_constant(self, tensor: Tensor) -> None:
        """Record as a constant a tensor [...] that no operation computed; refuse one that may depend on the input."""
        node = self.node_of.get(tensor)
        constant = node is None or (isinstance(node, TraceNode) and node.op == "const")
        if constant and self.memory.is_dynamic(tensor) and not self.memory.has_moved(tensor):
            rule = f"it uses a tensor in the memory of another ({find_source_line()})"
            raise Unsupported(rule, "use that tensor itself")
        if node is None:
            made_of_numbers = self.guard.is_inside(tensor) or not self.leaves_torch
            if not (made_of_numbers or self.memory.is_known(tensor)):
                rule = f"it uses a tensor that no recorded operation made ({find_source_line()})"
                raise Unsupported(rule, "make it in __init__, or of numbers, with torch.tensor; use no other thread")
            self.guard.constants += 1
            key = (str(tensor.dtype), tuple(tensor.shape), str(tensor.tolist()))
            self.set_node(tensor, self.add_node("const", key, tensor.shape, tensor.dtype, tensor))

    def depends_on_input(self, tensor: Tensor) -> bool:
        """Return whether the value of a tensor [...] in a recorded forward depends on the module's input."""
        with _disable_current_modes():
            return tensor in self.node_of and any_dynamic([self.find_node(tensor)])

    def set_written(self, tensor: Tensor, node: NodeOrSteps) -> None:
        """Record new values of a tensor [...] that an in-place operation wrote to, and of the tensors that it views."""
        views = list[tuple[Tensor, _View, NodeOrSteps]]()
        while (view := self.views.get(tensor)) is not None:
            self._set_node_of_written(tensor, node)
            views.append((tensor, view, node))
            tensor, node = view.parent, view.write_back(self.find_node(view.parent), node)
        self._set_node_of_written(tensor, node)
        if not any_dynamic([node]):
            self.memory.clear_dynamic(tensor)
        for tensor, view, node in reversed(views):
            self.views[tensor], self.node_of[tensor] = replace(view, parent_node=self.node_of[view.parent]), node

    def _set_node_of_written(self, tensor: Tensor, new_node: NodeOrSteps) -> None:
        """Set the node of a tensor [...] after an in-place write; a parameter with unchanged values keeps its node."""
        if tensor in self.weights and isinstance(new_node, TraceNode) and not new_node.moves:
            node, value = self.weights[tensor]
            new_node = node if torch.equal(value, tensor) else new_node  # equal: clamped, or its diagonal set to 0
            self.weights[tensor] = new_node, tensor.clone()
        self.replaced_tensors |= {name for name, stored in self.plain_tensors.items() if stored is tensor}
        self.set_node(tensor, new_node)

    def record_layer(self, op: LayerOp, x: Tensor) -> Tensor:
        """Record a user's registered layer on x [B, ...], or on all steps, as one operation without its inner ones."""
        with _disable_current_modes():
            out = op.run(x)
        self.set_node(out, self._record_one(op, [self.find_node(x)], out))
        return out

    def _record_one(self, op: Overload | LayerOp, a: Sequence[Argument], out: Result) -> NodeOrSteps:
        node = record_operation(self, op, a, out)
        assert isinstance(node, TraceNode | Steps)
        return node

    def __torch_dispatch__(
        self, func: Overload, types: object, args: Sequence[Argument] = (), kwargs: Mapping[str, Argument] | None = None
    ) -> object:
        kwargs = kwargs or {}
        schema, name = func._schema, op_name(func)
        if name not in GRAPH_OPS and name not in RESHAPE_OPS | IDENTITY_OPS and func._can_decompose():
            with self:
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        if func.namespace not in ("aten", "prims"):
            kernel = next((key for key in _REFERENCE_KERNELS if func.has_kernel_for_dispatch_key(key)), None)
            if kernel is not None:
                with self:  # a custom operation of a library: its PyTorch kernel, the training one if it has one
                    return func._op_dk(kernel, *args, **kwargs)
        refuse_random_numbers(func, args, kwargs)
        arguments = [*args, *(kwargs.get(a.name, a.default_value) for a in schema.arguments[len(args) :])]
        a = replace_arguments(arguments, Tensor, self.find_node)
        is_host_read = name == "nonzero" or not any("Tensor" in str(argument.type) for argument in schema.returns)
        if is_host_read and any_dynamic(a):
            refuse_host_read(name)
        for argument, s in zip(a, schema.arguments, strict=False):
            if s.name in ("index", "indices") and dynamic_dtypes([argument]) - {torch.bool}:
                self.index_notes[f"values for which {name}() raises ({find_source_line()})"] = None
        refuse_sizes_from_values(func, a)
        if name in ("max", "min") and len(args) == 2 and isinstance(args[1], Tensor):
            with self:
                return (aten.maximum if name == "max" else aten.minimum)(*args)
        declared = zip(args, schema.arguments, strict=False)
        written = [t for t, s in declared if isinstance(t, Tensor) and s.alias_info and s.alias_info.is_write]
        old = [tuple(t.shape) for t in written]
        out = func(*args, **kwargs)
        if is_host_read or (name in IDENTITY_OPS and name.endswith("_")):
            return out
        refuse_narrow_integers(func, a, out)
        if written and old != [tuple(t.shape) for t in written]:
            raise Unsupported(f"it changes a shape in place ({name})", "make a new tensor")
        if written:
            self._record_in_place(func, name, args, a, out)
        elif any(isinstance(o, Tensor) for o in as_outputs(out)):
            self._record_outputs(func, name, args, a, out)
        return out

    def _record_in_place(
        self, func: Overload, name: str, args: Sequence[Argument], a: list[Argument], out: Result
    ) -> None:
        """Record an in-place PyTorch operation as the new value of its first argument."""
        target = args[0]
        assert isinstance(target, Tensor)
        if name == "copy_" or (name == "fill_" and any_dynamic(a[1:])):
            (new,), source, source_node = as_tensors(out), args[1], a[1]
            assert isinstance(source, Tensor)
            if source.dtype != new.dtype:
                source_node = self._record_one(aten._to_copy.default, [source_node, new.dtype], source.to(new.dtype))
            self.set_written(target, self._record_one(aten.expand.default, [source_node, list(new.shape)], new))
        elif name in ("fill_", "zero_") and not any_dynamic(a[1:]):
            value = 0 if name == "zero_" else float(args[1]) if isinstance(args[1], Tensor) else a[1]
            self.set_written(target, self.add_full(out, value))
        else:
            base = getattr(getattr(aten, name[:-1], None), func._overloadname, None)
            if not name.endswith("_") or base is None:
                raise Unsupported(f"it writes in place with {name}", "make a new tensor")
            self.set_written(target, self._record_one(base, a, out))

    def _record_outputs(
        self, func: Overload, name: str, args: Sequence[Argument], a: list[Argument], out: Result
    ) -> None:
        nodes = record_operation(self, aten.split.Tensor if name == "unsafe_split" else func, a, out)
        view = func._schema.returns[0].alias_info is not None  # unsafe_split's parts are tensors of their own
        for i, tensor in enumerate(as_outputs(out)):
            if not isinstance(tensor, Tensor) or (args and tensor is args[0]):
                continue
            self.set_node(tensor, select_output(nodes, i))
            parent = args[0] if args else None
            if view and isinstance(parent, Tensor):

                def take(parent_node: NodeOrSteps, i: int = i) -> NodeOrSteps:
                    return select_output(record_operation(self, func, [parent_node, *a[1:]], out), i)

                write_back = self._make_write_back(name, a, parent, i)
                self.views[tensor] = _View(parent, take, write_back, self.find_node(parent))

    def _make_write_back(
        self, name: str, a: list[Argument], parent: Tensor, i: int
    ) -> Callable[[NodeOrSteps, NodeOrSteps], NodeOrSteps]:
        """Return a function that records the new value of a tensor after a write to one of its views."""
        rank = parent.dim()
        indices = a[1:] if name != "unbind" else [a[1], i]
        scatter = getattr(aten, f"{name}_scatter" if name != "unbind" else "select_scatter", None)
        if scatter is not None:
            return lambda old, new: self._record_one(scatter.default, [old, new, *indices], parent)
        if name in PERMUTE_OPS:
            axes = find_permutation(name, a, rank)
            inverse = [axes.index(d) for d in range(rank)]
            return lambda old, new: self._record_one(aten.permute.default, [new, inverse], parent)
        if name in RESHAPE_OPS | IDENTITY_OPS:
            return lambda old, new: self._record_one(aten.reshape.default, [new, list(parent.shape)], parent)

        def refuse(old: NodeOrSteps, new: NodeOrSteps) -> NodeOrSteps:
            raise Unsupported(f"it writes into a part that {name} took", "make a new tensor")

        return refuse
