"""The comparison of a module with its copies, and a note on states that its own reset leaves.

All other knowledge of a module comes from copies. A copy has parts, attributes and tensors of its own. Objects that a
closure, a hook, a weak reference or a global refers to are not copied, nor is memory that an array shares with a
tensor: they stay the original's, which is idle while copies run. So the original runs too, over the same steps as a
copy: each operation must give the same bits. Afterwards the original is restored.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from itertools import zip_longest

import torch
from torch import nn

from plif_export.core.readers.rules import Problem
from plif_export.readers.libraries.neurons import keeps_state, reset_like_user
from plif_export.readers.module_runs.sides import ForwardMonitor, RunValues
from plif_export.readers.step_program.body import NodeValues, StepProgram
from plif_export.readers.step_program.regions import is_inside
from plif_export.readers.tracing.copies import copy_module, prepare_for_form, save_weights
from plif_export.readers.tracing.forms import CallForm
from plif_export.readers.tracing.nodes import TraceNode
from plif_export.readers.unseen_state.looks import iter_module_tensors
from plif_export.readers.unseen_state.world import ObjectGraph

ADVICE = (
    "what a closure, a hook, a weak reference or an array refers to is not copied with a module: reach it through self, or "
    "through the module that a hook gets"
)
Play = Callable[[ForwardMonitor], RunValues]


@dataclass
class Rollout:
    """A sequence of calls on a copy of a module, recorded so that the original module can repeat them."""

    monitor: ForwardMonitor
    plays: list[Play] = field(default_factory=list)

    def play(self, play: Play) -> RunValues:
        """Run calls on the monitored copy of a module, and keep them so that the original can repeat them."""
        self.plays.append(play)
        return play(self.monitor)


def compare_with_copy(module: nn.Module, form: CallForm, rollouts: Sequence[Rollout]) -> list[Problem]:
    """Check that a module computes the same as its copies did in recorded runs; return the problem if not.

    Afterwards the module is restored.
    """

    def make_copy() -> tuple[nn.Module, object]:
        """Copy the module but share its weights in memory, so that sums have the same rounding.

        Returns: the copy, and the objects that were copied.
        """
        memo: dict[int, object] = {id(weight): weight for weight in module.parameters()}
        return copy_module(module, memo), memo.get(id(memo))

    owned = make_copy()[1]
    graph = ObjectGraph(module, owned if isinstance(owned, list) else [])
    restore_weights = save_weights(module, form.module)

    def replay(rollout: Rollout, runner: nn.Module, operation: int | None = None) -> ForwardMonitor:
        try:
            watched = ForwardMonitor(form, rollout.monitor.submodules, prepare_for_form(runner, form.module), operation)
            with redirect_stdout(io.StringIO()):
                for play in rollout.plays:
                    play(watched)
            return watched
        finally:
            graph.restore()
            restore_weights()

    for rollout in rollouts:
        bits = replay(rollout, module).bits
        if bits == rollout.monitor.bits:
            continue
        # Sums depend on the place in memory, unwritten memory is never the same, and the clock goes on.
        tries = (replay(rollout, bits_a).bits for bits_a in (make_copy()[0], module, make_copy()[0]))
        rows = enumerate(zip_longest(bits, *tries))
        first = next(
            (i for i, (own_bits, bits_a, repeated, bits_b) in rows if bits_a == bits_b != own_bits == repeated), None
        )
        if first is not None:
            call, line = replay(rollout, module if first < len(bits) else make_copy()[0], first).target_line
            unit = "step" if form.kind == "step" else "call"
            rule = f"{unit} {call} of the module is not what a copy of it does ({line})"
            return [Problem("forward", type(module).__name__, rule, ADVICE)]
    return []


def list_start_states(
    program: StepProgram, module: nn.Module, final_states: Mapping[TraceNode, str], start: NodeValues, state: NodeValues
) -> list[NodeValues | None]:
    """List the possible states of a module at its next call: those after the last call, reset, or partly reset.

    start, state: the states after a reset, and after the last call. final_states: {node: the module's tensor}.
    Partly reset: the states of submodules, of the module's own tensors, or of its neurons continue.
    """
    neurons = [path for path, part in module.named_modules() if path and keeps_state(part)]
    kinds = (
        {s.before for s in program.states if s.after.path},
        {s.before for s in program.states if s.after in final_states},
        {s.before for s in program.states if any(is_inside(s.after.path, path) for path in neurons)},
    )
    return [state, None, *({**start, **{n: v for n, v in state.items() if n in kind}} for kind in kinds)]


def find_reset_leftovers(ran: nn.Module, start: nn.Module, states: set[str]) -> list[str] | None:
    """Return a note on the states that a module's reset function leaves; None if it has no reset.

    PyTorch then starts the next sample from other states than plif. ran: a copy after a run, which is reset here.
    start: a copy that did not run. states: names of the tensors that are states.
    """

    def changed() -> set[str]:
        after, before = (
            {name.lstrip("."): tensor for name, _, tensor in iter_module_tensors(source)} for source in (ran, start)
        )
        nonzero = {
            name for name in states & after.keys() if bool(after[name].any())
        }  # zeros of any shape count as reset
        return {name for name in nonzero if name not in before or not torch.equal(after[name], before[name])}

    used, values = changed(), {name: tensor.clone() for name, _, tensor in iter_module_tensors(ran)}
    reset, leftover = reset_like_user(ran), changed()
    kept = {name.lstrip(".") for name, _, v in iter_module_tensors(ran) if torch.equal(values.get(name, v), v)}
    if not leftover:
        return []
    if leftover == used <= kept:  # it has no reset
        return None
    note = f"{type(ran).__name__}: your {reset} leaves {', '.join(sorted(leftover))}"
    return [f"{note}: PyTorch's second sample will differ from the file's; reset it, too"]
