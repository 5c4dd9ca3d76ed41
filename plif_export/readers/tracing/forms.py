"""How a module is run for T time-steps: what its forward takes, which axis or number is time, and where its states are.

    sequence   forward takes all steps at once: [T, B, ...], [B, T, ...], [B, C, T, ...], or T and B in one axis
    static     forward takes one image [B, ...] and loops over a number T of its own
    step       forward takes one step [B, ...]; it is called T times, with states inside it or passed by hand

Found by running it: with one more element along an axis, or with one more than a whole number of its own; where the number of
operations grows, that is time. Where a module runs in several forms, the first is taken in which it can be read. Every run is
on a fresh copy, reset by its library's own reset.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.libraries.rewritten import rewrite
from plif_export.readers.tracing.copies import copy_of, fresh, single_step
from plif_export.readers.tracing.nodes import Argument, Given, Overload
from plif_export.readers.tracing.whole_numbers import STEPS_NAMES, Number, has_sizes, mark_sizes, numbers

WAY_OUT = (
    "or write a forward of one step, forward(self, x) for x of one step, states in the neurons, and call it T times"
)
ONE_INPUT = "join them along the channels and split them in forward; keep what does not move in the module"


@dataclass(frozen=True)
class Form:
    """A way to run a module. shape: of one step, without the batch; T: as the example or the module has it."""

    module: nn.Module
    kind: str
    shape: tuple[int, ...]
    axis: int | None = None
    length: Number | None = None
    T: int | None = None
    zeros: bool = False  # states passed by hand start as zeros, not as None

    def copy(self) -> nn.Module:
        return fresh(self.module)

    def steps(self, T: int, batch: int, seed: int = 0, scale: float = 1.0) -> Tensor:
        """Random input, float32: steps [T, B, ...], or an image [B, ...]."""
        generator = torch.Generator().manual_seed(seed)
        one = (batch, *self.shape)
        if self.kind == "static":
            return torch.rand(one, generator=generator) * scale
        return torch.poisson(torch.full((T, *one), 0.7), generator=generator) * scale

    def arranged(self, x: Tensor) -> Given:
        """What `steps` made, [T, B, ...] or [B, ...], as forward takes it: a list of steps, a sequence, or the image."""
        if self.kind == "static":
            return x.clone()
        return [x_t.clone() for x_t in x] if self.kind == "step" else x.movedim(0, self.axis or 0).contiguous()

    def forward(self, T: int, passed: list[object] | None = None) -> Callable[[nn.Module, Given], object]:
        """(copy, input) -> what forward returns over T steps; of the form "step" each tensor stacked along time.

        passed  of the form "step": the states passed by hand, from which it goes on, and then those that it left
        """

        def call(module: nn.Module, x: Given) -> object:
            if isinstance(x, list):
                return _stacked(call_steps(module, x, self.zeros, passed))
            words = self.length.set(module, T) if self.length is not None else {}
            return module(x, **words)

        return call

    @contextmanager
    def during(self, T: int) -> Iterator[None]:
        if self.length is None:
            yield
        else:
            with self.length.during(self.module, T):
                yield


# --- one step a call ------------------------------------------------------------------------------------------------------


def state_arguments(module: nn.Module) -> dict[str, bool]:
    """Arguments of forward behind the input that may be states: those without a default (True), or with None."""
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    none = (inspect.Parameter.empty, None)
    found = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default in none]
    return {p.name: p.default is not None for p in found}


def first_states(module: nn.Module, zeros: bool) -> list[Tensor | None]:
    """What a caller passes for states before the first step: None, or zeros [1] where forward asks for something."""
    return [torch.zeros(1) if zeros and asked else None for asked in state_arguments(module).values()]


def call_steps(
    module: nn.Module, x: list[Tensor], zeros: bool = False, passed: list[object] | None = None
) -> list[object]:
    """Calls forward once for each step [B, ...]. What it returns behind its output it gets back as its states. passed: states
    to go on from, none at first; afterwards those that it left."""
    takes = state_arguments(module)
    passed = [] if passed is None else passed
    passed[:] = passed or first_states(module, zeros)
    outputs = []
    for x_t in x:
        out = module(x_t, *passed)
        outputs.append(tree_map_only(Tensor, torch.clone, out))  # as it is now: the next step may write into it
        back = _given_back(out, len(takes))
        passed[: len(back)] = back
    return outputs


def _given_back(out: object, takes: int) -> list[object]:
    """The states behind an output, as many as forward takes."""
    if not isinstance(out, tuple | list):
        return []
    rest = list(out[1:])
    if len(rest) == 1 < takes and isinstance(rest[0], tuple | list):
        rest = list(rest[0])
    return rest[:takes]


def second_inputs(form: Form) -> list[str]:
    """The arguments that forward asks for and does not give back, so that they are no states."""
    takes = state_arguments(form.module)
    asked = [name for name, needed in takes.items() if needed]
    if form.kind != "step" or not asked:
        return []
    module = form.copy()
    with torch.no_grad():
        out = module(form.steps(1, 1)[0], *first_states(module, form.zeros))
    return asked[len(_given_back(out, len(takes))) :]


def _stacked(outputs: list[object]) -> tuple[Tensor, ...]:
    """What T calls returned, each tensor stacked along a new first axis."""
    columns = zip(*map(tensors_in, outputs), strict=False)
    return tuple(
        torch.stack(list(column)) if all(c.shape == column[0].shape for c in column) else column[-1]
        for column in columns
    )


def tensors_in(out: object) -> list[Tensor]:
    """The tensors of any shape in what forward returned, at any depth."""
    return [each for each in tree_leaves(out) if isinstance(each, Tensor)]


# --- which form ---------------------------------------------------------------------------------------------------------


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.count = 0

    def __torch_dispatch__(
        self, func: Overload, types: object, args: Sequence[Argument] = (), kwargs: Mapping[str, Argument] | None = None
    ) -> object:
        self.count += 1
        return func(*args, **(kwargs or {}))


def _operations(module: nn.Module, x: Tensor, length: Number | None = None, T: int = 1, zeros: bool = False) -> int:
    """How many operations forward is, on a fresh copy."""
    module = fresh(module)
    rewrite(module)
    words = length.set(module, T) if length is not None else {}
    counter = _Counter()
    with torch.no_grad(), counter:
        if length is None:
            module(x, *first_states(module, zeros))
        else:
            with length.during(module, T):
                module(x, **words)
    return counter.count


def _try(module: nn.Module, x: Tensor, length: Number | None = None, T: int = 1, zeros: bool = False) -> int | None:
    try:
        return _operations(module, x, length, T, zeros)
    except Unsupported:
        raise
    except Exception:  # whatever the module's own Python raises on an input that it is not made for
        return None


def _counts(module: nn.Module, x: Tensor, axis: int) -> list[int | None]:
    """Operations for one element more along an axis, and for two more."""
    first = x.narrow(axis, 0, 1)
    return [_try(module, torch.cat((x, *[first] * n), axis)) for n in (1, 2)]


def _grows(module: nn.Module, x: Tensor, axis: int) -> bool:
    """Whether each element along an axis adds operations."""
    one, two = _counts(module, x, axis)
    return one is not None and two is not None and two > one


def _same_for_any(module: nn.Module, x: Tensor, axis: int) -> bool:
    one, two = _counts(module, x, axis)
    return one is not None and one == two


def forms(module: nn.Module, example: Tensor, shape: tuple[int, ...] | None = None) -> Iterator[Form]:
    """The forms in which the module runs, for inputs like the example, the likelier first. shape: of one step, where the caller
    said it.

    Raises Unsupported where there is none, and what forward raised where it runs in no form at all.
    """
    x = torch.rand(example.shape)
    none = True
    for form in _forms(module, x, shape):
        none = False
        yield form
    if none:
        _operations(module, x)
        if x.dim() > 2 and all(_grows(module, x, axis) for axis in (0, 1)):
            rule = (
                "each row of a batch adds operations to forward, as each step does, so that rows are not by themselves"
            )
            raise Unsupported(rule, f"give neurons that take all steps [T, B, ...], not [T * B, ...]; {WAY_OUT}", "")
        rule = f"forward fails with another T, or another batch, than the example has{_why(module, x)}"
        raise Unsupported(rule, f"it must run with any number of steps and of streams; {WAY_OUT}", "")


def _forms(module: nn.Module, x: Tensor, shape: tuple[int, ...] | None, single: bool = True) -> Iterator[Form]:
    """single: whether SpikingJelly's parts may be set to one step a call, which is no form of the module as it is."""

    def fits(form: Form | None) -> bool:
        return form is not None and shape in (None, form.shape)

    found = _form(module, x, whole_example=True)
    whole = found is not None
    if found is None or found.kind == "step":  # a step that loops over an axis of its own is less likely
        for axis in range(2, x.dim()):
            if _grows(module, x, axis) and _same_for_any(module, x, 0):
                form = _sequence(module, x, axis, x.shape[axis])
                if fits(form):
                    single = False
                    yield form
    many = any(
        getattr(part, "step_mode", "s") == "m" or type(part).__name__.endswith("Container") for part in module.modules()
    )
    if not fits(found) or (found is not None and found.kind == "step" and many):
        tries = [(module, x.unsqueeze(0)), (module, x.unsqueeze(1))]  # parts that want all steps at once
        tries += [(single_step(copy_of(module)), x)] if many and single else []
        others = (_form(tried, given, given is x) for tried, given in tries)
        found = next(filter(fits, others), found if fits(found) else None)
    if found is not None:
        single = False
        yield found
    if whole or has_sizes(module):
        return
    for form in _with_sizes(module, x, shape, single):
        if fits(form):
            yield form


def _with_sizes(module: nn.Module, x: Tensor, shape: tuple[int, ...] | None, single: bool) -> Iterator[Form]:
    """Forms of copies in which numbers follow the sizes of the input, where forward runs for any batch only so."""
    found = sorted(dict.fromkeys(numbers(module)), key=lambda each: "batch" not in each.name)
    for sizes, first in _taken_apart({each: each.value(module) for each in found}, len(x)):
        form = _form(mark_sizes(copy_of(module), sizes, apart=True), x.unflatten(0, first), whole_example=True)
        if form is not None and form.kind == "sequence":
            single = False
            yield form
    for number in found:
        for axis in (0, 1) if x.dim() > 2 else (0,):
            marked = mark_sizes(copy_of(module), {axis: number})
            if _try(marked, x) is not None and None not in _counts(marked, x, axis):
                for form in _forms(marked, x, shape, single):
                    single = False
                    yield form


def _taken_apart(values: dict[Number, int], joined: int) -> Iterator[tuple[dict[int, Number], tuple[int, int]]]:
    """({axis: number that is its size}, sizes) of two axes that may be one axis of that size."""
    for number, n in values.items():
        if joined % n == 0:
            yield {0: number}, (n, joined // n)
            yield {1: number}, (joined // n, n)
    for (one, n), (two, m) in permutations(values.items(), 2):
        if n * m == joined:
            yield {0: one, 1: two}, (n, m)


def _why(module: nn.Module, x: Tensor) -> str:
    """What forward raises for one element more along the first axis, in brackets; nothing where it runs."""
    try:
        _operations(module, torch.cat((x, x.narrow(0, 0, 1))))
    except Exception as error:  # whatever the module's own Python raises
        return f" ({' '.join(str(error).split())[:120]})"
    return ""


def _form(module: nn.Module, x: Tensor, whole_example: bool) -> Form | None:
    count = _try(module, x)
    if count is None:
        if whole_example and _try(module, x, zeros=True) is not None:
            return Form(module, "step", tuple(x.shape[1:]), zeros=True)
        return None
    for axis in (0, 1) if x.dim() > 2 else (0,):
        if _grows(module, x, axis):
            if x.dim() == 2 or not _same_for_any(module, x, 1 - axis):
                return None  # there is no axis for the batch
            return _sequence(module, x, axis, x.shape[axis] if whole_example else None)
    if not whole_example or _counts(module, x, 0)[0] is None or _try(module, x.narrow(0, 0, 1)) is None:
        return None
    length = _length(module, x, count)
    if length is not None:
        return Form(module, "static", tuple(x.shape[1:]), length=length, T=length.value(module))
    zeros = any(state_arguments(module).values()) and _try(module, x, zeros=True) is not None
    return Form(module, "step", tuple(x.shape[1:]), zeros=zeros)


def _sequence(module: nn.Module, x: Tensor, axis: int, T: int | None) -> Form:
    """All steps at once, with time in an axis: the other one of the first two is the batch."""
    shape = tuple(n for a, n in enumerate(x.shape) if a not in (axis, 0 if axis else 1))
    return Form(module, "sequence", shape, axis=axis, T=T)


def _length(module: nn.Module, x: Tensor, count: int) -> Number | None:
    found: list[Number] = []
    for each in sorted(dict.fromkeys(numbers(module)), key=lambda each: each.name not in STEPS_NAMES):
        if any(each.name == other.name for other in found):
            continue
        value = each.value(module)
        one, two = (_try(module, x, each, value + n) for n in (1, 2))
        if one is not None and two is not None and two > one > count:
            found.append(each)
            if each.name in STEPS_NAMES:
                break
    if len(found) > 1 and found[0].name not in STEPS_NAMES:
        names = ", ".join(f"'{each.name}'" for each in found)
        raise Unsupported(f"{names} may each be the number of steps", "call that number T")
    return found[0] if found else None
