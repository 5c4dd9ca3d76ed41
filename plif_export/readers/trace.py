"""The trace of a live module: a copy of it, torch.fx's record of one step, and an interpreter that runs the record.

Layers (layers.py) and neurons (neuron_modules.py) are leaves of the trace; everything else is traced through. While it is
recorded, the trace also runs, on zeros, so that the module's own Python may ask for ranks and sizes.
"""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from plif_export.readers.held_states import Attributes, HeldState
from plif_export.readers.layers import LAYERS, known_as
from plif_export.readers.neuron_modules import NeuronType, is_stateful, neuron_type
from plif_export.readers.rules import Problem
from runtime.model.graph import Graph, Node, Shape
from runtime.model.neurons import equation_of


@dataclass
class ModuleTrace:
    """A module's copy, its trace, and the graph as far as it could be read.

    nodes     for each recorded operation, the problem it has or the node it became
    neurons   path of each neuron module -> its layer's name
    fed       placeholders beyond the first -> the layer whose state they are
    returned  layers whose states the module returns behind its output, in order
    held      attributes in which the module's own code keeps states of neurons from call to call
    """

    module: nn.Module
    program: fx.GraphModule
    nodes: list[Problem | Node] = field(default_factory=list)
    graph: Graph | None = None
    neurons: dict[str, str] = field(default_factory=dict)
    fed: dict[str, str] = field(default_factory=dict)
    returned: list[str] = field(default_factory=list)
    held: list[HeldState] = field(default_factory=list)

    def restart(self) -> None:
        """Puts the copy back where it was before its first step."""
        reset_neurons(self.module)
        for attribute in self.held:
            attribute.restore()


# --- the copy -----------------------------------------------------------------------------------------------------------


def copy_of(module: nn.Module) -> nn.Module:
    """A deep copy. Tensors that belong to a computation graph are copied detached, because deepcopy refuses them."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in [*vars(part).values(), *part._buffers.values(), *vars(part).get("_memories", {}).values()]:
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo)


def single_step(module: nn.Module) -> nn.Module | Problem:
    """Puts SpikingJelly's modules into step mode 's'; containers that only take many steps become plain sequences."""
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


def reset_neurons(module: nn.Module) -> None:
    """Resets every neuron of a module."""
    for part in module.modules():
        found = neuron_type(part)
        if found is not None:
            found.reset(part)
        elif is_stateful(part) and callable(getattr(part, "reset", None)):
            part.reset()  # type: ignore[operator]


# --- the trace ----------------------------------------------------------------------------------------------------------


class _ShapedProxy(fx.Proxy):
    """A traced value whose rank and sizes are known, all but the batch, so that plain Python may look at them."""

    def __init__(self, node: fx.Node, tracer: Tracer) -> None:
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
    """Inside, modules that are called just run, although torch.fx is tracing."""
    traced = nn.Module.__call__, nn.Module.__getattr__
    nn.Module.__call__, nn.Module.__getattr__ = _CALL, _GETATTR  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__, nn.Module.__getattr__ = traced  # type: ignore[method-assign]


class Tracer(fx.Tracer):
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
        return _ShapedProxy(node, self) if isinstance(value, Tensor) and value.dim() else fx.Proxy(node, self)

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


def traced_program(module: nn.Module, shape: Shape) -> tuple[fx.GraphModule, list[HeldState], list[Problem]]:
    """The record of one step on an input [B, *shape], and the attributes that the step left a traced value in.

    A state of a neuron that the module keeps is a HeldState: whether it is handed on rightly is proved by running the
    module. Anything else would be lost, and is a problem. Arguments with a default (Norse's start state) keep the default.
    """
    parameters = list(inspect.signature(module.forward).parameters.values())
    fixed = {p.name: p.default for p in parameters[1:] if p.default is not inspect.Parameter.empty}
    tracer, attributes = Tracer(shape), Attributes(module)
    if tracer.is_leaf_module(module, ""):
        module = nn.Sequential(module)
    with torch.no_grad():
        graph = tracer.trace(module, concrete_args=fixed or None)
    held, problems = attributes.traced(tracer.root)
    return fx.GraphModule(tracer.root, graph), held, problems


def trace_problem(module: nn.Module, error: Exception) -> Problem:
    """The problem of a trace that raised an error, at the innermost module among the frames of its traceback."""
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


class Stepper(fx.Interpreter):
    """Runs a trace for one step. The neurons are the library's own modules, which step from the states kept here.

    states  path of a neuron module -> {variable: float32 [B, ...]}
    seen    path -> (current x, spikes s, states after the step) of the last step, all float32 [B, ...]
    """

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
        self.seen: dict[str, tuple[Tensor, Tensor, dict[str, Tensor]]] = {}

    def step(self, x: Tensor) -> Any:
        """One step on x, float32 [B, ...]; returns what the module's forward returns."""
        self.seen = {}
        _, *others = [node for node in self.program.graph.nodes if node.op == "placeholder"]
        return self.run(x, *[None] * len(others))

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target not in self.types:
            return super().call_module(target, args, kwargs)
        module, kind, x = self.program.get_submodule(target), self.types[target], args[0]
        s, after = kind.step(module, x, self.state_of(target, x))
        self.seen[target] = (x.clone(), s.clone(), after)  # a later operation may work on them in place
        self.states[target] = after
        return (s, after) if kind.pair(module) else s

    def state_of(self, target: str, x: Tensor) -> dict[str, Tensor]:
        """The present state of a neuron module; where it has none, its start for currents like x, float32 [B, ...]."""
        if target not in self.states:
            self.states[target] = start_of(self.types[target], self.program.get_submodule(target), x)
        return self.states[target]


def start_of(kind: NeuronType, module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The state of a neuron layer before its first step: {variable: float32 [B, ...]}, shaped like its current x."""
    name, attrs, _ = kind.read(module)
    return {variable: torch.full_like(x, value) for variable, value in equation_of(name).initial(attrs).items()}


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def flat(values: Any) -> Iterator[Any]:
    """What lists and tuples hold, at any depth. A named tuple, such as the state of a Norse neuron, is one value."""
    for value in values:
        if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
            yield from flat(value)
        else:
            yield value


def first_output(out: Any) -> Tensor:
    """What forward returned, without the states behind it."""
    while isinstance(out, tuple | list):
        out = out[0]
    assert isinstance(out, Tensor)
    return out
