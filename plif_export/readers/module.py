"""Any live nn.Module -> SNN graph, traced by torch.fx with its neurons and layers as leaves.

What is a leaf is looked up: layers in readers/layers.py, neurons in readers/neuron_modules.py, functions between them in
readers/functions.py. Everything else (containers, blocks, plain Python around them) is traced through. The module itself
is never changed: a copy is, put into evaluation mode and, for SpikingJelly, into single-step mode.

What a trace could lose is checked, not assumed: tensors that a module keeps from step to step in an attribute are found
and refused, and the trace must give, bit for bit, what the module gives over a few steps from reset.
"""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from plif_export import interpret
from plif_export.readers import Given, Read
from plif_export.readers.functions import FUNCTIONS, Call, Known, Made, StateOf, vote
from plif_export.readers.layers import IDENTITY, LAYERS, known_as
from plif_export.readers.neuron_modules import NeuronType, is_stateful, neuron_type
from plif_export.readers.rules import Problem, Unsupported
from plif_export.reference import Array, Trace, note, traces_from
from runtime.errors import PlifError
from runtime.graph import Graph, Node, Shape, state_key
from runtime.neurons import equation_of

CHECK_STEPS = 3
REGISTER = "register it: docs/other-libraries.md"


def read_module(module: nn.Module, example_input: Any, given: Given) -> Read:
    """The graph of a live module for inputs of the example's shape [B, ...]. Raises PlifError with the first problem."""
    traced, problems = examine(module, example_input)
    if problems:
        raise problems[0].error(len(problems) - 1)
    assert traced is not None and traced.graph is not None
    reference = ModuleReference(traced)
    reference.check_against(traced.module)
    outputs = traced.graph[traced.graph.output].shape
    return Read(traced.graph, reference, given.facts(traced.graph.input_shape, outputs[0]))


@dataclass
class Traced:
    """A module's copy, its trace, and the graph as far as it could be read.

    neurons   path of each neuron module -> its layer's name
    fed       placeholders beyond the first -> the layer whose state they are
    returned  layers whose states the module returns behind its output, in order
    """

    module: nn.Module
    program: fx.GraphModule
    nodes: list[tuple[Problem | None, Node | None]] = field(default_factory=list)
    graph: Graph | None = None
    neurons: dict[str, str] = field(default_factory=dict)
    fed: dict[str, str] = field(default_factory=dict)
    returned: list[str] = field(default_factory=list)


def examine(module: nn.Module, example_input: Any) -> tuple[Traced | None, list[Problem]]:
    """Traces and reads a module: what was read, and every problem found. An empty list means it can be exported."""
    name = type(module).__name__
    if any(p.dtype != torch.float32 for p in module.parameters()):
        return None, [Problem("", name, "its weights are not float32", "convert it: module.float()")]
    copied = _single_step(_copy(module).cpu().eval())
    if isinstance(copied, Problem):
        return None, [copied]
    forget(copied)
    shape = tuple(int(n) for n in example_input.shape)[1:]
    try:
        program = _trace(copied, shape)
    except Exception as error:  # whatever the module's own Python raises on a traced value
        return None, [_trace_failed(copied, error)]
    kept = _kept_tensors(copied)
    if kept:
        return None, kept
    forget(copied)
    traced = Traced(copied, program)
    reader = _GraphReader(traced, shape)
    with torch.no_grad(), _one_thread():
        try:
            reader.read()
        except _ModuleFailed as failure:
            return traced, reader.problems or [failure.problem]  # what fails after a problem fails because of it
    return traced, reader.problems


# --- the copy -----------------------------------------------------------------------------------------------------------


def _copy(module: nn.Module) -> nn.Module:
    """A deep copy; states that hang on a computation graph are copied detached, as deepcopy itself cannot."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in [*vars(part).values(), *part._buffers.values(), *vars(part).get("_memories", {}).values()]:
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo)


def _single_step(module: nn.Module) -> nn.Module | Problem:
    """SpikingJelly's modules in step mode 's'; its containers that only know many steps become plain sequences."""
    for path, part in list(module.named_modules()):
        if not callable(getattr(part, "supported_step_mode", None)):
            continue
        if "s" in part.supported_step_mode():
            part.step_mode = "s"
        elif type(part).__name__ in ("MultiStepContainer", "SeqToANNContainer") and isinstance(part, nn.Sequential):
            plain = nn.Sequential(*part.children()).eval()
            if not path:
                module = plain
            else:
                parent, _, last = path.rpartition(".")
                setattr(module.get_submodule(parent), last, plain)
        else:
            return Problem(
                path, type(part).__name__, "it needs all time-steps at once", "use a layer that steps: step_mode 's'"
            )
    return module


def forget(module: nn.Module) -> None:
    """Every neuron back to its start."""
    for part in module.modules():
        found = neuron_type(part)
        if found is not None:
            found.reset(part)
        elif is_stateful(part) and callable(getattr(part, "reset", None)):
            part.reset()  # type: ignore[operator]


# --- the trace ----------------------------------------------------------------------------------------------------------


class _Shaped(fx.Proxy):
    """A traced value whose rank and sizes are known, all but the batch, so that plain Python may look at them."""

    def __init__(self, node: fx.Node, tracer: _Tracer) -> None:
        super().__init__(node, tracer)
        self._shape = tuple(tracer.values[node].shape)

    def dim(self) -> int:
        return len(self._shape)

    @property
    def ndim(self) -> int:
        return len(self._shape)

    @property
    def shape(self) -> tuple[Any, ...]:
        return (self.size(0), *self._shape[1:])

    def size(self, axis: int | None = None) -> Any:
        if axis is None:
            return self.shape
        if axis in (0, -len(self._shape)):
            return self.tracer.create_proxy("call_method", "size", (self, 0), {})
        return self._shape[axis]


_CALL, _GETATTR = nn.Module.__call__, nn.Module.__getattr__  # as they are while nothing is traced


@contextmanager
def _untraced() -> Iterator[None]:
    """Modules called in here run and are not traced, though torch.fx is at work."""
    traced = nn.Module.__call__, nn.Module.__getattr__
    nn.Module.__call__, nn.Module.__getattr__ = _CALL, _GETATTR  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__, nn.Module.__getattr__ = traced  # type: ignore[method-assign]


class _Tracer(fx.Tracer):
    """Runs what it traces, on zeros, so that shapes are known while the module's own Python runs."""

    BATCH = 2

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.example = torch.zeros(self.BATCH, *shape)
        self.values: dict[fx.Node, Any] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, nn.Sequential | nn.ModuleList) and not is_stateful(m):
            return False
        known = known_as(m, LAYERS) is not None or neuron_type(m) is not None or is_stateful(m)
        return known or m.__module__.startswith(("torch.nn", "spikingjelly.activation_based.layer"))

    def proxy(self, node: fx.Node) -> fx.Proxy:
        try:
            with _untraced():
                value = self.values[node] = self._run(node)
        except Exception:  # the reader runs it again, and says where it failed
            value = self.values[node] = None
        return _Shaped(node, self) if isinstance(value, Tensor) and value.dim() else fx.Proxy(node, self)

    def _run(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self.example if len(self.values) == 0 else None
        args: Any
        kwargs: Any
        args, kwargs = (fx.node.map_arg(part, lambda n: self.values[n]) for part in (node.args, node.kwargs))
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "call_function":
            return node.target(*args, **kwargs)  # type: ignore[operator]
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.root)
        module = self.root.get_submodule(str(node.target))
        kind = neuron_type(module)
        if kind is None:
            return module(*args, **kwargs)
        s, after = kind.step(module, args[0], start_of(kind, module, args[0]))
        return (s, after) if kind.pair(module) else s


def _trace(module: nn.Module, shape: Shape) -> fx.GraphModule:
    """Arguments that have a default (a state to start from, as Norse has it) keep it."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    fixed = {p.name: p.default for p in parameters[1:] if p.default is not inspect.Parameter.empty}
    tracer = _Tracer(shape)
    if tracer.is_leaf_module(module, ""):
        module = nn.Sequential(module)
    with torch.no_grad():
        graph = tracer.trace(module, concrete_args=fixed or None)
    return fx.GraphModule(tracer.root, graph)


def _trace_failed(module: nn.Module, error: Exception) -> Problem:
    path = ""
    frame = error.__traceback__
    while frame is not None:
        owner = frame.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            path = next((name for name, part in module.named_modules() if part is owner), path)
        frame = frame.tb_next
    kind = type(module.get_submodule(path)).__name__ if path else type(module).__name__
    what = " ".join(str(error).split())[:160]
    return Problem(
        path or "forward", kind, f"it cannot be traced ({what})", "its Python must not depend on values of tensors"
    )


def _kept_tensors(module: nn.Module) -> list[Problem]:
    """Modules that put a traced value into an attribute: a state that the trace would lose without a word."""
    problems = []
    for path, part in module.named_modules():
        stores = (vars(part), part._buffers, vars(part).get("_memories", {}))
        names = sorted(
            {key for store in stores for key, value in store.items() if key[:2] != "__" and _holds_proxy(value)}
        )
        if names:
            rule = f"it keeps a state in {', '.join(repr(name) for name in names)} that the exporter does not know"
            problems.append(Problem(path or "forward", type(part).__name__, rule, f"if it is a neuron, {REGISTER}"))
    return problems


def _holds_proxy(value: Any, depth: int = 3) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple) and depth:
        return any(_holds_proxy(part, depth - 1) for part in value)
    return isinstance(value, fx.Proxy)


class _ModuleFailed(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Stepper(fx.Interpreter):
    """Runs a trace for one step; the neurons are the library's own modules, stepped from the states given here."""

    def __init__(self, program: fx.GraphModule) -> None:
        super().__init__(program, garbage_collect_values=False)
        self.program = program
        self.types: dict[str, NeuronType] = {}
        for node in program.graph.nodes:
            if node.op == "call_module":
                found = neuron_type(program.get_submodule(node.target))
                if found is not None:
                    self.types[node.target] = found
        self.states: dict[str, dict[str, Tensor]] = {}
        self.seen: dict[str, tuple[Tensor, Tensor, dict[str, Tensor]]] = {}  # path -> (x, s, states after)

    def step(self, x: Tensor) -> Any:
        self.seen = {}
        _, *others = [node for node in self.program.graph.nodes if node.op == "placeholder"]
        return self.run(x, *[None] * len(others))

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target not in self.types:
            return super().call_module(target, args, kwargs)
        module, kind, x = self.program.get_submodule(target), self.types[target], args[0]
        s, after = kind.step(module, x, self.state_of(target, x))
        self.seen[target] = (x, s, after)
        self.states[target] = after
        return (s, after) if kind.pair(module) else s

    def state_of(self, target: str, x: Tensor) -> dict[str, Tensor]:
        if target not in self.states:
            self.states[target] = start_of(self.types[target], self.program.get_submodule(target), x)
        return self.states[target]


def start_of(kind: NeuronType, module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The state of a neuron layer before its first step, for currents like x."""
    name, attrs, _ = kind.read(module)
    return {variable: torch.full_like(x, value) for variable, value in equation_of(name).initial(attrs).items()}


class _GraphReader(_Stepper):
    """Runs one step on zeros, batch 2, and writes each node down as it goes: so the shapes are the module's own."""

    BATCH = _Tracer.BATCH

    def __init__(self, traced: Traced, shape: Shape) -> None:
        super().__init__(traced.program)
        self.traced, self.shape = traced, shape
        self.known: dict[fx.Node, Any] = {}
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
            self.known[n] = self._write(n, value)
        except Unsupported as problem:
            path, kind = self._where(n)
            self.problems.append(Problem(path, kind, problem.rule, problem.advice))
            self.traced.nodes.append((self.problems[-1], None))
            shape = tuple(value.shape[1:]) if isinstance(value, Tensor) else ()
            self.known[n] = Known("x", shape)  # go on, so that every problem is found
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
        """The trace keeps leaves only, so the class of a block is the copy's."""
        modules = dict(self.traced.module.named_modules())
        return type(modules[path] if path in modules else self.program.get_submodule(path)).__name__

    def _write(self, n: fx.Node, value: Any) -> Any:
        if n.op == "placeholder":
            return self._placeholder(n)
        if n.op == "output":
            return self._output(n)
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
            a for a in (*args, *(args[0] if args and isinstance(args[0], list | tuple) else ())) if isinstance(a, Known)
        ]
        if any(isinstance(a, StateOf) for a in args):
            raise Unsupported("it computes with a neuron's state", "use the spikes only, or register the neuron")
        if not tensors:
            raise Unsupported("it does not work on tensors of the network", "compute constants before")
        call = Call(tuple(args), kwargs, tuple(value.shape[1:]), bool(value.dim() and value.shape[0] == self.BATCH))
        return self._made(reader(call), n.name, value)

    def _lookup(self, value: Any) -> Any:
        return fx.node.map_aggregate(
            value, lambda v: self.known.get(v, self.env.get(v)) if isinstance(v, fx.Node) else v
        )

    def _placeholder(self, n: fx.Node) -> Any:
        if not self.known:
            return Known("x", self.shape)
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
        if not isinstance(x, Known):
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
        if x.lifted and "Pool" in type(module).__name__:
            return self._made(vote(x, module.kernel_size, module.stride), path, value)
        op, attrs, params = reader(module, x.shape, tuple(value.shape[1:]))
        return self._made(Made(None, value=x) if op == IDENTITY else Made(op, (x,), attrs, params), path, value)

    def _neuron(self, n: fx.Node, path: str, module: nn.Module, x: Known) -> Any:
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
        made = self._made(
            Made("Neuron", (x,), {"kind": kind, "layer": layer, **attrs}, params), path, self.env_value(x)
        )
        return (made, StateOf(layer)) if self.types[path].pair(module) else made

    def env_value(self, x: Known) -> Tensor:
        return torch.empty(self.BATCH, *x.shape)

    def _item(self, n: fx.Node, value: Any) -> Any:
        source, index = self._lookup(n.args)
        if isinstance(source, tuple | list):
            return source[index]
        if isinstance(source, StateOf):
            return source
        if not isinstance(value, Tensor):
            return value
        raise Unsupported(
            f"it takes a part [{index}] of a tensor", "keep tensors whole, or use torch.cat the other way round"
        )

    def _made(self, made: Made, name: str, value: Tensor) -> Any:
        if made.op is None:
            return made.value
        base = name = name.replace(".", "_")
        count = 1
        while name in self.names:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        shape = made.inputs[0].shape if made.op == "Neuron" else tuple(int(s) for s in value.shape[1:])
        if made.op == "Vote":
            shape = (made.inputs[0].shape[0] // (made.attrs or {})["voters"],)
        inputs = tuple(x.node for x in made.inputs)
        node = Node(name, made.op, inputs, shape, made.attrs or {}, made.params or {})
        self.nodes.append(node)
        self.traced.nodes.append((None, node))
        return Known(name, shape, made.lifted)

    def _output(self, n: fx.Node) -> Any:
        found = self._lookup(n.args)[0]
        first, *rest = found if isinstance(found, tuple | list) else (found,)
        while isinstance(first, tuple):
            first, *more = first
            rest = [*more, *rest]
        flat = list(_flat(rest))
        if not all(isinstance(state, StateOf) or state is None for state in flat):
            raise Unsupported("it returns several outputs", "return one, and behind it states of neurons only")
        if not isinstance(first, Known):
            raise Unsupported("its first output is not made by a layer", "return the spikes, currents or votes first")
        if len(first.shape) != 1:
            raise Unsupported(f"it ends with a map {list(first.shape)}", "end with a vector: one number for each class")
        self.traced.returned = [state.layer for state in flat if isinstance(state, StateOf)]
        self.result = first
        return first


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value


# --- the reference ------------------------------------------------------------------------------------------------------


class ModuleReference:
    """The traced module, run node by node, batch 1, one thread; its neurons are the library's own modules.

    Spikes and states are the library's. h, which no library shows, is recomputed by the neuron's equation from the same
    x and state.
    """

    def __init__(self, traced: Traced) -> None:
        assert traced.graph is not None
        self.traced, self.graph = traced, traced.graph
        self.nodes = {n.layer: n for n in self.graph.neurons}
        self.paths = {path: layer for path, layer in traced.neurons.items() if layer in self.nodes}
        self.thresholds = {n.layer: float(n.attrs["v_threshold"]) for n in self.graph.neurons}

    @property
    def layers(self) -> list[str]:
        return list(self.thresholds)

    def initial(self) -> dict[str, Array]:
        return interpret.start(self.graph, 1)

    def run(self, x: Array, state: dict[str, Array] | None = None) -> Trace:
        """T steps of one stream: x [T, 1, ...], from a state or from reset."""
        state = self.initial() if state is None else state
        layers = traces_from(self.graph, state)
        stepper = _Stepper(self.traced.program)
        for path, layer in self.paths.items():
            variables = self.nodes[layer].initial
            stepper.states[path] = {v: torch.from_numpy(np.array(state[state_key(layer, v)])) for v in variables}
        outputs = []
        with torch.no_grad(), _one_thread():
            for x_t in x:
                before = dict(stepper.states)
                out = stepper.step(torch.from_numpy(np.array(x_t, np.float32)))
                outputs.append(_first(out).numpy().copy())
                for path, layer in self.paths.items():
                    current, s, after = stepper.seen[path]
                    node = self.nodes[layer]
                    known = {name: value.numpy() for name, value in before[path].items()}
                    fired = interpret.neuron(node, current.numpy(), known, dict(node.params))
                    values = {name: value.detach().numpy().copy() for name, value in after.items()}
                    note(layers[layer], fired.h, s.numpy() > 0.5, values)
        return Trace(x, np.stack(outputs), layers)

    def check_against(self, module: nn.Module) -> None:
        """The trace must give what the module gives, bit for bit, over a few steps from reset."""
        rng = np.random.default_rng(0)
        x = rng.poisson(1.0, (CHECK_STEPS, 1, *self.graph.input_shape)).astype(np.float32)
        traced = self.run(x).y
        forget(module)
        states: Any = None
        with torch.no_grad(), _one_thread():
            for t, x_t in enumerate(x):
                states, y = _call(module, torch.from_numpy(x_t), states, self.traced, self.graph)
                if not np.array_equal(y.numpy(), traced[t]):
                    raise PlifError(
                        f"{type(module).__name__}: step {t} of the module is not what its layers make, one after the other; "
                        f"it keeps a state that was not found. If it has a neuron of its own, {REGISTER}"
                    )
        forget(module)


def _call(module: nn.Module, x: Tensor, states: Any, traced: Traced, graph: Graph) -> tuple[Any, Tensor]:
    """One step of the module itself, its own way: with hidden states, or with states that it takes and returns."""
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    if traced.fed:  # snnTorch: forward(x, mem1, mem2) -> (y, mem1, mem2)
        if states is None:
            states = {n.layer: torch.zeros(1, *n.shape) for n in graph.neurons}
        out = module(x, *[states[layer] for layer in traced.fed.values()])
        states = {**states, **dict(zip(traced.returned, _flat(out[1:]), strict=False))}
    elif traced.returned and parameters:  # Norse: forward(x, state=None) -> (y, state)
        out = module(x, states)
        states = out[1]
    else:
        out = module(x)
    return states, _first(out)


def _first(out: Any) -> Tensor:
    while isinstance(out, tuple | list):
        out = out[0]
    assert isinstance(out, Tensor)
    return out


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
