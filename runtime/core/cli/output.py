"""Functions that commands share: they open models and print results."""

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
from runtime.core.observers import ExtensibleOptions

if TYPE_CHECKING:
    from runtime.core.api import Model
    from runtime.core.base.declared import OpenOptions

Artifact = Annotated[Path, Argument("An exported artifact, or a model.pt (runs in PyTorch).")]

UNNAMED = (
    "nobody named the classes of this model, so they are numbers in the order of its outputs; "
    "export it with --classes NAME,NAME,..."
)


class Output(OptionRecord):
    """The command-line option --json, and the printing of a command's result."""

    as_json: bool = option("JSON on stdout: one document; of plif stream one object a line.", "--json", default=False)

    def show(self, document: Any, lines: Callable[[], Iterable[str]]) -> None:
        """Print a result on stdout: the document as JSON, or lines of text for a person."""
        if self.as_json:
            print_json(document)
        else:
            say(*lines())


class GateOptions(ExtensibleOptions, by="gates"):
    """The options of observers that receive the outcomes of a command's checks (gates), such as a JUnit report."""

    @contextmanager
    def collect_gates(self, command: str, file: Path) -> Iterator[list[Gate]]:
        """Yield a list for the outcomes of the checks of `plif COMMAND FILE`; at the end pass it to the observers.

        If the command ends with an error and no gate failed, the error becomes a failed gate.
        """
        gates: list[Gate] = []
        suite = f"plif {command} {file}"
        ends = self.call_observers("gates", suite)
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
    """Print one JSON document on stdout. Raises ValueError for NaN, which JSON lacks.

    compact  on one line, flushed at once
    """
    text = json.dumps(document, allow_nan=False, indent=None if compact else 2)
    print(text, flush=compact)


def get_command_line() -> str:
    """Return the command line that the user typed, quoted for a shell."""
    return shlex.join(["plif", *sys.argv[1:]])


def raise_last_problem(problems: Iterable[PlifError]) -> None:
    """Raise the last of several problems after the work is done, and print the others as error lines."""
    errors = [*problems]
    for problem in errors[:-1]:
        say(f"plif: error: {problem}", err=True)
    if errors:
        raise errors[-1]


def open_model(artifact: Path, opening: OpenOptions, resumed_engine: str | None = None, rates: bool = False) -> Model:
    """Open an artifact for a command, and warn on stderr if its classes have no names.

    begun  the engine of a resumed run; used with --engine auto
    """
    from runtime.core.api import load

    import_pytorch(artifact, opening)
    engine = opening.engine if opening.engine != "auto" else resumed_engine or "auto"
    model = load(artifact, **{**vars(opening), "engine": engine, "rates": rates})
    if not model.card.get("classes_named", True):
        say(f"plif: {UNNAMED}", err=True)
    return model


def import_pytorch(artifact: Path, opening: OpenOptions) -> None:
    """Import PyTorch, which takes seconds, if a model will run in it.

    Before any work begins a signal ends the import at once (signals.py).
    """
    from runtime.core.model.artifacts import detect_kind

    with suppress(PlifError, ImportError):  # open_model reports these errors
        if detect_kind(artifact).name == "model":
            import_module("torch")


def print_engine_choice(model: Model) -> None:
    """Print on stderr which engine `--engine auto` chose, and why."""
    choice = model.engine_choice
    if choice is not None and choice.requested == "auto":
        say(f"plif: {choice.sentence()}", err=True)
