"""Sizes of the input that a module's code compares: x.shape[0] > 64, numel() > 500, shape[0] in {37, 40}.

The user's own module runs once with sizes that know how they follow from the number of rows and of steps. Their
comparisons are logged, and evaluated for every other number. So the numbers at which one changes its outcome are
computed, and the module is run there. A size that the code hashes or takes the len() of is not followed: then the
whole numbers of the code and of its objects are tried.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from plif_export.readers.module_runs.fork import ForkError, can_fork, fork_call
from plif_export.readers.step_program.reading import ModuleReading
from plif_export.readers.tracing.copies import prepare_for_form
from plif_export.readers.unseen_state.generators import Anything
from plif_export.readers.unseen_state.later import ComparisonLog
from plif_export.readers.unseen_state.looks import find_source_line, is_user_code
from plif_export.readers.unseen_state.world import ObjectGraph

NUMBERS = [*range(1, 4097), *(2**p for p in range(13, 24))]  # of rows, and of steps
MAX_NUMBERS = 24  # that are tried at most
MAX_VALUES = 30_000_000  # numbers of an input that is tried
LENGTHS = (11, 13, 17, 19, 23)  # of the run that logs: the first that is no other size in the module
_TENSOR = torch._tensor.__file__
STEPS = 3  # of the run that logs, one step a call
SIZES = ("size", "numel", "nelement")
PLACES = ("is_contiguous", "stride", "storage_offset", "_is_view", "is_set_to")
ATTRIBUTES = {"shape": True, "nbytes": True, "_base": False, "_version": False, "grad_fn": False, "is_leaf": False}


@dataclass
class ComparedSizes:
    """The numbers of rows and of steps at which a comparison in a module's code changes; and those not tried."""

    batches: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    not_tried: list[str] = field(default_factory=list)


class _SizeReads(TorchFunctionMode):
    """A mode that gives a module's own code sizes which log their comparisons.

    number: of rows or of steps in this run, of which other sizes are multiples.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.log, self.lines = number, ComparisonLog(), dict[str, None]()
        self.opaque: str | None = None

    def __torch_function__(
        self, func: Anything, types: object, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
    ) -> Anything:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(getattr(func, "__self__", None), "__name__", "")
        is_size = name in SIZES or ATTRIBUTES.get(name, False)
        if not (is_size or name == "__len__" or name in PLACES or name in ATTRIBUTES):
            return out
        caller = sys._getframe(1)
        while caller.f_back is not None and caller.f_code.co_filename in (_TENSOR, torch.overrides.__file__):
            caller = caller.f_back
        if not is_user_code(caller.f_code):
            return out
        if name == "__len__":
            if out % self.number == 0:
                self.opaque = find_source_line()
        elif not is_size:
            self.lines[f"what {name} of a tensor says ({find_source_line()})"] = None
        elif isinstance(out, tuple):
            return torch.Size([self.follow(size, name) for size in out])
        else:
            return self.follow(out, name)
        return out

    def follow(self, size: int, name: str) -> Anything:
        """Wrap a size that is a multiple of the number of rows or steps; return others unchanged."""
        if not size or size % self.number:
            return size
        factor = size // self.number
        return self.log.track_number(name, size, lambda k: factor * k)


def find_compared_sizes(module: nn.Module, reading: ModuleReading) -> ComparedSizes:
    """Find the numbers of rows and steps at which a comparison of sizes in a module's code changes its outcome."""
    found, form = ComparedSizes(), reading.form
    if not can_fork():
        found.not_tried.append("sizes of batches that the code compares")
        return found
    batch = reading.program.batch
    sizes = {size for node in reading.program.body for size in node.shape}
    length = next((n for n in LENGTHS if n != batch and not any(size and size % n == 0 for size in sizes)), LENGTHS[0])
    for number in (batch, length)[: 1 + (form.kind != "step")]:
        T = STEPS if form.kind == "step" else length
        flips, opaque, lines = _log_comparisons(module, reading, number, batch, T)
        found.not_tried += [line for line in lines if line not in found.not_tried]
        if opaque:
            graph = ObjectGraph(module)
            numbers = graph.numbers | {slot.value for slot in graph.slots.values() if type(slot.value) is int}
            near = sorted({n + d for n in numbers for d in (0, 1) if 1 < n + d <= NUMBERS[-1]})
            flips |= {n: opaque for n in near if n not in flips}
        one = prod(form.shape) * (T if number == batch else 1)
        small = [n for n in sorted(flips) if n * one <= MAX_VALUES][:MAX_NUMBERS]
        (found.batches if number == batch else found.lengths).extend(small)
        unit = "rows" if number == batch else "steps"
        left = [n for n in sorted(flips) if n not in small]
        if left:
            found.not_tried.append(f"{left[0]} {unit} and more ({flips[left[0]]})")
    return found


def _log_comparisons(
    module: nn.Module, reading: ModuleReading, number: int, batch: int, T: int
) -> tuple[dict[int, str], str | None, list[str]]:
    """Run a user's module in a fork, and log the comparisons of sizes that are multiples of a number.

    Returns: {number at which one changes: its line}, the line that reads a size which is not followed, and lines for
    what else the code asks about the memory of tensors.
    """
    form = reading.form

    def call() -> bytes:
        runner = prepare_for_form(module, form.module)
        x = form.make_input(T, batch)
        with form.set_length(T), torch.no_grad(), _SizeReads(number) as reads:
            form.make_call(T)(runner, form.arrange_input(x))
        flips: dict[int, str] = {}
        for name in dict.fromkeys(entry.source_line for entry in reads.log):
            own = ComparisonLog(entry for entry in reads.log if entry.source_line == name)
            flips |= {n: name for n in own.find_flips(NUMBERS) if n not in flips}
        return json.dumps([list(flips.items()), reads.opaque or reads.log.hashed, list(reads.lines)]).encode()

    try:
        pairs, opaque, lines = json.loads(fork_call(call))
    except ForkError:  # a subclass of int, or the mode: what the code does with sizes is not known
        return {}, "its sizes", []
    return {int(n): str(line) for n, line in pairs}, opaque, lines
