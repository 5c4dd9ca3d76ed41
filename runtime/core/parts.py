"""The parts of plif: removable folders, found by listing directories.

A part is a folder that implements a contract, for example runtime/formats/rosbag, in this package and in those above
it. Its part.py describes it in literals only: it is read, never imported, and the code next to it is imported when it
is used. There is no other list of parts, so `git rm -r` of the folder removes the part.

    ABOUT     one sentence
    CONTRACT  the contract: Reader, Target, Engine, Format, Source, DataSet, Observer or Command; Precision,
              Form or Check of an export; Operation or Neuron of a graph
    NAMES     the names that users type, if they differ from the name of its folder; () if it only serves other
              parts; of an engine {name: its description}
    MAGIC     the first bytes of its files, one or several
    PATTERN   a regular expression for the first bytes, if they are not constant
    HOLDS     a file in a folder that is one of its artifacts or recordings, "model.xml" or "*/config.pbtxt"
    SUFFIX    the end of the names of its files
    SCHEME    the scheme of its addresses: "udp" of udp://...
    LAST      its mark is ambiguous or missing: it is asked after all parts with a clear mark
    HEARS     of an Observer: its subjects (runtime/core/observers.py)
    OPTIONS   "module:Record" in it: its options (runtime/core/base/options.py), which the users of its kind
              get, too
    GIVES     {name: "module:name" in it}: objects that it adds to the package that it is a part of
    REQUIRES  third-party modules that it imports; EXTRA is their extra in `pip install plif[...]`
    RUN       "module:function" of a command, by default `command` in its package: its parameters are arguments
              and option records. A verb of plif.py is in GIVES
    CHECK     "function" (name -> the missing dependency), of an engine for which REQUIRES does not tell
    AUTO      the suffixes of files that an engine opens when the user names no engine
    ADAPTERS  "module:function", the GPUs that an engine may run on
    PACKAGES  packages with versions that `plif info` shows
    LAYOUT    the target of which it is another layout, --set layout=NAME
    NEEDS     the folders of the parts that it uses; those that they need are left out: all are removed together
    NATIVE    its C files, of one library: setup.py builds it next to the first of these files
    PAGE      its page of the documentation

Third-party packages add parts as entry points of the group `plif.parts`, "formats.NAME" = their package with such a
part.py; plif looks them up when no part here knows a name, scheme or magic.
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
    """The metadata of one plug-in folder (part) of plif, as its part.py declares it.

    The keys are in lower case; name: of its folder; module: its import path.
    """

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

    def load(self, reference: str) -> Any:
        """Import an object of a plug-in part: "name" of its package, or "module:name" of a module in it."""
        module, _, name = reference.rpartition(":")
        return getattr(import_module(f"{self.module}.{module}" if module else self.module), name)

    def find_missing(self) -> str | None:
        """Return the first module that a plug-in part requires but that is not installed; None if all are there."""
        return next((module for module in self.requires if find_spec(module) is None), None)


@cache
def find_parts(kind: str) -> Mapping[str, Part]:
    """Return {name: part} of the parts of a kind, such as "formats", sorted by name; parts with LAST come last."""
    parts = []
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            files = Path(folder, kind).glob(f"*/{FILE}")
            parts += [read_part(file, f"{package}.{kind}.{file.parent.name}") for file in files]
    return {part.name: part for part in sorted(parts, key=lambda part: (part.last, part.name))}


@cache
def third_party_parts(kind: str) -> Mapping[str, Part]:
    """Return {name: part} of the plug-in parts of a kind that third-party packages register."""
    from importlib.metadata import entry_points  # this import takes ten milliseconds

    parts = {}
    for entry in entry_points(group=GROUP):
        entry_kind, _, name = entry.name.partition(".")
        if entry_kind == kind and name not in find_parts(kind):
            spec = find_spec(entry.module)
            if spec is None or spec.origin is None:
                raise PlifError(f"{entry.value}: registered as a part of plif ('{entry.name}'), and not installed")
            parts[name] = read_part(Path(spec.origin).with_name(FILE), entry.module, name)
    return parts


def index_by_name(parts: Mapping[str, Part]) -> dict[str, Part]:
    """Return {name that a user types: the part (plug-in folder) that offers it}."""
    return {name: part for part in parts.values() for name in ((part.name,) if part.names is None else part.names)}


def find_part(kind: str, name: str) -> Part | None:
    """Return the plug-in part that offers a name, built-in or third-party; None if there is none."""
    return index_by_name(find_parts(kind)).get(name) or index_by_name(third_party_parts(kind)).get(name)


def load_from_parts(kind: str, name: str) -> Any:
    """Import the object that a plug-in part offers under a name in its GIVES; None if no part does."""
    for part in find_parts(kind).values():
        if name in part.gives:
            return part.load(part.gives[name])
    return None


class Registry(Mapping[str, T]):
    """A registry of objects by name, from the core and from the plug-in parts of one kind.

    A part registers the objects for its NAMES when its module is imported, at the first look-up of one of them.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self.entries and (part := find_part(self.kind, name)):
            import_module(part.module)
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self.entries, *index_by_name(find_parts(self.kind))])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def load_part_options(kind: str) -> dict[str, type[OptionRecord]]:
    """Return {part: its option record} of the plug-in parts of a kind that have options."""
    return {part.name: part.load(part.options) for part in find_parts(kind).values() if part.options}


KEYS = tuple(Part.__dataclass_fields__)[2:]  # name and module follow from the path


def read_part(file: Path, module: str, name: str | None = None) -> Part:
    """Read a part.py file into a Part without running it.

    Raises PlifError, with the line, for a value that is no literal or a name that is unknown.
    """
    values: dict[str, Any] = {}
    for line in ast.parse(file.read_text(encoding="utf-8")).body:
        try:
            match line:
                case ast.Assign(targets=[ast.Name(id=word)], value=value) if word.lower() in KEYS:
                    values[word.lower()] = ast.literal_eval(value)
                case _:
                    ast.literal_eval(line.value if isinstance(line, ast.Expr) else line)  # a docstring
        except ValueError:
            wrong = f"{file}:{line.lineno}: expected a literal with one of the names in runtime/core/parts.py"
            raise PlifError(wrong) from None
    if isinstance(values.get("magic"), bytes):
        values["magic"] = (values["magic"],)
    return Part(name or file.parent.name, module, **values)
