"""The calling form of a module: its input, the axis or number that is time, and the place of its states.

sequence: forward takes all steps at once: [T, B, ...], [B, T, ...], [B, C, T, ...], or T and B in one axis.
static: forward takes one image [B, ...] and loops over a number T of its own.
step: forward takes one step [B, ...]; it is called T times, with states inside it or passed by the caller.

The form is found by runs with one more element along an axis, or with a number of the module increased by one. If the
number of operations grows, that axis or number is time. If a module runs in several forms, the first one that can be
read is taken. Every run is on a fresh copy, reset by its library's own reset.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.libraries.rewritten import rewrite_forwards
from plif_export.readers.tracing.copies import copy_module, make_fresh_copy, set_single_step
from plif_export.readers.tracing.nodes import Argument, ForwardInput, Overload
from plif_export.readers.tracing.whole_numbers import (
    STEPS_NAMES,
    SizeNumber,
    find_size_numbers,
    has_marked_sizes,
    mark_sizes,
    split_axis,
)

SINGLE_STEP_ADVICE = (
    "or write a forward of one step, forward(self, x) for x of one step, states in the neurons, and call it T times"
)
ONE_INPUT_ADVICE = "join them along the channels and split them in forward; keep what does not move in the module"


@dataclass(frozen=True)
class CallForm:
    """A way to call a PyTorch module over T time-steps: step by step, as a sequence, or with a static image.

    shape: of one step, without the batch. T: of the example or the module.
    """

    module: nn.Module
    kind: str
    shape: tuple[int, ...]
    axis: int | None = None
    length: SizeNumber | None = None
    T: int | None = None
    zeros: bool = False  # states passed by hand start as zeros, not as None

    def copy(self) -> nn.Module:
        return make_fresh_copy(self.module)

    def make_input(self, T: int, batch: int, seed: int = 0, scale: float = 1.0) -> Tensor:
        """Make random input for a module, as T steps [T, B, ...] or a static image [B, ...], float32."""
        generator = torch.Generator().manual_seed(seed)
        step_shape = (batch, *self.shape)
        if self.kind == "static":
            return torch.rand(step_shape, generator=generator) * scale
        return torch.poisson(torch.full((T, *step_shape), 0.7), generator=generator) * scale

    def arrange_input(self, x: Tensor) -> ForwardInput:
        """Arrange input [T, B, ...] or [B, ...] as a module takes it: a list of steps, a sequence, or one image."""
        if self.kind == "step":
            return [x_t.clone() for x_t in x]
        has_gaps = not x.is_contiguous()
        x = x if self.kind == "static" else x.movedim(0, self.axis or 0)
        return x if has_gaps else x.clone(memory_format=torch.contiguous_format)

    def make_call(self, T: int, passed: list[object] | None = None) -> Callable[[nn.Module, ForwardInput], object]:
        """Return a function (module, input) that runs the module's forward over T steps and returns its outputs.

        In the form "step" each tensor is stacked along time. passed: in the form "step", the states to resume from;
        the function replaces them by the states after the last step.
        """

        def call(module: nn.Module, x: ForwardInput) -> object:
            if isinstance(x, list):
                return _stack_outputs(call_steps(module, x, self.zeros, passed))
            keywords = self.length.set_value(module, T) if self.length is not None else {}
            return module(x, **keywords)

        return call

    @contextmanager
    def set_length(self, T: int) -> Iterator[None]:
        if self.length is None:
            yield
        else:
            with self.length.override(self.module, T):
                yield


def find_state_arguments(module: nn.Module) -> dict[str, bool]:
    """Return the arguments of forward that may be states (no default, or None): {name: required or not}."""
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    no_value = (inspect.Parameter.empty, None)
    candidates = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default in no_value]
    return {p.name: p.default is not None for p in candidates}


def make_first_states(module: nn.Module, zeros: bool) -> list[Tensor | None]:
    """Return the states to pass to a module's forward at the first step: None, or zeros [1] if required."""
    return [torch.zeros(1) if zeros and required else None for required in find_state_arguments(module).values()]


def call_steps(
    module: nn.Module, x: list[Tensor], zeros: bool = False, passed: list[object] | None = None
) -> list[object]:
    """Call a module's forward on each step [B, ...] and pass its states on; `passed` keeps the last states."""
    arguments = find_state_arguments(module)
    passed = [] if passed is None else passed
    passed[:] = passed or make_first_states(module, zeros)
    outputs = []
    for x_t in x:
        out = module(x_t, *passed)
        outputs.append(tree_map_only(Tensor, torch.clone, out))  # cloned, because the next step may write into it
        back = _returned_states(out, len(arguments))
        passed[: len(back)] = back
    return outputs


def _returned_states(out: object, count: int) -> list[object]:
    """Return the states that a module's forward returned after its output, at most `count` of them."""
    if not isinstance(out, tuple | list):
        return []
    states = list(out[1:])
    if len(states) == 1 < count and isinstance(states[0], tuple | list):
        states = list(states[0])
    return states[:count]


def find_extra_inputs(form: CallForm) -> list[str]:
    """List the required arguments of forward that are further inputs, not states: forward does not return them."""
    arguments = find_state_arguments(form.module)
    required = [name for name, is_required in arguments.items() if is_required]
    if form.kind != "step" or not required:
        return []
    module = form.copy()
    with torch.no_grad():
        out = module(form.make_input(1, 1)[0], *make_first_states(module, form.zeros))
    return required[len(_returned_states(out, len(arguments))) :]


def _stack_outputs(outputs: list[object]) -> tuple[Tensor, ...]:
    """Stack each tensor that T calls of a module returned along a new first axis (time)."""
    columns = zip(*map(list_tensors, outputs), strict=False)
    return tuple(
        torch.stack(list(column)) if all(c.shape == column[0].shape for c in column) else column[-1]
        for column in columns
    )


def list_tensors(out: object) -> list[Tensor]:
    """List all tensors [...] in the return value of a module's forward, at any depth of nesting."""
    return [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]


class _OperationCounter(TorchDispatchMode):
    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.count = 0

    def __torch_dispatch__(
        self, func: Overload, types: object, args: Sequence[Argument] = (), kwargs: Mapping[str, Argument] | None = None
    ) -> object:
        self.count += 1
        return func(*args, **(kwargs or {}))


def _count_operations(
    module: nn.Module, x: Tensor, length: SizeNumber | None = None, T: int = 1, zeros: bool = False
) -> int:
    """Count the PyTorch operations that a module's forward runs on an input, in a fresh copy of the module."""
    module = make_fresh_copy(module)
    rewrite_forwards(module)
    keywords = length.set_value(module, T) if length is not None else {}
    counter = _OperationCounter()
    with torch.no_grad(), counter:
        if length is None:
            module(x, *make_first_states(module, zeros))
        else:
            with length.override(module, T):
                module(x, **keywords)
    return counter.count


def _try_count(
    module: nn.Module, x: Tensor, length: SizeNumber | None = None, T: int = 1, zeros: bool = False
) -> int | None:
    try:
        return _count_operations(module, x, length, T, zeros)
    except Unsupported:
        raise
    except Exception:  # whatever the module's own Python raises on an input that it is not made for
        return None


def _count_for_longer(module: nn.Module, x: Tensor, axis: int) -> list[int | None]:
    """Count the operations of forward on an input that is longer along an axis by one element, two, and three."""
    longer = (torch.cat((x, *[x.narrow(axis, 0, 1)] * n), axis) for n in (1, 2, 3))
    return [_try_count(module, x) for x in longer]  # a state of as many rows, left from a call, makes one count smaller


def _grows_with_axis(module: nn.Module, x: Tensor, axis: int) -> bool:
    """Return whether each further element along an axis of the input makes forward run more operations."""
    counts = _count_for_longer(module, x, axis)
    return all(a is not None and b is not None and b > a for a, b in pairwise(counts))


def _is_constant_along(module: nn.Module, x: Tensor, axis: int) -> bool:
    *_, longer, longest = _count_for_longer(module, x, axis)
    return longer is not None and longer == longest


def find_forms(module: nn.Module, example: Tensor, shape: tuple[int, ...] | None = None) -> Iterator[CallForm]:
    """Find the ways to call a module over time (step by step, sequence, one image), the most likely first.

    shape: of one step, if the caller named it. Raises Unsupported if no form works, or forward's error if none runs.
    """
    x = torch.rand(example.shape)
    is_unreadable = True
    for form in _search_forms(module, x, shape):
        is_unreadable = False
        yield form
    if is_unreadable:
        _count_operations(module, x)
        if x.dim() > 2 and all(_grows_with_axis(module, x, axis) for axis in (0, 1)):
            rule = "each row of a batch adds operations to forward, as each step does: rows are not by themselves"
            advice = f"give neurons that take all steps [T, B, ...], not [T * B, ...]; {SINGLE_STEP_ADVICE}"
            raise Unsupported(rule, advice, "")
        rule = f"forward fails with another T, or another batch, than the example has{_describe_failure(module, x)}"
        raise Unsupported(rule, f"it must run with any number of steps and of streams; {SINGLE_STEP_ADVICE}", "")


def _search_forms(
    module: nn.Module, x: Tensor, shape: tuple[int, ...] | None, single: bool = True
) -> Iterator[CallForm]:
    """Search for the ways to call a module over time that fit an example input.

    single: whether SpikingJelly's parts may be set to one step a call, which changes the module.
    """

    def fits(form: CallForm | None) -> bool:
        return form is not None and shape in (None, form.shape)

    best = _find_form(module, x, whole_example=True)
    from_example = best is not None
    if best is None or best.kind == "step":  # a step that loops over an axis of its own is less likely
        for axis in range(2, x.dim()):
            if _grows_with_axis(module, x, axis) and _is_constant_along(module, x, 0):
                form = _sequence_form(module, x, axis, x.shape[axis])
                if fits(form):
                    single = False
                    yield form
    is_multi_step = any(
        getattr(part, "step_mode", "s") == "m" or type(part).__name__.endswith("Container") for part in module.modules()
    )
    if not fits(best) or (best is not None and best.kind == "step" and is_multi_step):
        variants = [(module, x.unsqueeze(0)), (module, x.unsqueeze(1))]  # parts that want all steps at once
        variants += [(set_single_step(copy_module(module)), x)] if is_multi_step and single else []
        alternatives = (_find_form(variant, example, example is x) for variant, example in variants)
        best = next(filter(fits, alternatives), best if fits(best) else None)
    if best is not None:
        single = False
        yield best
    if from_example or has_marked_sizes(module):
        return
    for form in _search_sized_forms(module, x, shape, single):
        if fits(form):
            yield form


def _search_sized_forms(
    module: nn.Module, x: Tensor, shape: tuple[int, ...] | None, single: bool
) -> Iterator[CallForm]:
    """Search for ways to call a module whose code fixes its batch size or number of steps, with these set to fit."""
    candidates = sorted(dict.fromkeys(find_size_numbers(module)), key=lambda candidate: "batch" not in candidate.name)
    for sizes, first in split_axis({candidate: candidate.read_value(module) for candidate in candidates}, len(x)):
        form = _find_form(mark_sizes(copy_module(module), sizes, split=True), x.unflatten(0, first), whole_example=True)
        if form is not None and form.kind == "sequence":
            single = False
            yield form
    for number in candidates:
        for axis in (0, 1) if x.dim() > 2 else (0,):
            marked = mark_sizes(copy_module(module), {axis: number})
            if _try_count(marked, x) is not None and None not in _count_for_longer(marked, x, axis):
                for form in _search_forms(marked, x, shape, single):
                    single = False
                    yield form


def _describe_failure(module: nn.Module, x: Tensor) -> str:
    """Return the error message of forward on a longer input, in brackets; an empty string if it does not fail."""
    try:
        _count_operations(module, torch.cat((x, x.narrow(0, 0, 1))))
    except Exception as error:  # whatever the module's own Python raises
        return f" ({' '.join(str(error).split())[:120]})"
    return ""


def _find_form(module: nn.Module, x: Tensor, whole_example: bool) -> CallForm | None:
    count = _try_count(module, x)
    if count is None:
        if whole_example and _try_count(module, x, zeros=True) is not None:
            return CallForm(module, "step", tuple(x.shape[1:]), zeros=True)
        return None
    for axis in (0, 1) if x.dim() > 2 else (0,):
        if _grows_with_axis(module, x, axis):
            if x.dim() == 2 or not _is_constant_along(module, x, 1 - axis):
                return None  # there is no axis for the batch
            return _sequence_form(module, x, axis, x.shape[axis] if whole_example else None)
    if not whole_example or _count_for_longer(module, x, 0)[0] is None or _try_count(module, x.narrow(0, 0, 1)) is None:
        return None
    length = _find_length(module, x, count)
    if length is not None:
        return CallForm(module, "static", tuple(x.shape[1:]), length=length, T=length.read_value(module))
    zeros = any(find_state_arguments(module).values()) and _try_count(module, x, zeros=True) is not None
    return CallForm(module, "step", tuple(x.shape[1:]), zeros=zeros)


def _sequence_form(module: nn.Module, x: Tensor, axis: int, T: int | None) -> CallForm:
    """Return the call form that takes all steps at once, time in `axis`; the batch is the other of axes 0 and 1."""
    shape = tuple(n for a, n in enumerate(x.shape) if a not in (axis, 0 if axis else 1))
    return CallForm(module, "sequence", shape, axis=axis, T=T)


def _find_length(module: nn.Module, x: Tensor, count: int) -> SizeNumber | None:
    lengths: list[SizeNumber] = []
    for number in sorted(dict.fromkeys(find_size_numbers(module)), key=lambda number: number.name not in STEPS_NAMES):
        if any(number.name == accepted.name for accepted in lengths):
            continue
        value = number.read_value(module)
        longer, longest = (_try_count(module, x, number, value + n) for n in (1, 2))
        if longer is not None and longest is not None and longest > longer > count:
            lengths.append(number)
            if number.name in STEPS_NAMES:
                break
    if len(lengths) > 1 and lengths[0].name not in STEPS_NAMES:
        names = ", ".join(f"'{number.name}'" for number in lengths)
        raise Unsupported(f"{names} may each be the number of steps", "call that number T")
    return lengths[0] if lengths else None
