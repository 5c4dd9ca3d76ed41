"""What a kind of attack is, and where the kinds are."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "kinds"
PACKAGE = "tests.export.attacks.kinds"
ROLES = ("attack", "twin")


@dataclass(frozen=True)
class Kind:
    """An attack and its twin: two factories, and how a user runs what they make."""

    name: str
    does: str  # one sentence
    attack: Callable[[], Any]
    twin: Callable[[], Any]
    form: str = "step"  # step; loop: forward takes [T, B, ...]; file: step, exported by the command
    shape: tuple[int, ...] = (2, 4, 4)  # of a frame
    join: str = "stack"  # loop: what forward makes of its steps
    dtype: str = "float32"  # of the frames that the user has
    mode: str = "no_grad"  # no_grad, inference or plain: how the user calls it
    pick: int | None = None  # which of several outputs
    twice: bool = False  # a second recording on the same instance, after reset() where there is one
    says: str | None = None  # a pattern: words of the tool that name this very gap
    late: bool = False  # the trap is the number of steps, which the tool may name by number
    reader: Callable[[], Any] | None = None  # what a careless reader has, where the twin is not it
    prepare: Callable[[], None] | None = None  # what the user calls before an export
    group: str = ""  # the file of kinds/, filled in by load()


def groups() -> list[str]:
    return sorted({file.stem for file in FOLDER.glob("*.py")} - {"__init__", "parts"})


def load(group: str) -> list[Kind]:
    module = importlib.import_module(f"{PACKAGE}.{group}")
    return [Kind(**{**vars(kind), "group": group}) for kind in module.KINDS]


def find(group: str, name: str) -> Kind:
    return next(kind for kind in load(group) if kind.name == name)


def everything() -> list[Kind]:
    kinds = [kind for group in groups() for kind in load(group)]
    names = [kind.name for kind in kinds]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"two kinds of one name: {twice}"
    return kinds


def digest() -> str:
    """One SHA-256 over the files of kinds/, by name."""
    total = hashlib.sha256()
    for file in sorted(FOLDER.glob("*.py")):
        total.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()
