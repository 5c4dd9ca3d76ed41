"""Any live nn.Module -> SNN graph, traced by torch.fx with its neurons and layers as leaves.

Leaves are the layers of readers/layers.py and the neurons of readers/neuron_modules.py; functions between them are those of
readers/functions.py. Everything else (containers, blocks, plain Python around them) is traced through. The module itself is
never changed: a copy is put into evaluation mode and, for SpikingJelly, into single-step mode.

Nothing that a trace could lose is taken on trust: tensors that a module keeps from step to step in an attribute are found and
refused unless they are states of neurons, and every neuron must do in the module, bit for bit, what it does in the trace
(module_check.py).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from plif_export.options import CallerFacts
from plif_export.readers.facts import ModelFacts, TrainedModel
from plif_export.readers.functions import FUNCTIONS, FunctionCall, GraphTensor, NeuronState, Result, vote
from plif_export.readers.layers import IDENTITY, LAYERS, known_as
from plif_export.readers.module_check import compare
from plif_export.readers.module_reference import ModuleReference
from plif_export.readers.neuron_modules import is_stateful
from plif_export.readers.rules import REGISTER, Problem, Unsupported
from plif_export.readers.trace import (
    ModuleTrace,
    Stepper,
    Tracer,
    copy_of,
    flat,
    one_thread,
    reset_neurons,
    single_step,
    trace_problem,
    traced_program,
)
from runtime.model.graph import Graph, Node, Shape


def read_module(module: nn.Module, example_input: Any, caller: CallerFacts) -> TrainedModel:
    """The graph of a live module for inputs of the example's shape [B, ...]. Raises PlifError with the first problem."""
    traced, problems = examine(module, example_input)
    silent: list[str] = []
    if traced is not None and not problems:
        problems, silent = compare(traced)
    if problems:
        raise problems[0].error(len(problems) - 1)
    assert traced is not None and traced.graph is not None
    facts = ModelFacts.from_caller(caller, traced.graph)
    return TrainedModel(traced.graph, ModuleReference(traced), facts, notes=silent)


def examine(module: nn.Module, example_input: Any) -> tuple[ModuleTrace | None, list[Problem]]:
    """Traces and reads a module: the trace, and every problem found. An empty list means that it can be exported."""
    name = type(module).__name__
    if any(p.dtype != torch.float32 for p in module.parameters()):
        return None, [Problem("", name, "its weights are not float32", "convert it: module.float()")]
    copied = single_step(copy_of(module).cpu().eval())
    if isinstance(copied, Problem):
        return None, [copied]
    reset_neurons(copied)
    shape = tuple(int(n) for n in example_input.shape)[1:]
    try:
        program, held, problems = traced_program(copied, shape)
    except Exception as error:  # whatever the module's own Python raises on a traced value
        return None, [trace_problem(copied, error)]
    if problems:
        return None, problems
    traced = ModuleTrace(copied, program, held=held)
    traced.restart()
    reader = _GraphReader(traced, shape)
    with torch.no_grad(), one_thread():
        try:
            reader.read()
        except _ModuleFailed as failure:
            return traced, reader.problems or [failure.problem]  # what fails after a problem fails because of it
    return traced, reader.problems


class _ModuleFailed(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _GraphReader(Stepper):
    """Runs one step on zeros, batch 2, and enters each node as it is computed, so that the shapes are the module's own."""

    BATCH = Tracer.BATCH

    def __init__(self, traced: ModuleTrace, shape: Shape) -> None:
        super().__init__(traced.program)
        self.traced, self.shape = traced, shape
        self.tensors: dict[fx.Node, Any] = {}
        self.nodes: list[Node] = []
        self.problems: list[Problem] = []
        self.names = {"x", "y"}
        self.result: Any = None

    def read(self) -> None:
        self.step(torch.zeros(self.BATCH, *self.shape))
        if not self.problems and not any(node.op == "Neuron" for node in self.nodes):
            advice = "export it with torch.onnx, or put neurons into it"
            self.problems.append(
                Problem("forward", type(self.traced.module).__name__, "it has no spiking neuron", advice)
            )
        if not self.problems:
            output = self.result.node
            self.traced.graph = Graph(self.shape, tuple(self._needed(output)), output)

    def _needed(self, output: str) -> Iterator[Node]:
        """The nodes that the output depends on."""
        wanted = {output}
        for node in reversed(self.nodes):
            if node.name in wanted:
                wanted.update(node.inputs)
        return (node for node in self.nodes if node.name in wanted)

    def run_node(self, n: fx.Node) -> Any:
        try:
            value = super().run_node(n)
        except Unsupported as problem:  # a neuron that cannot be read cannot be stepped either
            path, kind = self._where(n)
            raise _ModuleFailed(Problem(path, kind, problem.rule, problem.advice)) from None
        except Exception as error:
            path, kind = self._where(n)
            what = " ".join(str(error).split())[:160]
            advice = f"check that it takes one step of shape [B, {', '.join(map(str, self.shape))}]"
            raise _ModuleFailed(Problem(path, kind, f"it fails on one time-step ({what})", advice)) from None
        try:
            self.tensors[n] = self._entered(n, value)
        except Unsupported as problem:
            path, kind = self._where(n)
            self.problems.append(Problem(path, kind, problem.rule, problem.advice))
            self.traced.nodes.append(self.problems[-1])
            shape = tuple(value.shape[1:]) if isinstance(value, Tensor) else ()
            self.tensors[n] = GraphTensor("x", shape)  # go on, so that every problem is found
        return value

    def _where(self, n: fx.Node) -> tuple[str, str]:
        if n.op in ("call_module", "get_attr"):
            path = str(n.target) if n.op == "call_module" else str(n.target).rpartition(".")[0]
            return path or "forward", self._class(path)
        stack = list((n.meta.get("nn_module_stack") or {}).values())
        path = stack[-1][0] if stack and isinstance(stack[-1], tuple) else ""
        function = n.target if isinstance(n.target, str) else getattr(n.target, "__name__", str(n.target))
        return path or "forward", f"{function}()" if n.op != "output" else "output"

    def _class(self, path: str) -> str:
        """The class of a module. The trace has leaves only, so that of a block is looked up in the copy."""
        modules = dict(self.traced.module.named_modules())
        return type(modules[path] if path in modules else self.program.get_submodule(path)).__name__

    def _entered(self, n: fx.Node, value: Any) -> Any:
        """What the graph knows of a recorded operation's value: a GraphTensor, a NeuronState, or a plain value."""
        if n.op == "placeholder":
            return self._placeholder(n)
        if n.op == "output":
            return self._output(n)
        if self._is_start(n):
            return None
        if n.op == "get_attr":
            name = str(n.target).rpartition(".")[2]
            raise Unsupported(f"it computes with its own '{name}' outside of a layer", f"use a layer, or {REGISTER}")
        if n.op == "call_module":
            return self._module(n, value)
        if not isinstance(value, Tensor) and n.target is not operator.getitem:
            return value  # a size, an assertion: it is not part of the graph
        if n.target is operator.getitem:
            return self._item(n, value)
        args, kwargs = self._lookup(n.args), self._lookup(n.kwargs)
        reader = FUNCTIONS.get(n.target)
        if reader is None:
            raise Unsupported(
                "this operation is not exported", "use layers and functions of the list in docs/other-libraries.md"
            )
        tensors = [
            a
            for a in (*args, *(args[0] if args and isinstance(args[0], list | tuple) else ()))
            if isinstance(a, GraphTensor)
        ]
        if any(isinstance(a, NeuronState) for a in args):
            raise Unsupported("it computes with a neuron's state", "use the spikes only, or register the neuron")
        if not tensors:
            raise Unsupported("it does not work on tensors of the network", "compute constants before")
        shape = tuple(value.shape[1:])
        call = FunctionCall(tuple(args), kwargs, shape, bool(value.dim() and value.shape[0] == self.BATCH))
        return self._add(reader(call), n.name, shape)

    def _is_start(self, n: fx.Node) -> bool:
        """Whether a constant is the state that a neuron starts from. module_check.py proves that it is the start alone."""
        constant = n.op == "get_attr" or n.target in (torch.zeros_like, "new_zeros")
        return constant and self._is_state_argument(n)

    def _is_state_argument(self, n: fx.Node) -> bool:
        """Whether neurons alone take a value, as their state; it may be a field of a named tuple first."""
        return bool(n.users) and all(
            self._is_state_argument(user)
            if user.op == "call_function" and isinstance(user.target, type)
            else str(user.target) in self.types and user.args[0] is not n
            for user in n.users
        )

    def _lookup(self, value: Any) -> Any:
        return fx.node.map_aggregate(
            value, lambda v: self.tensors.get(v, self.env.get(v)) if isinstance(v, fx.Node) else v
        )

    def _placeholder(self, n: fx.Node) -> Any:
        if not self.tensors:
            return GraphTensor("x", self.shape)
        for user in n.users:
            if user.op == "call_module" and str(user.target) in self.types and n in user.args[1:]:
                self.traced.fed[n.name] = self._layer(str(user.target))
            elif user.op != "call_function" or "assert" not in getattr(user.target, "__name__", ""):
                raise Unsupported("a second input that is not a neuron's state", "give the network one input")
        return None

    def _layer(self, path: str) -> str:
        return path.replace(".", "_")

    def _module(self, n: fx.Node, value: Any) -> Any:
        path = str(n.target)
        module = self.program.get_submodule(path)
        x = self._lookup(n.args)[0]
        if not isinstance(x, GraphTensor):
            raise Unsupported("it works on a neuron's state", "use the spikes only")
        if path in self.types:
            return self._neuron(n, path, module, x)
        reader = known_as(module, LAYERS)
        if reader is None and is_stateful(module):
            raise Unsupported(
                "this neuron is not known", f"use IF, LIF, PLIF, Leaky, LIFBoxCell or LIFCell, or {REGISTER}"
            )
        if reader is None:
            raise Unsupported(
                "this layer is not exported", f"use a layer of the list in docs/other-libraries.md, or {REGISTER}"
            )
        shape = tuple(value.shape[1:])
        if x.lifted and "Pool" in type(module).__name__:
            return self._add(vote(x, module.kernel_size, module.stride), path, shape)
        op, attrs, params = reader(module, x.shape, shape)
        return x if op == IDENTITY else self._add(Result(op, (x,), attrs, params), path, shape)

    def _neuron(self, n: fx.Node, path: str, module: nn.Module, x: GraphTensor) -> Any:
        if path in self.traced.neurons:
            raise Unsupported(
                "it is called twice in one step, and has one state", "give each place a neuron of its own"
            )
        kind, attrs, params = self.types[path].read(module)
        layer = self._layer(path)
        self.traced.neurons[path] = layer
        for name, values in params.items():
            if values.ndim and values.shape not in ((x.shape[0],), x.shape):
                rule = f"its {name} has shape {list(values.shape)} for neurons {list(x.shape)}"
                raise Unsupported(rule, "give one number, one per channel, or one per neuron")
        attrs = {"kind": kind, "layer": layer, **attrs}
        spikes = self._add(Result("Neuron", (x,), attrs, params), path, x.shape)
        return (spikes, NeuronState(layer)) if self.types[path].pair(module) else spikes

    def _item(self, n: fx.Node, value: Any) -> Any:
        source, index = self._lookup(n.args)
        if isinstance(source, tuple | list):
            return source[index]
        if isinstance(source, NeuronState):
            return source
        if not isinstance(value, Tensor):
            return value
        raise Unsupported(
            f"it takes a part [{index}] of a tensor", "keep tensors whole, or use torch.cat the other way round"
        )

    def _add(self, result: Result, name: str, shape: Shape) -> Any:
        """Enters a node whose output has a shape (without the batch), and returns its GraphTensor.

        The node is called `name`, with a number behind it where the name is taken.
        """
        if result.op is None:
            return result.value
        base = name = name.replace(".", "_")
        count = 1
        while name in self.names:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        if result.op == "Vote":
            shape = (result.inputs[0].shape[0] // (result.attrs or {})["voters"],)
        inputs = tuple(x.node for x in result.inputs)
        node = Node(name, result.op, inputs, shape, result.attrs or {}, result.params or {})
        self.nodes.append(node)
        self.traced.nodes.append(node)
        return GraphTensor(name, shape, result.lifted)

    def _output(self, n: fx.Node) -> Any:
        found = self._lookup(n.args)[0]
        first, *rest = found if isinstance(found, tuple | list) else (found,)
        while isinstance(first, tuple):
            first, *more = first
            rest = [*more, *rest]
        behind = list(flat(rest))
        if not all(isinstance(state, NeuronState) or state is None for state in behind):
            raise Unsupported("it returns several outputs", "return one, and behind it states of neurons only")
        if not isinstance(first, GraphTensor):
            raise Unsupported("its first output is not made by a layer", "return the spikes, currents or votes first")
        if len(first.shape) != 1:
            raise Unsupported(f"it ends with a map {list(first.shape)}", "end with a vector: one number for each class")
        self.traced.returned = [state.layer for state in behind if isinstance(state, NeuronState)]
        self.result = first
        return first
