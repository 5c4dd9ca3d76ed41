"""The first calls of a user's module in this process, repeated after it was read.

Reading a module runs it many times. What it holds is restored, but a process holds more than can be found: context
variables, statistics of caches, numbers of C, queues, databases. So the module makes its first calls in a fork before
anything else has run it, and the same calls in a fork afterwards. If they differ, calls leave something that later
calls depend on, and no file does the same.

A set of strings has another order in each process. So the calls are made with sets in other orders, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import nn

from plif_export.core.readers.rules import Problem
from plif_export.readers.module_runs.fork import ForkError, can_fork, fork_tensors
from plif_export.readers.module_runs.sides import is_close
from plif_export.readers.tracing.copies import set_evaluation_mode
from plif_export.readers.tracing.forms import list_tensors, make_first_states
from plif_export.readers.unseen_state.world import ObjectGraph
from runtime.native import use_caller_mode

FirstCalls: TypeAlias = Callable[[], tuple[list[Problem], list[str]]]
CALLS = 8
RULE = "its first calls and the same calls after it was read differ (first in call {})"
ADVICE = (
    "something outside of it counts its calls (a context variable, a cache, a C library, a queue, a database): keep "
    "states in tensors of the module"
)
OVERWRITTEN = "its next call writes into what it returned: in PyTorch keep a clone(); a session's outputs stay"
TABLES = (64, 256, 1024, 4096, 16384)  # elements in which the order of a set is tried
ORDER_RULE = "what it gives follows the order of a set of strings, which is another one in each process"


def record_first_calls(module: nn.Module, shape: tuple[int, ...]) -> FirstCalls:
    """Run a module's first calls in a fork; return a function that repeats them, and returns problems and notes.

    shape: of the input of one call. Where a fork cannot run PyTorch, nothing is compared.
    """

    def call(sets: list[set[object]], table: int) -> list[torch.Tensor]:
        generator, answer = torch.Generator().manual_seed(7), list[torch.Tensor]()
        for strings in sets:
            _reorder_set(strings, table)
        set_evaluation_mode(module)
        kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        with torch.no_grad(), use_caller_mode():
            for _ in range(CALLS):
                x = torch.poisson(torch.full(shape, 0.7), generator=generator)
                out = list_tensors(module(x, *make_first_states(module, zeros=True)))
                out = [torch.view_as_real(y) if y.is_complex() else y for y in out]
                kept.append((out[0], out[0].clone()))
                answer.append(torch.cat([y.detach().float().flatten().cpu() for y in out]))
        is_overwritten = any(not torch.equal(y.nan_to_num(), copy.nan_to_num()) for y, copy in kept)
        return [*answer, torch.tensor(is_overwritten)]

    def run(sets: list[set[object]], table: int) -> list[torch.Tensor] | None:
        try:
            return fork_tensors(partial(call, sets, table))
        except ForkError:  # it takes something else than frames of this shape, which is for the reader to say
            return None

    first = run([], 0) if can_fork() else None

    def find_difference(sets: list[set[object]], table: int) -> int | None:
        """Return the number of the first call that does not give what it gave at first; None if there is none."""
        again = None if first is None else run(sets, table)
        if first is None or again is None:
            return None
        pairs = enumerate(zip(first, again, strict=True), 1)
        return next((k for k, (a, b) in pairs if a.shape != b.shape or not bool(is_close(a, b).all())), None)

    def compare() -> tuple[list[Problem], list[str]]:
        name = type(module).__name__
        notes = [f"{name}: {OVERWRITTEN}"] if first is not None and first[-1] else []
        if (number := find_difference([], 0)) is not None:
            return [Problem("forward", name, RULE.format(number), ADVICE)], notes
        sets = _find_sets_of_strings(module) if first is not None else []
        if sets and any(find_difference(sets, table) is not None for table in TABLES):
            return [Problem("forward", name, ORDER_RULE, "use a list, or sorted(..)")], notes
        return [], notes

    return compare


def _find_sets_of_strings(module: nn.Module) -> list[set[object]]:
    reached = ObjectGraph(module).visited.values()
    sets = [value for value in reached if type(value) is set and len(value) > 1]
    return [value for value in sets if all(isinstance(item, str) for item in value)]


def _reorder_set(strings: set[object], table: int) -> None:
    """Put the strings of a set into a table of another size, which gives them another order."""
    items, others = list(strings)[::-1], {f"{i} of no module" for i in range(table)}
    strings.clear()
    strings.update(others)
    strings.update(items)
    for other in others:
        strings.discard(other)  # strings -= others would make the table small again
