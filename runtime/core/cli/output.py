"""What commands share: how a model is opened, and how a result is printed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.core.base.errors import Gate, PlifError
from runtime.core.base.options import Argument, OptionRecord, option
from runtime.core.base.text import say
from runtime.core.observers import HeardOptions

if TYPE_CHECKING:
    from runtime.core.api import Model
    from runtime.core.base.declared import Opening

Artifact = Annotated[Path, Argument("An exported artifact, or a model.pt (runs in PyTorch).")]

UNNAMED = (
    "nobody named the classes of this model, so they are numbers in the order of its outputs; "
    "export it with --classes NAME,NAME,..."
)


class Output(OptionRecord):
    """How a command prints its result."""

    as_json: bool = option("JSON on stdout: one document; of plif stream one object a line.", "--json", default=False)

    def show(self, document: Any, lines: Callable[[], Iterable[str]]) -> None:
        """Prints a result on stdout: the document as JSON, or `lines` of it for a person."""
        if self.as_json:
            print_json(document)
        else:
            say(*lines())


class GateOptions(HeardOptions, by="gates"):
    """Who else hears of the gates of a command: observers."""

    @contextmanager
    def told(self, command: str, file: Path) -> Iterator[list[Gate]]:
        """The gates of `plif COMMAND FILE`, to be filled in. Where the command ends with an error, and none of them failed, the
        error is one."""
        gates: list[Gate] = []
        suite = f"plif {command} {file}"
        ends = self.hear("gates", suite)
        try:
            yield gates
        except PlifError as error:
            if not any(gate.failed for gate in gates):
                gates.append(Gate(f"plif {command}", str(error)))
            raise
        finally:
            for end in ends if gates else ():
                end(gates)


def print_json(document: Any, compact: bool = False) -> None:
    """One JSON document on stdout; compact: on one line, flushed at once. Raises ValueError for NaN, which JSON lacks."""
    text = json.dumps(document, allow_nan=False, indent=None if compact else 2)
    print(text, flush=compact)


def command_line() -> str:
    """What the user typed, for a record of it."""
    return shlex.join(["plif", *sys.argv[1:]])


def raise_problems(problems: Iterable[PlifError]) -> None:
    """Raises the last of what went wrong although all was done; the others are lines before it."""
    found = [*problems]
    for problem in found[:-1]:
        say(f"plif: error: {problem}", err=True)
    if found:
        raise found[-1]


def open_model(artifact: Path, opening: Opening, begun: str | None = None, rates: bool = False) -> Model:
    """Opens an artifact; says on stderr that its classes are numbers, where nobody named them when it was exported.

    begun  the engine with which the work was begun, where it goes on and nobody asks for another
    """
    from runtime.core.api import load

    load_pytorch(artifact, opening)
    said = vars(opening) | {"rates": rates}
    model = load(artifact, **(said | {"engine": begun or "auto"} if opening.engine == "auto" else said))
    if not model.card.get("classes_named", True):
        say(f"plif: {UNNAMED}", err=True)
    return model


def load_pytorch(artifact: Path, opening: Opening) -> None:
    """Imports PyTorch, which takes seconds, for a model that will run in it: here, before anything has begun, a signal ends the
    import at once (signals.py)."""
    from runtime.core.model.artifacts import kind_of

    with suppress(PlifError, ImportError):  # said by who opens it
        if kind_of(artifact).name == "model":
            import_module("torch")


def say_engine(model: Model) -> None:
    """Says on stderr which engine `--engine auto` took, and why."""
    choice = model.engine_choice
    if choice is not None and choice.asked == "auto":
        say(f"plif: {choice.sentence()}", err=True)
