"""Copies of a module to run: reset, in evaluation mode, with surrounding objects restored; and the place of an error."""

from __future__ import annotations

import copy
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from plif_export.core.readers.rules import Problem, Unsupported
from plif_export.readers.libraries.neurons import reset_neurons
from plif_export.readers.tracing.whole_numbers import SIZES_KEY, install_size_hook
from plif_export.readers.unseen_state.world import MODULE_KEY, ObjectGraph

_SHARED_KEY = "_plif_weights"  # attribute of a copy: its shared weights
_SINGLE_STEP_KEY = "_plif_single"  # attribute of a copy that takes one step a call
_PATH_KEY = "_plif_path"  # attribute of each part of a copy: its path, for messages
READERS = Path(__file__).parents[1]


def run_uncompiled() -> AbstractContextManager[None]:
    """Return a context in which functions of torch.compile run as they are written: a recorder sees each operation."""
    loaded = "torch._dynamo" in sys.modules  # a second to import
    return torch.compiler.set_stance("force_eager") if loaded else nullcontext()


class _SharedWeights:
    """The weights of a module that all its copies share, so that memory holds them only once.

    The weights are reset to those of the owner before each copy is made: some modules write into their weights when
    they run. pairs: (shared weight, the owner's weight in memory).
    """

    def __init__(self, pairs: list[tuple[nn.Parameter, Tensor]]) -> None:
        self.pairs = pairs

    def __deepcopy__(self, memo: dict[int, object]) -> _SharedWeights:
        return self

    def __reduce__(self) -> tuple[type[_SharedWeights], tuple[list[object]]]:
        return _SharedWeights, ([],)

    def deepcopy_memo(self) -> dict[int, object]:
        """Return the memo argument for copy.deepcopy with which the copies of a module share its weights."""
        for weight, owner_weight in self.pairs:
            if not torch.equal(weight, owner_weight.to(weight.device)):
                weight.data.copy_(owner_weight)
        return {id(weight): weight for weight, _ in self.pairs}


def share_weights(module: nn.Module) -> nn.Module:
    """Copy a module to the CPU, in such a way that all copies of that copy share the same weights in memory."""
    copied = copy_module(module).cpu()
    if any(hasattr(type(part), "__deepcopy__") for part in module.modules()):
        slots, copied_slots = ObjectGraph(module).slots, ObjectGraph(copied).slots
        counts = {
            key for key, slot in slots.items() if slot.kind in ("number", "length") and key.startswith(MODULE_KEY)
        }
        for key in counts & copied_slots.keys():
            if not slots[key].has_same_value(copied_slots[key]):
                rule = f"a copy of it is another one ({slots[key].location.name})"
                raise Unsupported(rule, "let __deepcopy__ copy all that it has")
    owners = dict(module.named_parameters())
    vars(copied)[_SHARED_KEY] = _SharedWeights([(p, owners[name].detach()) for name, p in copied.named_parameters()])
    return copied


def find_owner_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the original module's weights {name: [...]} for a copy that shares weights, if on the CPU."""
    shared = vars(module).get(_SHARED_KEY)
    names = {id(p): name for name, p in module.named_parameters()}
    pairs = shared.pairs if isinstance(shared, _SharedWeights) else []
    return {
        names[id(weight)]: owner_weight
        for weight, owner_weight in pairs
        if owner_weight.device.type == "cpu" and id(weight) in names
    }


def save_weights(module: nn.Module, shared: nn.Module) -> Callable[[], None]:
    """Return a function that sets the weights of a module back to their present values.

    shared: a copy of the module with shared weights (`share_weights`), or a copy of that.
    """
    vars(shared)[_SHARED_KEY].deepcopy_memo()
    weights = [(weight, weight.requires_grad) for weight in module.parameters()]
    pairs = vars(shared)[_SHARED_KEY].pairs or [(weight.detach().clone(), weight.detach()) for weight, _ in weights]

    def restore_weights() -> None:
        for (weight, learns), (shared_weight, owner_weight) in zip(weights, pairs, strict=True):
            if weight.data_ptr() != owner_weight.data_ptr():
                weight.data = owner_weight
            weight.requires_grad_(learns)
            if not torch.equal(shared_weight, owner_weight.to(shared_weight.device)):
                owner_weight.copy_(shared_weight)

    return restore_weights


def copy_module(module: nn.Module, memo: dict[int, object] | None = None) -> nn.Module:
    """Return a deep copy of a PyTorch module; tensors of an autograd graph are copied detached.

    deepcopy refuses tensors that belong to a computation graph. memo: deepcopy's own; objects in it are not copied. A
    class may have a deepcopy of its own that fails (sinabs's recurrent layers): then its contents are copied by
    pickle.
    """
    shared = vars(module).get(_SHARED_KEY)
    memo = {} if memo is None else memo
    memo |= shared.deepcopy_memo() if isinstance(shared, _SharedWeights) else {}
    for part in module.modules():
        for value in [*vars(part).values(), *part._buffers.values(), *vars(part).get("_memories", {}).values()]:
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:  # whatever a class's own __deepcopy__ raises
        try:
            copied: nn.Module = pickle.loads(pickle.dumps(module))
        except Exception:
            raise _copy_refusal(module, error) from None
        return copied


def _copy_refusal(module: nn.Module, error: Exception) -> Unsupported:
    """Return the error for a module that cannot be copied; it names the attribute that is the cause."""
    culprit = ("it", "")
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            try:
                copy.deepcopy(value if name != "_modules" else None)
            except Exception as failure:
                culprit, error = (f"self.{name} ({type(value).__name__})", path), failure
    message = " ".join(str(error).split())[:120]
    return Unsupported(
        f"{culprit[0]} cannot be copied ({message})", "make it anew where it is used, or take it out before", culprit[1]
    )


_SNAPSHOT: ContextVar[ObjectGraph | None] = ContextVar("_SNAPSHOT", default=None)


@contextmanager
def preserve_module(module: nn.Module) -> Iterator[None]:
    """Restore a module and all objects that it reaches at the end of a with-block, and before each copy in it."""
    graph = ObjectGraph(module)
    token = _SNAPSHOT.set(graph)
    try:
        yield
    finally:
        _SNAPSHOT.reset(token)
        graph.restore()


def find_held_arrays(module: nn.Module, held: Iterable[object] = ()) -> Iterator[Tensor | np.ndarray]:
    """Yield the tensors and arrays [...] that a module holds: in objects of its attributes, in globals, in closures.

    held: further objects around it.
    """
    graph = _SNAPSHOT.get()
    for objects in (held, graph.visited.values() if graph is not None else ()):
        yield from (value for value in objects if isinstance(value, Tensor | np.ndarray))
    visited, waiting = set[int](), [value for part in module.modules() for value in vars(part).values()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor | np.ndarray):
            yield value
        elif id(value) not in visited:
            visited.add(id(value))
            if isinstance(value, dict):
                waiting += value.values()
            elif isinstance(value, list | tuple | set | deque):
                waiting += value
            elif not isinstance(value, nn.Module | type | FunctionType | ModuleType):
                waiting += getattr(value, "__dict__", {}).values()


def make_fresh_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a PyTorch module on the CPU, in evaluation mode, with its states reset."""
    if (graph := _SNAPSHOT.get()) is not None:
        graph.restore()
    return _prepare_copy(copy_module(module).cpu())


def set_evaluation_mode(module: nn.Module) -> None:
    """Put a module into evaluation mode unless it is in it: a second eval() may fold weights a second time."""
    if any(part.training for part in module.modules()):
        module.eval()


def _prepare_copy(module: nn.Module) -> nn.Module:
    set_evaluation_mode(module)
    reset_neurons(module)
    for path, part in module.named_modules():
        vars(part)[_PATH_KEY] = path
    install_size_hook(module)
    return module


def prepare_for_form(module: nn.Module, form: nn.Module) -> nn.Module:
    """Prepare a module for recorded runs: on the CPU, in evaluation mode, with the states of its neurons reset."""
    vars(module).update({mark: vars(form)[mark] for mark in (SIZES_KEY, _SINGLE_STEP_KEY) if mark in vars(form)})
    module = set_single_step(module) if _SINGLE_STEP_KEY in vars(form) else module
    return _prepare_copy(module if all(weight.is_cpu for weight in module.parameters()) else module.cpu())


def set_single_step(module: nn.Module) -> nn.Module:
    """Set the SpikingJelly submodules of a module to step mode 's', which takes one time-step per call.

    Containers that only take many steps become plain sequences.
    """
    for path, part in list(module.named_modules()):
        modes = getattr(part, "supported_step_mode", None)
        if callable(modes) and "s" in modes():
            part.step_mode = "s"
        elif type(part).__name__ in ("MultiStepContainer", "SeqToANNContainer") and isinstance(part, nn.Sequential):
            plain = nn.Sequential(*part.children()).eval()
            if not path:
                module = plain
            else:
                parent, _, last = path.rpartition(".")
                setattr(module.get_submodule(parent), last, plain)
    vars(module)[_SINGLE_STEP_KEY] = True
    return module


class CallStack:
    """The stack of submodules whose forward is running while a PyTorch module is called.

    paths: the submodules with a running forward, the innermost last. A part that several modules share (a surrogate
    function that is a default argument) counts to the module that calls it.
    """

    def __init__(self, module: nn.Module) -> None:
        self.paths = [""]
        paths_of: dict[int, list[str]] = {}
        for path, part in module.named_modules(remove_duplicate=False):
            paths_of.setdefault(id(part), []).append(path)
        for part in module.modules():
            paths = paths_of[id(part)]
            part.register_forward_pre_hook(lambda m, a, paths=paths: self.enter(paths))
            part.register_forward_hook(lambda m, a, o: (self.paths.pop(), None)[1], always_call=True)

    def enter(self, paths: list[str]) -> None:
        caller = self.paths[-1]
        self.paths.append(
            next((path for path in paths if path.startswith(f"{caller}.")), paths[0]) if caller else paths[0]
        )


def locate_failure(module: nn.Module, error: Exception, shape: tuple[int, ...]) -> Problem:
    """Return an error in a module's forward as a problem that names the innermost submodule of its traceback."""
    path, in_reader = "", False
    frame = error.__traceback__
    while frame is not None:
        owner = frame.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            path = vars(owner).get(_PATH_KEY, path)
        code = frame.tb_frame.f_code
        in_reader = Path(code.co_filename).is_relative_to(READERS) and code.co_name != "__torch_dispatch__"
        frame = frame.tb_next
    if isinstance(error, Unsupported) and error.path is not None:
        path = error.path if error.path != "forward" else ""
    kind_name = type(module.get_submodule(path)).__name__ if path else type(module).__name__
    if isinstance(error, Unsupported):
        return Problem(path or "forward", kind_name, error.rule, error.advice)
    message = " ".join(str(error).split())[:160] or type(error).__name__
    if in_reader:
        rule = f"it cannot be read ({type(error).__name__}: {message})"
        return Problem("forward", type(module).__name__, rule, "try a simpler form of it")
    advice = f"check that it takes one step of shape [B, {', '.join(map(str, shape))}], or a sequence of them"
    return Problem(path or "forward", kind_name, f"it fails on one time-step ({message})", advice)
