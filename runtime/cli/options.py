"""From declared options (runtime/base/options.py) to Typer: a command takes records, and gets them read and checked.

    def send(source: Annotated[str, typer.Argument(help="A recording.")], how: SendOptions, output: Output) -> None:
        sent = run(source, **vars(how))

Each option of a record is an option of the command: --speed, --each, with the field's default and help.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from runtime.base.options import Options, flag_of, options_of


def records_of(command: Callable[..., Any]) -> dict[str, type[Options]]:
    """The records that a command takes, by the names of its parameters."""
    hints = get_type_hints(command)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Options)}


def typer_command(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same command as Typer takes it; one without records is as it was."""
    records = records_of(command)
    if not records:
        return command
    own = inspect.signature(command, eval_str=True).parameters

    @wraps(command)
    def call(**said: Any) -> Any:
        given = {name: value for name, value in said.items() if name in own}
        for name, record in records.items():
            given[name] = record(**{each.name: said[each.name] for each in options_of(record)})
        return command(**given)

    found = {one.name: one for each in own.values() for one in _parameters(each, records.get(each.name))}
    parameters = [*found.values()]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


def _parameters(own: inspect.Parameter, record: type[Options] | None) -> Iterator[inspect.Parameter]:
    if record is None:
        yield own.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    types = get_type_hints(record)
    for each in options_of(record):
        default = inspect.Parameter.empty if each.default is MISSING else each.default
        kind = _annotation(each, types[each.name])
        yield inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _annotation(each: Field[Any], declared: Any) -> Any:
    about = each.metadata
    kind = about["typed"] or (str | None if about["parse"] is not None else declared)
    flags = about["flags"] or [flag_of(each)]
    return Annotated[kind, typer.Option(*flags, help=about["help"], metavar=about["metavar"])]
