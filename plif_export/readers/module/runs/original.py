"""Whether a module itself does what a copy of it did, and what its own reset leaves.

Whatever else is known of a module comes from copies. A copy has parts, attributes and tensors of its own. What a closure, a hook,
a weak reference or a global refers to is not copied, nor is memory that an array shares with a tensor: it stays the original's,
which stands still while copies run. So the original runs too, over the same steps as a copy: each operation must give the same
bits. Afterwards it is what it was.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from itertools import zip_longest

import torch
from torch import nn

from plif_export.core.readers.rules import Problem
from plif_export.readers.libraries.neurons import reset_as_owner
from plif_export.readers.module.runs.sides import Ran, Watched
from plif_export.readers.tracing.copies import as_form, copy_of, kept_weights
from plif_export.readers.tracing.forms import Form
from plif_export.readers.unseen_state.looks import stored_tensors
from plif_export.readers.unseen_state.world import Surroundings

ADVICE = (
    "what a closure, a hook, a weak reference or an array refers to is not copied with a module: reach it through self, or "
    "through the module that a hook gets"
)
Play = Callable[[Watched], Ran]


@dataclass
class Rollout:
    """Calls of a copy from reset on, which others can make again."""

    watched: Watched
    plays: list[Play] = field(default_factory=list)

    def play(self, play: Play) -> Ran:
        self.plays.append(play)
        return play(self.watched)


def compare_with_copy(module: nn.Module, form: Form, rollouts: Sequence[Rollout]) -> list[Problem]:
    """The problem of a module that does something else than copies of it did. Afterwards it is as it was."""

    def copied() -> tuple[nn.Module, object]:
        """A copy with its weights in the same place in memory, so that sums are the same; and the objects that were copied."""
        memo: dict[int, object] = {id(weight): weight for weight in module.parameters()}
        return copy_of(module, memo), memo.get(id(memo))

    owned = copied()[1]
    around = Surroundings(module, owned if isinstance(owned, list) else [])
    put_weights_back = kept_weights(module, form.module)

    def again(rollout: Rollout, one: nn.Module, wanted: int | None = None) -> Watched:
        try:
            watched = Watched(form, rollout.watched.submodules, as_form(one, form.module), wanted)
            with redirect_stdout(io.StringIO()):
                for play in rollout.plays:
                    play(watched)
            return watched
        finally:
            around.put_back()
            put_weights_back()

    for rollout in rollouts:
        found = again(rollout, module).bits
        if found == rollout.watched.bits:
            continue
        # In other places in memory sums are others, memory that is not written to yet is never the same, and the clock goes on.
        tries = (again(rollout, one).bits for one in (copied()[0], module, copied()[0]))
        rows = enumerate(zip_longest(found, *tries))
        first = next((i for i, (own, one, mine, two) in rows if one == two != own == mine), None)
        if first is not None:
            call, line = again(rollout, module if first < len(found) else copied()[0], first).seen
            what = "step" if form.kind == "step" else "call"
            rule = f"{what} {call} of the module is not what a copy of it does ({line})"
            return [Problem("forward", type(module).__name__, rule, ADVICE)]
    return []


def left_by_reset(ran: nn.Module, start: nn.Module, states: set[str]) -> list[str]:
    """A note on what a module's own reset leaves of its states, where it resets others: PyTorch then starts elsewhere than plif.

    ran  a copy that ran, which is reset;  start: one that did not;  states: names of the tensors that are states
    """

    def changed() -> set[str]:
        now, before = ({name.lstrip("."): each for name, _, each in stored_tensors(one)} for one in (ran, start))
        moved = {name for name in states & now.keys() if bool(now[name].any())}  # zeros of any shape are a reset
        return {name for name in moved if name not in before or not torch.equal(now[name], before[name])}

    used, reset, left = changed(), reset_as_owner(ran), changed()
    if not left or left == used:
        return []
    what = f"your {reset} leaves {', '.join(sorted(left))}: PyTorch's second sample will differ from the file's; reset it, too"
    return [f"{type(ran).__name__}: {what}"]
