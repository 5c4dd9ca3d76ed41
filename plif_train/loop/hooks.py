"""What parts in plif_train/hooks do to a training whose recipe has one of their keys.

Such a part says in its part.py where its keys are (OPTIONS); it acts where one of them has a value, by the Hook of its hook.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import get_type_hints

from plif_train.network.network import Network
from plif_train.recipe import Recipe
from runtime.core.parts import find_parts


class Hook:
    """Base of all: what it leaves out does nothing.

    begin     before any data are read: refuses what cannot be, with PlifError, or changes the network
    start     once the network is where it is trained
    learning  a block in which the optimiser, or a resume file, has the weights
    stepped   after a step of the optimiser
    """

    def __init__(self, net: Network, recipe: Recipe) -> None:
        self.net, self.recipe = net, recipe

    def begin(self) -> None: ...

    def start(self) -> None: ...

    def learning(self) -> AbstractContextManager[None]:
        return nullcontext()

    def stepped(self) -> None: ...


def hooks_of(net: Network, recipe: Recipe) -> list[Hook]:
    """The hooks that a recipe asks for."""
    found: list[Hook] = []
    for part in find_parts("hooks").values():
        if part.options and any(vars(recipe)[name] is not None for name in get_type_hints(part.load(part.options))):
            found.append(part.load("hook:HOOK")(net, recipe))
    return found


@contextmanager
def learning(hooks: Sequence[Hook]) -> Iterator[None]:
    """The blocks of all of them."""
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook.learning())
        yield
