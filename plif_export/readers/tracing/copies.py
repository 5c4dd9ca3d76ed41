"""Copies of a module to run: reset, in evaluation mode, what is around them put back; and where in it an error was raised."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch
from torch import Tensor, nn

from plif_export.core.readers.rules import Problem, Unsupported
from plif_export.readers.libraries.neurons import reset_neurons
from plif_export.readers.tracing.whole_numbers import FOLLOWS, follow_sizes
from plif_export.readers.unseen_state.world import INSIDE, Surroundings

_SHARED = "_plif_weights"  # where a copy keeps that its weights are shared
_SINGLE = "_plif_single"  # where a copy keeps that it takes one step a call
_PATH = "_plif_path"  # where a copy keeps the path of each part, for messages
READERS = Path(__file__).parents[1]


class _Shared:
    """Weights that all copies of a module share, and the owner's, which they are set back to before each copy: some modules write
    into their weights when they run. pairs: (theirs, the owner's as they are in memory)"""

    def __init__(self, pairs: list[tuple[nn.Parameter, Tensor]]) -> None:
        self.pairs = pairs

    def __deepcopy__(self, memo: dict[int, object]) -> _Shared:
        return self

    def __reduce__(self) -> tuple[type[_Shared], tuple[list[object]]]:
        return _Shared, ([],)

    def memo(self) -> dict[int, object]:
        """For deepcopy."""
        for mine, owners in self.pairs:
            if not torch.equal(mine, owners.to(mine.device)):
                mine.data.copy_(owners)
        return {id(mine): mine for mine, _ in self.pairs}


def with_shared_weights(module: nn.Module) -> nn.Module:
    """A copy, on the CPU, whose copies all have its weights, not copies of them: so that memory grows with the network once."""
    copied = copy_of(module).cpu()
    if any(hasattr(type(part), "__deepcopy__") for part in module.modules()):
        own, theirs = Surroundings(module).slots, Surroundings(copied).slots
        counts = {
            where for where, slot in own.items() if slot.kind in ("number", "length") and where.startswith(INSIDE)
        }
        for where in counts & theirs.keys():
            if not own[where].same(theirs[where]):
                what = f"a copy of it is another one ({own[where].place.name})"
                raise Unsupported(what, "let __deepcopy__ copy all that it has")
    owners = dict(module.named_parameters())
    vars(copied)[_SHARED] = _Shared([(p, owners[name].detach()) for name, p in copied.named_parameters()])
    return copied


def owners_weights(module: nn.Module) -> dict[str, Tensor]:
    """{name: the owner's weight [...]} of a copy that shares its weights, where that is on the CPU."""
    shared = vars(module).get(_SHARED)
    names = {id(p): name for name, p in module.named_parameters()}
    pairs = shared.pairs if isinstance(shared, _Shared) else []
    return {names[id(mine)]: owners for mine, owners in pairs if owners.device.type == "cpu" and id(mine) in names}


def kept_weights(module: nn.Module, shared: nn.Module) -> Callable[[], None]:
    """What makes the weights of a module what they are now. shared: `with_shared_weights` of it, or a copy of that."""
    vars(shared)[_SHARED].memo()
    weights = [(own, own.requires_grad) for own in module.parameters()]
    pairs = vars(shared)[_SHARED].pairs or [(own.detach().clone(), own.detach()) for own, _ in weights]

    def back() -> None:
        for (own, learns), (mine, owners) in zip(weights, pairs, strict=True):
            if own.data_ptr() != owners.data_ptr():
                own.data = owners
            own.requires_grad_(learns)
            if not torch.equal(mine, owners.to(mine.device)):
                owners.copy_(mine)

    return back


def copy_of(module: nn.Module, memo: dict[int, object] | None = None) -> nn.Module:
    """A deep copy. Tensors that belong to a computation graph are copied detached, because deepcopy refuses them.

    memo: deepcopy's own, in which stands already what is not copied. A class may have a deepcopy of its own that fails (sinabs's
    recurrent layers): then what it holds is copied, by pickle.
    """
    shared = vars(module).get(_SHARED)
    memo = {} if memo is None else memo
    memo |= shared.memo() if isinstance(shared, _Shared) else {}
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
            raise _cannot_copy(module, error) from None
        return copied


def _cannot_copy(module: nn.Module, error: Exception) -> Unsupported:
    """Names what in a module cannot be copied."""
    what = ("it", "")
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            try:
                copy.deepcopy(value if name != "_modules" else None)
            except Exception as own:
                what, error = (f"self.{name} ({type(value).__name__})", path), own
    said = " ".join(str(error).split())[:120]
    return Unsupported(
        f"{what[0]} cannot be copied ({said})", "make it anew where it is used, or take it out before", what[1]
    )


_AROUND: ContextVar[Surroundings | None] = ContextVar("_AROUND", default=None)


@contextmanager
def put_back(module: nn.Module) -> Iterator[None]:
    """Makes all that is reached from a module what it was, after copies of it ran, and before each does."""
    around = Surroundings(module)
    token = _AROUND.set(around)
    try:
        yield
    finally:
        _AROUND.reset(token)
        around.put_back()


def fresh(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode, reset, and what is around it as it was before other copies ran."""
    if (around := _AROUND.get()) is not None:
        around.put_back()
    return _ready(copy_of(module).cpu())


def _ready(module: nn.Module) -> nn.Module:
    module.eval()
    reset_neurons(module)
    for path, part in module.named_modules():
        vars(part)[_PATH] = path
    follow_sizes(module)
    return module


def as_form(module: nn.Module, form: nn.Module) -> nn.Module:
    """Sets a module up as a form's copies are: on the CPU, in evaluation mode, reset, and with the form's changes."""
    vars(module).update({mark: vars(form)[mark] for mark in (FOLLOWS, _SINGLE) if mark in vars(form)})
    module = single_step(module) if _SINGLE in vars(form) else module
    return _ready(module if all(weight.is_cpu for weight in module.parameters()) else module.cpu())


def single_step(module: nn.Module) -> nn.Module:
    """Sets SpikingJelly's parts to step mode 's'. Containers that take many steps only become plain sequences."""
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
    vars(module)[_SINGLE] = True
    return module


class Calls:
    """Which submodule runs, while a module is called: `paths` has those whose forward is running, the innermost last.

    A part that several others share (a surrogate function that is a default argument) counts to the one that calls it.
    """

    def __init__(self, module: nn.Module) -> None:
        self.paths = [""]
        every: dict[int, list[str]] = {}
        for path, part in module.named_modules(remove_duplicate=False):
            every.setdefault(id(part), []).append(path)
        for part in module.modules():
            own = every[id(part)]
            part.register_forward_pre_hook(lambda m, a, own=own: self.enter(own))
            part.register_forward_hook(lambda m, a, o: (self.paths.pop(), None)[1], always_call=True)

    def enter(self, own: list[str]) -> None:
        here = self.paths[-1]
        self.paths.append(next((path for path in own if path.startswith(f"{here}.")), own[0]) if here else own[0])


def failed(module: nn.Module, error: Exception, shape: tuple[int, ...]) -> Problem:
    """The problem of a forward that raised an error, at the innermost module among the frames of its traceback."""
    path, ours = "", False
    frame = error.__traceback__
    while frame is not None:
        owner = frame.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            path = vars(owner).get(_PATH, path)
        code = frame.tb_frame.f_code
        ours = Path(code.co_filename).is_relative_to(READERS) and code.co_name != "__torch_dispatch__"
        frame = frame.tb_next
    if isinstance(error, Unsupported) and error.path is not None:
        path = error.path if error.path != "forward" else ""
    kind_name = type(module.get_submodule(path)).__name__ if path else type(module).__name__
    if isinstance(error, Unsupported):
        return Problem(path or "forward", kind_name, error.rule, error.advice)
    what = " ".join(str(error).split())[:160] or type(error).__name__
    if ours:
        rule = f"it cannot be read ({type(error).__name__}: {what})"
        return Problem("forward", type(module).__name__, rule, "try a simpler form of it")
    advice = f"check that it takes one step of shape [B, {', '.join(map(str, shape))}], or a sequence of them"
    return Problem(path or "forward", kind_name, f"it fails on one time-step ({what})", advice)
