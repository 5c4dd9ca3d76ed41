"""Converts a command's function to a Typer command: its signature becomes arguments, options and help.

file: Annotated[Path, Argument("An artifact.")]    an argument; a default makes it optional, a list takes several
output: Output                                     options: the fields of a record (runtime/core/base/options.py)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer._click import Command

from runtime.core.base.options import OptionRecord, PartOptions, list_options, long_flag
from runtime.core.parts import load_part_options


def find_records(command: Callable[..., Any]) -> dict[str, type[OptionRecord]]:
    """Return a command's option records by the names of its parameters; those of plug-in parts as PARAMETER.PART."""
    records: dict[str, type[OptionRecord]] = {}
    for name, parameter in get_parameters(command).items():
        if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, OptionRecord):
            records[name] = parameter.annotation
        elif (kind := _find_part_kind(parameter)) is not None:
            records |= {f"{name}.{part}": record for part, record in load_part_options(kind).items()}
    return records


def _find_part_kind(parameter: inspect.Parameter) -> str | None:
    """Return the kind of plug-in parts, such as "observers", whose options a parameter takes; None for other ones."""
    metadata = get_args(parameter.annotation)[-1] if get_origin(parameter.annotation) is Annotated else None
    return metadata.kind if isinstance(metadata, PartOptions) else None


def get_parameters(command: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function, with evaluated annotations.

    typing's own reader changes the annotations of parameters with a default of None, before Python 3.11.
    """
    return inspect.signature(command, eval_str=True).parameters


def make_command(name: str, function: Callable[..., Any], about: str) -> Command:
    """Make a command for Typer (the command-line library) from a function with option records.

    about  the help of the command
    """
    records = find_records(function)
    parameters = get_parameters(function)
    part_options = [label for label, entry in parameters.items() if _find_part_kind(entry) is not None]
    arguments = [label for label in parameters if label not in records and label not in part_options]

    def call(**values: Any) -> Any:
        # Typer returns an empty list for a repeatable option without a value: make it None
        values = {key: [*value] or None if isinstance(value, list | tuple) else value for key, value in values.items()}
        inputs: dict[str, Any] = {label: {} for label in part_options} | {label: values[label] for label in arguments}
        for label, record in records.items():
            options = record(**{entry.name: values[entry.name] for entry in list_options(record)})
            key, _, part = label.partition(".")
            if part:
                inputs[key][part] = options
            else:
                inputs[key] = options
        return function(**inputs)

    typed = [_make_argument(parameters[label]) for label in arguments]
    options = {label.name: label for record in records.values() for label in _make_options(record)}
    call.__signature__ = inspect.Signature([*typed, *options.values()])  # type: ignore[attr-defined]
    call.__annotations__ = {}
    typer_app = make_plain_typer()
    typer_app.command(name, help=about, context_settings=getattr(function, "context_settings", None))(call)
    return typer.main.get_command(typer_app)


def make_plain_typer(**settings: Any) -> typer.Typer:
    """Return a Typer app that prints plain text: no markup, no frames, no traceback of its own."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings)


def _make_argument(parameter: inspect.Parameter) -> inspect.Parameter:
    kind, argument = get_args(parameter.annotation)
    metavar = argument.metavar or parameter.name.upper() + "..." * (
        list in (get_origin(annotation) for annotation in (kind, *get_args(kind)))
    )
    shown = typer.Argument(help=argument.help, metavar=metavar, callback=argument.callback, show_default=False)
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, shown])


def _make_options(record: type[OptionRecord]) -> Iterator[inspect.Parameter]:
    types = get_type_hints(record)
    for entry in list_options(record):
        yield _make_option(entry, types[entry.name])


def _make_option(entry: Field[Any], declared: Any) -> inspect.Parameter:
    about = entry.metadata
    kind = about["typed"] or (str if about["parse"] is not None else declared)
    flags = about["flags"] or [long_flag(entry)]
    if not about["flags"] and bool in (kind, *get_args(kind)):
        flags = [f"{flags[0]}/--no-{flags[0][2:]}"]
    shape: dict[str, Any] = {"help": about["help"], "metavar": about["metavar"]}
    if (eager := about["eager"]) is not None:
        shape |= {"is_eager": True, "callback": run_instead(eager)}
    default = inspect.Parameter.empty if entry.default is MISSING else entry.default
    if default is None and NoneType not in get_args(kind):
        kind = kind | None
    shown = typer.Option(*flags, **shape)
    return inspect.Parameter(
        entry.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown]
    )


def run_instead(eager: Callable[[], None]) -> Callable[[bool], None]:
    """Return the callback of a command-line flag that runs a function instead of the command."""

    def do(is_given: bool) -> None:
        if is_given:
            eager()
            raise typer.Exit

    return do
