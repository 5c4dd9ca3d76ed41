"""Declares each option once, as a field of a record: Python's signature, the command line and its help use it.

    class Reading(OptionRecord):        # a record is a frozen dataclass of keywords
        sensor: tuple[int, int] | None = option("WIDTHxHEIGHT of the sensor.", default=None, parse=parse_size)

    @with_fields(Reading)                       # its signature names sensor=None
    def send(source: str, **options: Any): chosen = Reading(**options)

    def send(source: ..., reading: Reading): send_it(source, **vars(reading))       # a command: --sensor, and its help

The name, the type and the default of an option are those of its field. A plain field without `option` is for Python
alone. To add an option, add a field. Neither torch nor NumPy is imported here, because `plif --help` loads this file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.core.base.errors import PlifError

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda record: record


Function = TypeVar("Function", bound=Callable[..., Any])
Parse = Callable[[str, Any], Any]


def option(
    help: str,
    *flags: str,
    default: Any = MISSING,
    parse: Parse | None = None,
    least: float | None = None,
    most: float | None = None,
    choices: Sequence[str] = (),
    typed: Any = None,
    metavar: str | None = None,
    eager: Callable[[], None] | None = None,
) -> Any:
    """Declare a dataclass field that is a command-line option; without a default the option is required.

    flags    its names on the command line, where they are not the field's with "--" before it
    parse    (flag, text or value) -> value: reads the command line's text; Python may pass text or a value
    least, most   of a number;  choices: the values there are
    typed    the type that the command line passes on, if it is neither text to parse nor the type of the field
    eager    the function that a flag runs instead of the command, before all other options
    """
    about = {"help": help, "flags": flags, "parse": parse, "least": least, "most": most}
    return field(
        default=default, metadata={**about, "choices": choices, "typed": typed, "metavar": metavar, "eager": eager}
    )


@dataclass(frozen=True)
class Argument:
    """A positional argument of a command: Annotated[Path, Argument("Its help.")].

    callback  value -> value, before the command runs
    """

    help: str
    metavar: str | None = None
    callback: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class PartOptions:
    """A parameter of a command that takes the options of all plug-in parts of a kind, as {part: option record}.

    Annotated[dict[str, OptionRecord], PartOptions("observers")]; the command line lists them like the command's own
    options (runtime/core/parts.py).
    """

    kind: str


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option, field))
class OptionRecord:
    """The base class of option records: frozen dataclasses of command-line options that check each value.

    It converts text to a path. A subclass adds rules of its own after super().__post_init__(). Raises PlifError for a
    value that is not allowed and for a keyword that is no option.
    """

    def __init_subclass__(cls) -> None:
        # a frozen dataclass without generated methods: compiling them for fifty records costs 1 ms a command
        dataclass(init=False, repr=False, eq=False)(cls)

    def __init__(self, **values: Any) -> None:
        declared = fields(self)  # type: ignore[arg-type]
        if values.keys() - {entry.name for entry in declared}:
            values = _resolve_keywords(type(self), values)
        for entry in declared:
            if entry.name not in values and entry.default is MISSING:
                raise TypeError(f"{type(self).__name__}: {entry.name} is missing")
            object.__setattr__(self, entry.name, values.get(entry.name, entry.default))
        self.__post_init__()

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(
            f"{type(self).__name__}: {name} cannot be changed; dataclasses.replace makes another record"
        )

    def __eq__(self, record: object) -> bool:
        return type(self) is type(record) and vars(self) == vars(record)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def __post_init__(self) -> None:
        for entry in list_options(type(self)):
            about, value, flag = entry.metadata, getattr(self, entry.name), long_flag(entry)
            if about["parse"] is not None:
                object.__setattr__(self, entry.name, about["parse"](flag, value))
            elif value is None:
                continue
            elif "Path" in str(entry.type):
                object.__setattr__(self, entry.name, Path(value))
            elif about["choices"] and value not in about["choices"]:
                raise PlifError(f"{flag} {value}: expected {' or '.join(about['choices'])}")
            elif isinstance(value, int | float) and not is_within(value, about["least"], about["most"]):
                raise PlifError(f"{flag} {value}: expected {describe_range(about['least'], about['most'])}")

    def changed_flags(self) -> dict[str, Any]:
        """Return {flag: value} of the options in a record that differ from their defaults."""
        changed = {}
        for entry in list_options(type(self)):
            value, parse = getattr(self, entry.name), entry.metadata["parse"]
            default = entry.default if parse is None else parse(long_flag(entry), entry.default)
            if default not in (MISSING, value):
                changed[long_flag(entry)] = value
        return changed


def _resolve_keywords(record: type[OptionRecord], keywords: dict[str, object]) -> dict[str, object]:
    """Rename keywords of a call that are spelled as on the command line to the names of the fields.

    For example `set` of --set. Raises PlifError for an unknown keyword, with the nearest option as a hint.
    """
    targets = {entry.name: entry.name for entry in fields(record)}  # type: ignore[arg-type]
    targets |= {
        name: entry.name for entry in list_options(record) for name in _keyword_names(entry) if name not in targets
    }
    values: dict[str, object] = {}
    for name, value in keywords.items():
        if name not in targets:
            from difflib import get_close_matches

            near = get_close_matches(name.lower(), targets, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(sorted(targets))}"
            raise PlifError(f"{name}={value!r}: there is no such option; {hint}")
        if targets[name] in values:
            raise PlifError(f"{name}={value!r}: the same option as {targets[name]}; give it once")
        values[targets[name]] = value
    return values


def _keyword_names(entry: Field[object]) -> list[str]:
    """Return the names of an option on the command line as Python identifiers.

    Of --verify/--no-verify only the first is one.
    """
    flags = [flag.partition("/")[0].strip() for flag in entry.metadata["flags"]]
    return [flag[2:].replace("-", "_") for flag in flags if flag.startswith("--")]


def is_within(value: float, least: float | None, most: float | None) -> bool:
    """Return whether a number lies between two bounds; None is no bound, and NaN lies in no range."""
    return (least is None or value >= least) and (most is None or value <= most)


def describe_range(least: float | None, most: float | None) -> str:
    """Describe a range of numbers: (1, 4) is "1 to 4", (1, None) "1 or more".

    (0, 1) is "a share from 0 to 1", for users who enter percent.
    """
    if (least, most) == (0, 1):
        return "a share from 0 to 1"
    if least is None:
        return f"{most:.10g} or less"
    return f"{least:.10g} or more" if most is None else f"{least:.10g} to {most:.10g}"


def list_options(record: type[Any]) -> list[Field[Any]]:
    """Return the fields of an option record that are options: its own first, then those that it inherits."""
    declared = {entry.name: entry for entry in fields(record) if "help" in entry.metadata}
    order = [name for base in record.__mro__ for name in inspect.get_annotations(base) if name in declared]
    return [declared[name] for name in dict.fromkeys(order)]


def long_flag(entry: Field[Any]) -> str:
    """Return the long name of an option on the command line, such as --batch-size."""
    flags = [flag.rpartition("/")[2].strip() for flag in entry.metadata["flags"]]
    return max(flags, key=len, default=f"--{entry.name.replace('_', '-')}")


def with_fields(*records: type[Any]) -> Callable[[Function], Function]:
    """Decorate a function with **options: its signature then names the fields of option records as keywords.

    A field that is also a parameter of the function keeps the function's declaration.
    """
    declared = {entry.name: entry for record in records for entry in fields(record)}

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())[:-1]  # the last one is **options
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=entry.default, annotation=entry.type)
            for name, entry in declared.items()
            if name not in {entry.name for entry in parameters}
        ]
        function.__signature__ = signature.replace(parameters=[*parameters, *keywords])  # type: ignore[attr-defined]
        return function

    return decorate
