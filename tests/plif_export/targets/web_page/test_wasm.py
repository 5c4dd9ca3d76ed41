"""The libplif.wasm that ships is built of the sources beside it: `make wasm` after each change of them."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from pathlib import Path

import pytest

from docs import wasm
from runtime.core.base.errors import PlifError


def installed() -> str | None:
    try:
        return importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        return None


SHIPPED = wasm.PLACE.read_bytes()
SAID = re.fullmatch(r"([0-9a-f]{64}) ziglang (\S+)", wasm.built_from(SHIPPED))


def test_it_was_built_of_the_sources_as_they_are_now() -> None:
    assert SAID is not None and SAID[1] == wasm.digest(), "the C sources have changed since: make wasm"


def test_its_digest_depends_on_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(shutil.copytree(wasm.NATIVE, tmp_path / "native", ignore=shutil.ignore_patterns("*.so", "build")))
    monkeypatch.setattr(wasm, "NATIVE", copy)
    first = wasm.digest()
    assert {"error.c", "plif.h", "session/session.c", "engine/kernels/conv.h"} <= set(wasm.sources())
    for name in wasm.sources():
        before = (copy / name).read_bytes()
        (copy / name).write_bytes(before + b"\n")
        assert wasm.digest() != first, name
        (copy / name).write_bytes(before)
    assert wasm.digest() == first


@pytest.mark.large
@pytest.mark.skipif(SAID is None or installed() != SAID[2], reason="the ziglang that built it is not installed")
def test_building_it_again_gives_the_same_bytes(tmp_path: Path) -> None:
    assert wasm.build(tmp_path / "libplif.wasm").read_bytes() == SHIPPED


@pytest.mark.skipif(installed() is not None, reason="ziglang is installed here")
def test_without_ziglang_one_line_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match=r"pip install 'ziglang==") as refused:
        wasm.build(tmp_path / "libplif.wasm")
    assert "\n" not in str(refused.value) and not list(tmp_path.iterdir())
