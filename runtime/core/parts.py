"""The parts of plif: what can be removed, found by listing folders.

A part is a folder that a contract's folder holds, runtime/formats/rosbag for one, in this package and in those above it. Its
part.py says what it is, in literals alone: it is read, never imported, and the code beside it is imported when it is used. No
list of parts stands anywhere else, so `git rm -r` of the folder removes the part.

    ABOUT     one sentence
    CONTRACT  what it keeps to: Reader, Target, Engine, Format, Source, DataSet, Observer or Command; Precision, Form or Check of
              an export; Operation or Neuron of a graph
    NAMES     what users type for what it offers, where that is not the name of its folder; () where it only serves other parts;
              of an engine {name: what it is}
    MAGIC     the first bytes of its files, one or several
    PATTERN   the same as a regular expression, where they are not always equal
    HOLDS     a file in a folder that is one of its artifacts or recordings, "model.xml" or "*/config.pbtxt"
    SUFFIX    the end of their names
    SCHEME    what its addresses begin with: "udp" of udp://...
    LAST      such a mark, or none, is not enough: it looks for itself, after those of which it is
    HEARS     of an Observer: what it hears (runtime/core/observers.py)
    OPTIONS   "module:Record" in it: its options (runtime/core/base/options.py), which whoever takes parts of its kind has, too
    GIVES     {name: "module:name" in it}: what the package that it is a part of gives under a name of its own
    REQUIRES  modules of other projects that it imports; EXTRA is what `pip install plif[...]` calls them
    RUN       "module:function" of a command, `command` in its package where not said: its parameters are arguments and records of
              options. A verb of plif.py is what it GIVES under its name
    CHECK     "function" (name -> what it lacks here), of an engine for which REQUIRES does not tell
    AUTO      the suffixes of what an engine opens when nobody names one
    ADAPTERS  "module:function", the GPUs that an engine may run on
    PACKAGES  packages whose versions `plif info` shows
    LAYOUT    of which target it is another layout, --set layout=NAME
    NEEDS     the folders of the parts that it uses, those left out that they need: they are removed together
    NATIVE    C of its own, of one library: setup.py builds it beside the first of these files
    PAGE      its page of the documentation

Other people's packages add parts as entry points of the group `plif.parts`, "formats.NAME" = their package with such a part.py;
they are looked up when a name, scheme or magic is known to none of ours.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from runtime.core.base.errors import PlifError
from runtime.core.base.options import OptionRecord

PACKAGES = ("runtime", "plif_train", "plif_export")
FILE = "part.py"
GROUP = "plif.parts"
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """What a part.py says, in lower case; name: of its folder; module: the same as Python imports it."""

    name: str
    module: str
    about: str = ""
    contract: str = ""
    names: tuple[str, ...] | dict[str, str] | None = field(default=None, hash=False)
    magic: tuple[bytes, ...] = ()
    pattern: bytes = b""
    holds: str = ""
    check: str = ""
    auto: tuple[str, ...] = ()
    adapters: str = ""
    packages: tuple[str, ...] = ()
    layout: str = ""
    suffix: str = ""
    scheme: str = ""
    last: bool = False
    hears: tuple[str, ...] = ()
    options: str = ""
    gives: Mapping[str, str] = field(default_factory=dict, hash=False)
    requires: tuple[str, ...] = ()
    extra: str = ""
    run: str = "command"
    needs: tuple[str, ...] = ()
    native: tuple[str, ...] = ()
    page: str = ""

    def load(self, what: str) -> Any:
        """`what` of the part's package, or of the module in it that "module:name" says. The part is imported now."""
        module, _, name = what.rpartition(":")
        return getattr(import_module(f"{self.module}.{module}" if module else self.module), name)

    def missing(self) -> str | None:
        """The first module that it requires and that is not installed; None where all are."""
        return next((each for each in self.requires if find_spec(each) is None), None)


@cache
def find_parts(kind: str) -> Mapping[str, Part]:
    """The parts in the folders called `kind` ("formats"), by name, in the order of their names; those with LAST come last."""
    found = []
    for package in PACKAGES:
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            files = Path(place, kind).glob(f"*/{FILE}")
            found += [read_part(file, f"{package}.{kind}.{file.parent.name}") for file in files]
    return {part.name: part for part in sorted(found, key=lambda part: (part.last, part.name))}


@cache
def parts_of_others(kind: str) -> Mapping[str, Part]:
    """The parts of that kind which other people's packages register."""
    from importlib.metadata import entry_points  # which takes ten milliseconds

    found = {}
    for entry in entry_points(group=GROUP):
        kind_of, _, name = entry.name.partition(".")
        if kind_of == kind and name not in find_parts(kind):
            spec = find_spec(entry.module)
            if spec is None or spec.origin is None:
                raise PlifError(f"{entry.value}: registered as a part of plif ('{entry.name}'), and not installed")
            found[name] = read_part(Path(spec.origin).with_name(FILE), entry.module, name)
    return found


def by_name(parts: Mapping[str, Part]) -> dict[str, Part]:
    """{what a user types: the part that offers it}"""
    return {name: part for part in parts.values() for name in ((part.name,) if part.names is None else part.names)}


def find_part(kind: str, name: str) -> Part | None:
    """The part that offers what a user calls `name`, of ours or another package's; None where there is none."""
    return by_name(find_parts(kind)).get(name) or by_name(parts_of_others(kind)).get(name)


def given_by_parts(kind: str, name: str) -> Any:
    """What a part of that kind gives under this name (GIVES); None where none does."""
    for part in find_parts(kind).values():
        if name in part.gives:
            return part.load(part.gives[name])
    return None


class Registry(Mapping[str, T]):
    """Entries by name: those that the core enters, and those of the parts of a kind, each of which enters what its NAMES say
    when that is asked for."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self.entries and (part := find_part(self.kind, name)):
            import_module(part.module)
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self.entries, *by_name(find_parts(self.kind))])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def options_of_parts(kind: str) -> dict[str, type[OptionRecord]]:
    """{name of a part: the record of its options}, of those parts of a kind that have options."""
    return {part.name: part.load(part.options) for part in find_parts(kind).values() if part.options}


FACTS = tuple(Part.__dataclass_fields__)[2:]  # its place says the first two


def read_part(file: Path, module: str, name: str | None = None) -> Part:
    """What a part.py says. Raises PlifError, with the line, for what is no literal or means nothing here."""
    facts: dict[str, Any] = {}
    for line in ast.parse(file.read_text(encoding="utf-8")).body:
        try:
            match line:
                case ast.Assign(targets=[ast.Name(id=word)], value=value) if word.lower() in FACTS:
                    facts[word.lower()] = ast.literal_eval(value)
                case _:
                    ast.literal_eval(line.value if isinstance(line, ast.Expr) else line)  # a docstring
        except ValueError:
            wrong = f"{file}:{line.lineno}: expected a literal with one of the names in runtime/core/parts.py"
            raise PlifError(wrong) from None
    if isinstance(facts.get("magic"), bytes):
        facts["magic"] = (facts["magic"],)
    return Part(name or file.parent.name, module, **facts)
