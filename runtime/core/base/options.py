"""An option is declared once, as a field of a record: Python's signature, the command line and its help come from it.

    class Reading(OptionRecord):        # a record is a frozen dataclass of keywords
        sensor: tuple[int, int] | None = option("WIDTHxHEIGHT, for sources that do not say.", default=None, parse=parse_size)

    @with_fields(Reading)                       # its signature names sensor=None
    def send(source: str, **options: Any): chosen = Reading(**options)

    def send(source: ..., reading: Reading): send_it(source, **vars(reading))       # a command: --sensor, and its help

The name, the type and the default of an option are those of its field. A plain field without `option` is for Python alone.
To add an option, add a field. Neither torch nor NumPy is imported here, because `plif --help` loads this file.
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
    """A field that is an option; without a default it must be given.

    flags    its names on the command line, where they are not the field's with "--" before it
    parse    reads the text that the command line has for it: (where, text or value) -> value; Python may give either
    least, most   of a number;  choices: the values there are
    typed    what the command line hands on, where it is neither text to parse nor of the field's type
    eager    what a flag does instead of the command, whatever else is given
    """
    about = {"help": help, "flags": flags, "parse": parse, "least": least, "most": most}
    return field(
        default=default, metadata={**about, "choices": choices, "typed": typed, "metavar": metavar, "eager": eager}
    )


@dataclass(frozen=True)
class Argument:
    """A parameter of a command that stands without a name on the command line: Annotated[Path, Argument("What it is.")].

    callback  value -> value, before the command runs
    """

    help: str
    metavar: str | None = None
    callback: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class OfParts:
    """A parameter of a command that takes the options of all parts of a kind (runtime/core/parts.py), a record for each:
    Annotated[dict[str, OptionRecord], OfParts("observers")]. They stand on the command line as the command's own do.
    """

    kind: str


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option, field))
class OptionRecord:
    """Base of all records. It reads and checks each value, and takes text for a path; rules of a record's own come behind
    super().__post_init__(). Raises PlifError for a value that cannot be and for a keyword that is no option.
    """

    def __init_subclass__(cls) -> None:
        # a frozen dataclass, but for functions that are compiled anew for each of fifty records: 1 ms a command
        dataclass(init=False, repr=False, eq=False)(cls)

    def __init__(self, **given: Any) -> None:
        known = fields(self)  # type: ignore[arg-type]
        if given.keys() - {each.name for each in known}:
            given = _by_field_name(type(self), given)
        for each in known:
            if each.name not in given and each.default is MISSING:
                raise TypeError(f"{type(self).__name__}: {each.name} is missing")
            object.__setattr__(self, each.name, given.get(each.name, each.default))
        self.__post_init__()

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(
            f"{type(self).__name__}: {name} cannot be changed; dataclasses.replace makes another record"
        )

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def __post_init__(self) -> None:
        for each in options_of(type(self)):
            about, value, flag = each.metadata, getattr(self, each.name), flag_of(each)
            if about["parse"] is not None:
                object.__setattr__(self, each.name, about["parse"](flag, value))
            elif value is None:
                continue
            elif "Path" in str(each.type):
                object.__setattr__(self, each.name, Path(value))
            elif about["choices"] and value not in about["choices"]:
                raise PlifError(f"{flag} {value}: expected {' or '.join(about['choices'])}")
            elif isinstance(value, int | float) and not is_within(value, about["least"], about["most"]):
                raise PlifError(f"{flag} {value}: expected {range_of(about['least'], about['most'])}")

    def given(self) -> dict[str, Any]:
        """{flag: value} of what is not as it is by default."""
        found = {}
        for each in options_of(type(self)):
            value, parse = getattr(self, each.name), each.metadata["parse"]
            usual = each.default if parse is None else parse(flag_of(each), each.default)
            if usual not in (MISSING, value):
                found[flag_of(each)] = value
        return found


def _by_field_name(record: type[OptionRecord], given: dict[str, object]) -> dict[str, object]:
    """Renames the keywords of a call that are an option's name on the command line, as `set` for --set, to the option's field.

    Raises PlifError for a keyword that is neither, with the option that may have been meant.
    """
    known = {each.name: each.name for each in fields(record)}  # type: ignore[arg-type]
    known |= {name: each.name for each in options_of(record) for name in _typed_names(each) if name not in known}
    values: dict[str, object] = {}
    for name, value in given.items():
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name.lower(), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(sorted(known))}"
            raise PlifError(f"{name}={value!r}: there is no such option; {hint}")
        if known[name] in values:
            raise PlifError(f"{name}={value!r}: the same option as {known[name]}; give it once")
        values[known[name]] = value
    return values


def _typed_names(each: Field[object]) -> list[str]:
    """The names of an option on the command line as Python writes them; of --verify/--no-verify the first."""
    flags = [flag.partition("/")[0].strip() for flag in each.metadata["flags"]]
    return [flag[2:].replace("-", "_") for flag in flags if flag.startswith("--")]


def is_within(value: float, least: float | None, most: float | None) -> bool:
    """nan is in no range."""
    return (least is None or value >= least) and (most is None or value <= most)


def range_of(least: float | None, most: float | None) -> str:
    """(1, 4) -> "1 to 4"; (1, None) -> "1 or more"; (0, 1) -> "a share from 0 to 1", for who gives percent."""
    if (least, most) == (0, 1):
        return "a share from 0 to 1"
    if least is None:
        return f"{most:.10g} or less"
    return f"{least:.10g} or more" if most is None else f"{least:.10g} to {most:.10g}"


def options_of(record: type[Any]) -> list[Field[Any]]:
    """The options of a record: its own first, then those that it inherits."""
    known = {each.name: each for each in fields(record) if "help" in each.metadata}
    order = [name for one in record.__mro__ for name in inspect.get_annotations(one) if name in known]
    return [known[name] for name in dict.fromkeys(order)]


def flag_of(each: Field[Any]) -> str:
    """The name of an option on the command line, the long one."""
    flags = [flag.rpartition("/")[2].strip() for flag in each.metadata["flags"]]
    return max(flags, key=len, default=f"--{each.name.replace('_', '-')}")


def with_fields(*records: type[Any]) -> Callable[[Function], Function]:
    """Decorates a function that takes **options: its signature then names the fields of these records as keywords.

    A field that is a parameter of the function's own is that one.
    """
    found = {each.name: each for record in records for each in fields(record)}

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = list(signature.parameters.values())[:-1]  # the last one is **options
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
            for name, each in found.items()
            if name not in {each.name for each in own}
        ]
        function.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
        return function

    return decorate
