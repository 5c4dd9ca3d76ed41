"""`plif export --to web`: a page that is proved as any artifact, around which only the code of this version stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import plif_train
import runtime
from plif_export import export, verify
from runtime import native
from runtime.artifacts.plif_file.program import parse_plif
from runtime.artifacts.web_page import page as web_page
from runtime.artifacts.web_page.page import read_plif_bytes
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import read_card
from tests.conftest import REPOSITORY
from tests.networks import digits_network

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = export(digits_network(), tmp_path_factory.mktemp("web") / "net.html", to="web")
    assert made.passed and made.verify is not None and made.verify.engine == "event"
    return made.path


def test_a_page_runs_here_as_the_plif_file_of_the_same_network_does(page: Path, tmp_path: Path) -> None:
    assert detect_kind(page).name == "web" and read_card(page)["target"] == "web"
    plif = export(digits_network(), tmp_path / "net.plif", to="plif", verify=False).path
    said = [
        [
            (d.t_us, d.label, d.score, d.votes)
            for d in runtime.load(path).stream("sim:digits?seed=3&seconds=0.3", decide="sum", reset="never")
        ]
        for path in (page, plif)
    ]
    assert said[0] == said[1] and len(said[0]) > 5
    assert [program.path for program in parse_plif(page, read_plif_bytes(page)).programs] == [
        native.PATHS.index("scalar")
    ]


def test_the_command_says_to_open_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, page = REPOSITORY / "models" / "nmnist-digits.pt", tmp_path / "digits.html"
    assert run(["export", str(model), "--to", "web", "--no-verify", "-o", str(page)]) == 0
    assert "open it in a browser" in capsys.readouterr().out
    assert run(["check", str(page), "--to", "web"]) == 0


def test_a_page_is_made_without_a_compiler(tmp_path: Path) -> None:
    code = (
        "import sys, shutil, plif_export, plif_train; sys.path.insert(0, '.'); from tests.networks import digits_network;"
        " assert not any(map(shutil.which, ('cc', 'gcc', 'clang', 'zig')));"
        f" plif_export.export(digits_network(), {str(tmp_path / 'net.html')!r}, to='web', verify=False)"
    )
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert web_page.find_blocks((tmp_path / "net.html").read_bytes(), "application/wasm")[0][1][:4] == b"\0asm"


def test_verify_finds_what_was_changed_in_a_page(page: Path, tmp_path: Path) -> None:
    text, changed = page.read_text(), tmp_path / "net.html"
    assert verify(page, digits_network(), steps=3).passed
    for old, new in (
        ("decision.score", "decision.events"),  # the script
        ("default-src 'none'", "default-src *"),
        ("AGFzbQE", "AGFzbQF"),  # libplif
        ("</body>", "<script>fetch('http://example.org')</script></body>"),
    ):
        assert text.count(old) == 1, old
        changed.write_text(text.replace(old, new))
        report = verify(changed, digits_network(), steps=3)
        assert not report.passed and report.structure[0]["where"].startswith("page, line"), old
    (_, plif), *_ = web_page.find_blocks(text.encode(), web_page.PLIF)
    broken = bytes([*plif[:-700], plif[-700] ^ 64, *plif[-699:]])
    whole, other = (web_page.make_block(web_page.PLIF, {}, each).partition(">")[2] for each in (plif, broken))
    changed.write_text(text.replace(whole, other))
    with pytest.raises(PlifError, match="changed since the export"):
        runtime.load(changed)


def test_pages_of_others_and_networks_that_a_page_cannot_show_are_refused_in_one_line(
    page: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.html"
    for text, why in (
        ("<!doctype html><title>news</title>", "a web page with 0 networks; expected a page made by: plif export"),
        (page.read_text() * 2, "a web page with 2 networks"),
        (page.read_text().replace('title="net">', 'title="net">?'), "a web page with 0 networks"),
    ):
        other.write_text(text)
        with pytest.raises(PlifError, match=why) as refused:
            runtime.load(other)
        assert "\n" not in str(refused.value)
    still = plif_train.build("c8k3s1-BN-PLIF-MPk2s2-FC2-PLIF", shape=(1, 8, 8), T=2, classes=tuple("ab"), kind="static")
    for net, why in ((still, "a page shows events"), (digits_network(framing=None), "says no framing")):
        with pytest.raises(PlifError, match=f"^--to web: .*{why}"):
            export(net, tmp_path / "no.html", to="web")
    assert [file.name for file in tmp_path.iterdir()] == ["other.html"]
