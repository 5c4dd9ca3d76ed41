"""A power cut at every write, as a file system may leave it: what was not synced is lost.

PowerCut(folder) watches os.fsync, os.replace, os.rename and os.unlink while a program runs in this process, and keeps, after each
of them, what the disk may hold. Two states bound what ext4, XFS and btrfs leave:

    ordered   all names are as they were last, and each file has the content of its last fsync (none: it is empty)
    old       names that changed since the last fsync of their folder are as before it; contents as above

states() yields (what happened, {name: bytes}) of both, one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

Files = dict[str, bytes]


class PowerCut:
    """The states in which a power cut may leave a folder, while a program that writes into it runs in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.synced: dict[int, bytes] = {}  # inode -> the content that is on the disk
        self.names: dict[str, int] = {}  # what the disk has under each name, as of the last fsync of the folder: inode
        self._states: list[tuple[str, Files]] = []
        self._held: list[BinaryIO] = []  # open, so that no inode is given to another file
        for path in self._files():
            self.names[self._name(path)] = path.stat().st_ino
            self._sync(path)
        for name in ("fsync", "replace", "rename", "unlink"):
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))
        self._keep("at the beginning")

    def states(self) -> Iterator[tuple[str, Files]]:
        """Yield what happened last, and the files that a power cut then leaves."""
        self._keep("at the end")
        for file in self._held:
            file.close()
        yield from self._states

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            if name == "fsync":
                self._sync(Path(os.readlink(f"/proc/self/fd/{args[0]}")))
            result = call(*args, **options)
            self._keep(f"after {name} {' '.join(Path(str(one)).name for one in args)}")
            return result

        return watched

    def _sync(self, path: Path) -> None:
        if path.is_dir():
            within = {self._name(file): file.stat().st_ino for file in self._files() if file.parent == path}
            there = [name for name in self.names if (self.folder / name).parent == path]
            self.names = {name: inode for name, inode in self.names.items() if name not in there} | within
        elif path.is_relative_to(self.folder):
            self._held.append(open(path, "rb"))  # noqa: SIM115 (closed in states)
            self.synced[path.stat().st_ino] = path.read_bytes()

    def _keep(self, what: str) -> None:
        ordered = {self._name(path): self.synced.get(path.stat().st_ino, b"") for path in self._files()}
        old = {name: self.synced.get(inode, b"") for name, inode in self.names.items()}
        self._states += [(what, ordered), (f"{what}, names as before", old)]

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()
