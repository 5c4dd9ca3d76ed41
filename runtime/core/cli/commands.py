"""A command's function as Typer has it: what is declared in its signature becomes arguments, options and help.

file: Annotated[Path, Argument("An exported artifact.")]        an argument; a default makes it optional, a list takes several
output: Output                                                  options: the fields of a record (runtime/core/base/options.py)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer._click import Command

from runtime.core.base.options import OfParts, OptionRecord, flag_of, options_of
from runtime.core.parts import options_of_parts


def records_of(command: Callable[..., Any]) -> dict[str, type[OptionRecord]]:
    """The records that a command takes, by the names of its parameters; of parts: PARAMETER.PART."""
    found: dict[str, type[OptionRecord]] = {}
    for name, each in parameters_of(command).items():
        if isinstance(each.annotation, type) and issubclass(each.annotation, OptionRecord):
            found[name] = each.annotation
        elif (kind := _kind_of_parts(each)) is not None:
            found |= {f"{name}.{part}": record for part, record in options_of_parts(kind).items()}
    return found


def _kind_of_parts(own: inspect.Parameter) -> str | None:
    """ "observers" of a parameter that takes the options of observers."""
    said = get_args(own.annotation)[-1] if get_origin(own.annotation) is Annotated else None
    return said.kind if isinstance(said, OfParts) else None


def parameters_of(command: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """With annotations that are no text. typing's own reader makes others of those with a default of None, before Python 3.11."""
    return inspect.signature(command, eval_str=True).parameters


def command_of(name: str, function: Callable[..., Any], about: str) -> Command:
    """The function `name` as a command.  about: what it does."""
    records = records_of(function)
    own = parameters_of(function)
    of_parts = [each for each, one in own.items() if _kind_of_parts(one) is not None]
    arguments = [each for each in own if each not in records and each not in of_parts]

    def call(**said: Any) -> Any:
        # an option that was not given, and may be several times, is None whatever Typer makes of it
        said = {key: [*value] or None if isinstance(value, list | tuple) else value for key, value in said.items()}
        given: dict[str, Any] = {each: {} for each in of_parts} | {each: said[each] for each in arguments}
        for each, record in records.items():
            made = record(**{one.name: said[one.name] for one in options_of(record)})
            key, _, part = each.partition(".")
            if part:
                given[key][part] = made
            else:
                given[key] = made
        return function(**given)

    typed = [_argument(own[each]) for each in arguments]
    options = {each.name: each for record in records.values() for each in _options(record)}
    call.__signature__ = inspect.Signature([*typed, *options.values()])  # type: ignore[attr-defined]
    call.__annotations__ = {}
    alone = plain_typer()
    alone.command(name, help=about, context_settings=getattr(function, "context_settings", None))(call)
    return typer.main.get_command(alone)


def plain_typer(**settings: Any) -> typer.Typer:
    """A Typer that writes text as it is: no markup, no frames, no traceback of its own."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings)


def _argument(own: inspect.Parameter) -> inspect.Parameter:
    kind, said = get_args(own.annotation)
    metavar = said.metavar or own.name.upper() + "..." * (
        list in (get_origin(each) for each in (kind, *get_args(kind)))
    )
    shown = typer.Argument(help=said.help, metavar=metavar, callback=said.callback, show_default=False)
    return own.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, shown])


def _options(record: type[OptionRecord]) -> Iterator[inspect.Parameter]:
    types = get_type_hints(record)
    for each in options_of(record):
        yield _option(each, types[each.name])


def _option(each: Field[Any], declared: Any) -> inspect.Parameter:
    about = each.metadata
    kind = about["typed"] or (str if about["parse"] is not None else declared)
    flags = about["flags"] or [flag_of(each)]
    if not about["flags"] and bool in (kind, *get_args(kind)):
        flags = [f"{flags[0]}/--no-{flags[0][2:]}"]
    shape: dict[str, Any] = {"help": about["help"], "metavar": about["metavar"]}
    if (eager := about["eager"]) is not None:
        shape |= {"is_eager": True, "callback": in_place(eager)}
    default = inspect.Parameter.empty if each.default is MISSING else each.default
    if default is None and NoneType not in get_args(kind):
        kind = kind | None
    shown = typer.Option(*flags, **shape)
    return inspect.Parameter(
        each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown]
    )


def in_place(eager: Callable[[], None]) -> Callable[[bool], None]:
    """Of a flag: does this in place of the command."""

    def do(asked: bool) -> None:
        if asked:
            eager()
            raise typer.Exit

    return do
