"""What commands share: the options that several of them take, and how a result is printed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from runtime.base.errors import PlifError
from runtime.base.text import say

if TYPE_CHECKING:
    from runtime.api import Model
    from runtime.model.card import Card

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
EngineName = Annotated[
    str,
    typer.Option(help="auto (the fastest here), or one that plif info lists: event, onnxruntime, openvino, torch, ..."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; what the engine is for when not given.")]
Sha256 = Annotated[
    str | None, typer.Option("--sha256", help="Refuse the artifact when its SHA-256 is another. An engine needs it.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all when not given.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Processes, each with its own engine and reader; one a core, where that pays, if not given."
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS|local", help="Workers on a Ray cluster: HOST:PORT of its head, or one made here."),
]

Document = TypeVar("Document")

UNNAMED = (
    "nobody named the classes of this model, so they are numbers in the order of its outputs; "
    "export it with --classes NAME,NAME,..."
)


def show(document: Document, lines: Callable[[Document], Iterable[str]], as_json: bool) -> None:
    """Prints a result on stdout: the document as JSON, or `lines` of it for a person."""
    if as_json:
        print_json(document)
    else:
        say(*lines(document))


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


def say_unnamed(card: Card) -> None:
    """Says on stderr that the classes of a model are numbers, where nobody named them when it was exported."""
    if not card.get("classes_named", True):
        say(f"plif: {UNNAMED}", err=True)


def say_engine(model: Model) -> None:
    """Says on stderr which engine `--engine auto` took, and why."""
    choice = model.engine_choice
    if choice is not None and choice.asked == "auto":
        say(f"plif: {choice.sentence()}", err=True)
