"""`plif verify` of generated C: what it compiles it runs, so nothing of a file is compiled that plif did not write itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from plif_export import export, verify
from plif_export.targets.c.compiled import find_compiler
from plif_export.writers.c.names import escape_comment, format_comment, format_string
from runtime.artifacts.c.source import BEGIN, card_comment, hash_parts, read_card_text
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import encode_card, parse_card
from runtime.core.model.digest import read_digest, write_digest
from runtime.core.model.readers.contents import Contents
from runtime.formats.child.children import find_missing_protections
from tests.networks import firing

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler (gcc, clang or cc)")


class Place:
    """net.c and net.h in a folder, a compiler that leaves a mark when it is called, and code that leaves one when it runs."""

    def __init__(self, folder: Path, original: Path) -> None:
        self.folder, self.path, self.ran, self.compiled = folder, folder / "net.c", folder / "ran", folder / "compiled"
        for end in (".c", ".h"):
            shutil.copy(original.with_suffix(end), self.path.with_suffix(end))
        self.evil = (
            "\n#include <stdio.h>\n__attribute__((constructor)) static void evil(void)\n"
            f'{{\n    FILE *mark = fopen("{self.ran}", "w");\n    fclose(mark);\n}}\n'
        )
        self.compiler = folder / "compiler"
        self.real = find_compiler()  # before $CC names ours
        self.compile_after(f'true > "{self.compiled}"')
        self.compiler.chmod(0o755)

    def compile_after(self, commands: str) -> None:
        """Commands before a program is compiled; an object (-c) is what plif wrote anew, to be measured, and never runs."""
        self.compiler.write_text(
            f'#!/bin/sh\ncase " $* " in *" -c "*) ;; *) {commands} ;; esac\nexec {self.real} "$@"\n'
        )

    def edit(self, new: Callable[[str], str], suffix: str = ".c") -> None:
        path = self.path.with_suffix(suffix)
        old = path.read_bytes().decode()
        assert new(old) != old
        path.write_bytes(new(old).encode())

    def forge(self, **card_keys: Any) -> None:
        """A digest that fits, and other keys of the card."""
        code, header = self.path.read_bytes().decode().rpartition(f"\n{BEGIN}")[0], self.path.with_suffix(".h")
        card = {**parse_card(self.path, read_card_text(self.path)), **card_keys}
        write_digest(card, Contents(hash_parts(code + card_comment("", ""), header.read_bytes().decode())))
        self.path.write_bytes((code + card_comment(encode_card(card), str(read_digest(card)))).encode())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(firing(), tmp_path_factory.mktemp("written") / "net.c", to="c", precision="int8", verify=False).path


@pytest.fixture
def place(tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path, written)
    monkeypatch.setenv("CC", str(place.compiler))
    return place


def behind_includes(place: Place) -> None:
    place.edit(lambda text: text.replace('#include "net.h"', f'#include "net.h"{place.evil}'))


def in_the_header(place: Place) -> None:
    place.edit(lambda text: text + place.evil, ".h")


def another_include(place: Place) -> None:
    (place.folder / "evil.h").write_text(place.evil + place.path.with_suffix(".h").read_text())
    place.edit(lambda text: text.replace('#include "net.h"', '#include "evil.h"'))


def other_line_ends(place: Place) -> None:
    place.edit(lambda text: text.replace("\n", "\r\n", 40))


def one_blank(place: Place) -> None:
    place.edit(lambda text: text.replace(" \n", "\n", 1) if " \n" in text else text.replace("\n\n", "\n \n", 1))


def renamed(place: Place) -> None:
    """The header that is judged has to be the one that is included."""
    (place.folder / "net.h").rename(place.folder / "other.h")
    place.path = place.path.rename(place.folder / "other.c")
    (place.folder / "net.h").write_text(place.evil)


def a_second_card(place: Place) -> None:
    card = place.path.read_text().rpartition(f"\n{BEGIN}")[2]
    place.edit(lambda text: f"{text}{place.evil}\n{BEGIN}{card}")


ATTACKS = (behind_includes, in_the_header, another_include, other_line_ends, one_blank, renamed, a_second_card)


@pytest.mark.parametrize("forged", [False, True], ids=["", "forged"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_code_that_somebody_added_is_neither_compiled_nor_run(
    place: Place, attack: Callable[[Place], None], forged: bool
) -> None:
    """Whether the digest fits or not."""
    attack(place)
    if forged:
        place.forge()
    report = verify(place.path, firing(), steps=1)
    assert not report.passed and report.failed_at is not None
    assert "it was not compiled" in report.failed_at["what"]
    assert not place.compiled.exists() and not place.ran.exists()


@pytest.mark.parametrize(
    "end",
    ["{evil}", "{evil}*/", "\n*/\n{evil}/* plif.card\ndigest x\n{{}}\n*/\n", "*/{evil}/*\n*/\n"],
)
def test_text_behind_the_card_is_refused_unopened(place: Place, end: str) -> None:
    place.edit(lambda text: text + end.format(evil=place.evil))
    with pytest.raises(PlifError):
        verify(place.path, firing(), steps=1)
    assert not place.compiled.exists() and not place.ran.exists()


def test_a_digest_cannot_end_the_comment_that_it_stands_in(place: Place) -> None:
    place.edit(lambda text: text.replace("\ndigest ", "\ndigest */ int evil; /* ", 1))
    report = verify(place.path, firing(), steps=1)
    assert not report.passed and not place.compiled.exists() and not place.ran.exists()


def test_a_file_that_changes_while_it_is_compiled_is_not_what_is_compiled(place: Place) -> None:
    """The compiler itself exchanges it, and lays files beside it that have the names of others."""
    (place.folder / "evil").write_text(place.evil)
    (place.folder / "other").write_text(
        place.path.read_text().replace('#include "net.h"', f'#include "net.h"{place.evil}')
    )
    names = {"net.c": "other", "probe.c": "evil", "stdio.h": "evil", "math.h": "evil"}
    place.compile_after("".join(f'cp "{place.folder}/{new}" "{place.folder}/{old}"\n' for old, new in names.items()))
    assert verify(place.path, firing(), steps=1).passed
    assert place.evil in place.path.read_text() and not place.ran.exists()


def test_a_link_is_judged_by_what_it_leads_to(place: Place, written: Path) -> None:
    place.path.unlink()
    place.path.symlink_to(written)
    assert verify(place.path, firing(), steps=1).passed
    (place.folder / "evil.c").write_text(written.read_text().replace("\n\n", place.evil, 1))
    place.path.unlink()
    place.path.symlink_to(place.folder / "evil.c")
    place.compiled.unlink()
    assert not verify(place.path, firing(), steps=1).passed and not place.compiled.exists()


def test_the_command_fails_with_1_and_one_line_that_names_the_line(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import plif_train

    plif_train.save(firing(), tmp_path / "model.pt")
    another_include(place)
    words = ["verify", str(place.path), "--against", str(tmp_path / "model.pt"), "--steps", "1"]
    assert run(words) == 1
    assert "source was changed since the export (its digest says so)\n" in capsys.readouterr().out
    place.forge()
    assert run(words) == 1
    line = place.path.read_text().split("\n").index('#include "evil.h"') + 1
    (said,) = capsys.readouterr().err.splitlines()
    assert f"net.c, line {line} is" in said and said.endswith("plif verify --run")


def test_a_file_of_another_version_is_refused_unless_it_is_the_same(place: Place) -> None:
    versions = {"plif": "0.0.1", "torch": "2", "onnx": "1"}
    place.forge(versions=versions)
    assert verify(place.path, firing(), steps=1).passed
    place.compiled.unlink()
    place.edit(lambda text: text.replace("a spiking network as C", "a network", 1))
    place.forge(versions=versions)
    report = verify(place.path, firing(), steps=1)
    assert not report.passed and "export it again with this version" in report.sentence()
    assert not place.compiled.exists()


def in_loops() -> nn.Module:
    """Two of more than ten layers, whose names are sorted otherwise than they run, and spikes that come back."""
    snn = pytest.importorskip("snntorch")
    torch.manual_seed(0)
    layers = [part for _ in range(6) for part in (nn.Linear(8, 8), snn.Leaky(0.9, init_hidden=True))]
    layers += [nn.Linear(8, 8), snn.RLeaky(0.9, all_to_all=False, V=0.5, init_hidden=True)]
    return nn.Sequential(*layers)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "options",
    [
        {"precision": "fp32", "math": "exact"},
        {"precision": "int8", "math": "exact", "flash": "1M", "ram": "1M"},
        {"metadata": {"author": "*/ int x; /* ??/", "licence": "MIT"}},
        {"options": {"input": "float"}},
        {"verify": True, "ram": "64K"},
    ],
    ids=str,
)
def test_what_an_export_writes_verifies_whatever_its_options(tmp_path: Path, options: dict[str, Any]) -> None:
    net = firing(framing="duration:10ms,value=binary", classes=("a*/", "??/", '"\\\n'))
    made = export(net, tmp_path / "net.c", **{"to": "c", "verify": False, **options})
    report = verify(made.path, net, steps=1)
    assert report.passed, report.sentence()


def test_networks_of_other_libraries_with_loops_verify_too(tmp_path: Path) -> None:
    net = in_loops()
    made = export(net, tmp_path / "net.c", torch.zeros(1, 8), to="c", verify=False, T=3)
    report = verify(made.path, net, steps=1)
    assert report.passed, report.sentence()


HOSTILE = (
    "*/ int evil; /*", "a*\\\n/ int evil; /*", "*??/\n/ int evil; /*", "???/", "**//", "/*/", "/**/", "*", "/", "\\",
    "a\n   */ int evil;",
    "*\\\n   / int evil;", "\r*/\v int evil; \f", "*\\ \n/ int evil;", "*\u2028/", '"); int evil; ("',
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_ends_the_comment_or_the_string_that_it_stands_in(tmp_path: Path, text: str) -> None:
    """The compiler itself takes the comments away: nothing is left of any, and of a string the string."""
    file = tmp_path / "names.c"
    file.write_text(
        f"{format_comment(text)}\n/* {escape_comment(text)} */\nchar s[] = {format_string(text)};\n", "utf-8"
    )
    words = [find_compiler() or "", "-std=c99", "-E", "-P", str(file)]
    left = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout
    assert left.strip() == f"char s[] = {format_string(text)};"
    made = subprocess.run(
        [words[0], "-std=c99", "-Werror", "-c", str(file), "-o", str(tmp_path / "o")], capture_output=True
    )
    assert made.returncode == 0, made.stderr


def test_code_that_is_run_all_the_same_reaches_nothing(place: Place) -> None:
    """`--run`: it gives the right answers, and what else it does fails."""
    behind_includes(place)
    place.edit(lambda text: text.replace("fclose(mark);", "if (mark) fclose(mark);"))
    report = verify(place.path, firing(), steps=1, run=True)
    assert report.passed or report.failed_at is not None
    if "landlock" not in find_missing_protections():
        assert not place.ran.exists()
