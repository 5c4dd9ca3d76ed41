"""The example of each page of docs/contracts is one new folder in a copy of the sources, and plif uses it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from runtime.core.parts import FILE, PACKAGES, read_part
from tests.conftest import REPOSITORY
from tests.runtime.core.test_own_parts import install

PAGES = sorted((REPOSITORY / "docs" / "contracts").glob("*.md"))
EXAMPLE = re.compile(r"^# (\S+/\w+\.py)\n(.*?)(?=```|^# \S+\.py$)", re.DOTALL | re.MULTILINE)
EXAMPLES = {page.stem: dict(EXAMPLE.findall(page.read_text(encoding="utf-8"))) for page in PAGES}
RUN = """
import contextlib, io, json, sys
from runtime.core.cli.main import run

def said(words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        return run(words), out.getvalue(), err.getvalue()

print(json.dumps({name: said(words) for name, words in json.loads(sys.argv[1]).items()}))
"""
NET = """
import torch
from torch import nn

class Reversed(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 4)
        self.register_buffer("v", torch.zeros(1), persistent=False)

    def forward(self, x):
        h = self.v + self.fc(torch.flip(x, (1,)))
        s = (h >= 0.5).to(h.dtype)
        self.v = h * (1 - s)
        return s

torch.manual_seed(0)
net = Reversed().eval()
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, digits_onnx: Path) -> dict[str, Said]:
    """{what was tried: what plif said}, of sources to which the folders of the pages were added."""
    sources, here = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("here")
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, sources / package)
    for files in EXAMPLES.values():
        for name, text in files.items():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            (sources / name).write_text(text, encoding="utf-8")
    (here / "a.dots").write_bytes(b"DOTS\n" + b"".join(bytes([ms, 0, ms % 34, 5]) for ms in range(100)) + b"cut")
    (here / "a.matrix").write_text("MATRIX\n" + "\n".join("0.4 0.3 0.2 0.5 0.6 0.1" for _ in range(4)))
    (here / "net.py").write_text(NET)
    install(others := tmp_path_factory.mktemp("others"))
    model = str(digits_onnx)
    tried = {
        "format": ["stream", model, "a.dots"],
        "source": ["stream", model, "sweep://", "--json"],
        "unknown source": ["stream", model, "swept://"],
        "dataset": ["eval", model, "--data", "ten-columns:", "--json"],
        "unknown dataset": ["eval", model, "--data", "eleven-columns:"],
        "engine": ["eval", model, "--data", "ten-columns:", "--engine", "plain", "--json"],
        "observer": ["stream", model, "a.dots", "--tally"],
        "observer of others": ["stream", model, "a.dots", "--alarm", "1"],
        "no observer": ["stream", model, "a.dots", "--alarms", "1"],
        "help": ["--help"],
        "command": ["heads", "a.dots", "--count", "2"],
        "wrong option": ["heads", "a.dots", "--count", "0"],
        "reader": ["export", "a.matrix", "-o", "matrix.onnx", "--json"],
        "check": ["check", "a.matrix"],
        "target": ["export", "a.matrix", "--to", "qdq", "-o", "qdq.onnx", "--json"],
        "verify": ["verify", "qdq.onnx", "--against", "a.matrix", "--to", "qdq"],
        "operation": ["export", "net.py:net", "--shape", "6", "-o", "net.onnx", "--json"],
        "graph": ["info", "net.onnx", "--json"],
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(tried)],
        cwd=here,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (sources, others)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: Said(*each) for name, each in json.loads(done.stdout).items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_its_example_one_new_folder(page: Path) -> None:
    files = EXAMPLES[page.stem]
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 60
    (folder,) = {Path(name).parent for name in files}
    assert len(folder.parts) == 3 and not (REPOSITORY / folder).exists()
    assert (folder / FILE).as_posix() in files


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_says_of_its_part_is_what_a_part_has(page: Path, tmp_path: Path) -> None:
    (name,) = (name for name in EXAMPLES[page.stem] if name.endswith(FILE))
    (tmp_path / FILE).write_text(EXAMPLES[page.stem][name])
    part = read_part(tmp_path / FILE, "its.module")
    assert part.contract.lower() == page.stem and part.about.endswith(".")


def test_each_contract_has_a_page() -> None:
    found = {
        read_part(file, "").contract for package in PACKAGES for file in (REPOSITORY / package).glob(f"*/*/{FILE}")
    }
    said_together = {"Neuron", "Precision", "Form", "Check"}  # on the page of operations
    assert {contract.lower() for contract in found - said_together} == {page.stem for page in PAGES}
    together = (REPOSITORY / "docs" / "contracts" / "operation.md").read_text().lower()
    assert all(contract.lower() in together for contract in said_together)


def test_a_format_is_decoded(said: dict[str, Said]) -> None:
    assert said["format"].code == 0 and "100 = 100 used" in said["format"].out
    assert "the last 4-byte word is cut" in said["format"].err


def test_a_source_is_streamed_and_another_name_refused(said: dict[str, Said]) -> None:
    summary = json.loads(said["source"].out.splitlines()[-1])["summary"]
    assert said["source"].code == 0 and summary["events_in"] == 34_000 and summary["events_used"] > 0
    assert said["unknown source"].code == 2 and "'sweep'" in said["unknown source"].err


def test_a_data_set_is_evaluated_and_another_name_refused(said: dict[str, Said]) -> None:
    assert said["dataset"].code == 0 and json.loads(said["dataset"].out)["samples"] == 20
    assert said["unknown dataset"].code == 2 and "did you mean 'ten-columns'?" in said["unknown dataset"].err


def test_an_engine_gives_the_answers_of_the_others(said: dict[str, Said]) -> None:
    assert said["engine"].code == 0, said["engine"].err
    own, usual = (json.loads(said[name].out) for name in ("engine", "dataset"))
    assert own["engine"] == "plain" and own["confusion"] == usual["confusion"]


def test_an_observer_hears_a_stream_where_its_option_is_given(said: dict[str, Said]) -> None:
    assert said["observer"].code == 0 and " decisions\n" in said["observer"].err
    assert " decisions\n" not in said["format"].err


def test_an_observer_of_another_package_hears_where_its_option_is_given(said: dict[str, Said]) -> None:
    assert said["observer of others"].code == 0 and "ALARM at 80000 us" in said["observer of others"].err
    assert "ALARM" not in said["format"].err
    assert said["no observer"].code == 2 and "Did you mean '--alarm'?" in said["no observer"].err


def test_a_command_is_in_the_help_and_runs(said: dict[str, Said]) -> None:
    assert "Prints the first events of a recording." in said["help"].out
    assert said["command"] == Said(0, "0 us: 0, 5 on\n1000 us: 1, 5 on\n", "")
    assert said["wrong option"].code == 2 and "--count 0: expected 1 or more" in said["wrong option"].err


def test_a_model_that_a_reader_knows_is_exported_with_a_proof(said: dict[str, Said]) -> None:
    assert said["reader"].code == 0, said["reader"].err
    assert json.loads(said["reader"].out)["verify"]["passed"] and said["check"].code == 0


def test_an_artifact_of_a_target_passes_the_gate_in_its_engine(said: dict[str, Said]) -> None:
    assert said["target"].code == 0, said["target"].err
    assert json.loads(said["target"].out)["verify"]["engine"] == "onnxruntime, event"  # and all of auto


def test_an_operation_is_exported_from_a_module(said: dict[str, Said]) -> None:
    assert said["operation"].code == 0, said["operation"].err
    assert "Mirror" in said["graph"].out
