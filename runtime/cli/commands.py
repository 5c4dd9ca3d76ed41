"""A command's function as click has it: what is declared in its signature becomes arguments, options and help.

file: Annotated[Path, Argument("An exported artifact.")]        an argument; a default makes it optional, a list takes several
output: Output                                                  options: the fields of a record (runtime/base/options.py)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import click

from runtime.base.options import OfParts, OptionRecord, flag_of, options_of
from runtime.core.parts import options_of_parts


class NamedArgument(click.Argument):
    """An argument with a line in the help of its command; click has that since 8.5."""

    about = ""


class Command(click.Command):
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(each.human_readable_name, each.about) for each in self.params if isinstance(each, NamedArgument)]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        super().format_options(ctx, formatter)


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
    kinds = {each: _kind_of_parts(one) for each, one in own.items()}
    of_parts = [each for each, kind in kinds.items() if kind is not None]
    arguments = [
        _argument(one) for each, one in own.items() if get_origin(one.annotation) is Annotated and each not in of_parts
    ]
    options = {each.name: each for record in records.values() for each in _options(record)}

    def call(**said: Any) -> Any:
        said = {key: [*value] or None if isinstance(value, tuple) else value for key, value in said.items()}
        given: dict[str, Any] = {each: {} for each in of_parts}
        given |= {each: said[each] for each in own if each not in records and each not in of_parts}
        for each, record in records.items():
            made = record(**{one.name: said[one.name] for one in options_of(record)})
            name, _, part = each.partition(".")
            if part:
                given[name][part] = made
            else:
                given[name] = made
        return function(**given)

    settings = {"show_default": True} | getattr(function, "context_settings", {})
    params: list[click.Parameter] = [*arguments, *options.values()]
    return Command(name, settings, callback=call, params=params, help=about)


def _argument(own: inspect.Parameter) -> NamedArgument:
    kind, said = get_args(own.annotation)
    kind, many = _one_of(kind)
    required = own.default is inspect.Parameter.empty
    found = NamedArgument(
        [own.name], type=kind, nargs=-1 if many else 1, required=required, metavar=said.metavar, callback=said.callback
    )
    found.about = said.help + "  [required]" * required
    return found


def _options(record: type[OptionRecord]) -> Iterator[click.Option]:
    types = get_type_hints(record)
    for each in options_of(record):
        yield _option(each, types[each.name])


def _option(each: Field[Any], declared: Any) -> click.Option:
    about = each.metadata
    kind, many = _one_of(about["typed"] or (str if about["parse"] is not None else declared))
    flags, flag = about["flags"] or [flag_of(each)], kind is bool
    if flag and not about["flags"]:
        flags = [f"{flags[0]}/--no-{flags[0][2:]}"]
    shape: dict[str, Any] = {"is_flag": True} if flag else {"type": kind, "multiple": many}
    if each.default is MISSING:
        shape["required"] = True
    else:
        shape["default"] = each.default
    if (eager := about["eager"]) is not None:
        shape |= {"is_eager": True, "callback": lambda ctx, _, asked: (eager(), ctx.exit()) if asked else None}
    return click.Option([each.name, *flags], help=about["help"], metavar=about["metavar"], **shape)


def _one_of(kind: Any) -> tuple[Any, bool]:
    """list[Path] | None -> what click takes for a Path, and that there may be several."""
    kinds = [one for one in get_args(kind) if one is not NoneType]
    if get_origin(kind) is list:
        return _one_of(kinds[0])[0], True
    if NoneType in get_args(kind):
        return _one_of(kinds[0])
    return click.Path(path_type=Path) if kind is Path else kind, False
