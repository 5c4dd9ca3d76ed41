"""A CI pipeline: a network in a Python file is exported, proved and held against bars, by commands and by the GitHub Action.

The steps of action.yml run as GitHub runs them: bash -eo pipefail, inputs in the environment, outputs in a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.code import MY_MODULE
from tests.conftest import REPOSITORY
from tests.docs.commands import refusal

yaml = pytest.importorskip("yaml")
ACTION: dict[str, Any] = yaml.safe_load((REPOSITORY / "action.yml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
BASH = str(shutil.which("bash"))
GIVEN = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_module.py").write_text(MY_MODULE)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    files = {"GITHUB_OUTPUT": str(folder / "outputs"), "GITHUB_ACTION_PATH": str(REPOSITORY)}
    return {**os.environ, **files, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def act(folder: Path, path: str = "", **given: str) -> tuple[dict[str, int], dict[str, str], str]:
    """Runs the action's steps up to the first that fails: {name: exit code}, outputs, and all that was said.

    path: another $PATH than this environment's
    """
    inputs = {name: about.get("default", "") for name, about in ACTION["inputs"].items()}
    inputs |= {name.replace("_", "-"): value for name, value in given.items()}
    codes: dict[str, int] = {}
    said = ""
    for step in STEPS:
        asked = re.fullmatch(r"inputs\.([\w-]+) != ''", step["if"]) if "if" in step else None
        if asked and not inputs[asked[1]]:
            continue
        env = {name: GIVEN.sub(lambda found: inputs[found[1]], text) for name, text in step.get("env", {}).items()}
        (folder / "step.sh").write_text(step["run"])
        command = [BASH, "--noprofile", "--norc", "-eo", "pipefail", "step.sh"]
        env = environment(folder) | env | ({"PATH": path} if path else {})
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, errors="replace")
        codes[step["name"]] = done.returncode
        said += done.stdout + done.stderr
        if done.returncode:
            break
    lines = (folder / "outputs").read_text().splitlines() if (folder / "outputs").exists() else []
    return codes, dict(line.split("=", 1) for line in lines), said


def failures(path: Path) -> list[str]:
    return [
        str(case.get("name")) for case in ElementTree.parse(path).iter("testcase") if case.find("failure") is not None
    ]


def test_no_input_of_the_action_is_put_into_a_script_and_each_is_used() -> None:
    scripts = "".join(step["run"] for step in STEPS)
    assert "${{" not in scripts
    used = [GIVEN.findall(text) for step in STEPS for text in step.get("env", {}).values()]
    assert {name for names in used for name in names} == {*ACTION["inputs"]}
    for step in STEPS:
        names = {*re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", step["run"])}
        assert names <= {*step.get("env", {}), "GITHUB_OUTPUT", "GITHUB_ACTION_PATH"}
        subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_the_command_line_takes_every_option_of_the_action() -> None:
    for name, text in (("export", "-o a.onnx"), ("verify", "--against"), ("eval", "--min-accuracy")):
        (script,) = [step["run"] for step in STEPS if f"plif {name} " in step["run"]]
        assert text.split()[0] in script
        for option in re.findall(
            r"(?<!\w)--[a-z][\w-]*", script.partition(f"plif {name}")[2].partition("python -I")[0]
        ):
            assert refusal(["plif", name, "model.onnx", option], whole=False) is None, option


def test_no_step_of_the_action_and_no_health_check_runs_a_module_of_the_working_directory(tmp_path: Path) -> None:
    """It is the repository that is checked, or the folder that the service writes into."""
    folder, programs = tmp_path / "repository", tmp_path / "bin"
    (folder / "plif-reports" / "eval").mkdir(parents=True)
    for name in ("http", "json", "pip", "urllib"):  # http: Python itself may have loaded urllib
        (folder / f"{name}.py").write_text("open('mark', 'w')\nraise SystemExit")
    (folder / "model.onnx.report.json").write_text('{"sha256": "ab"}')
    (folder / "plif-reports" / "eval" / "metrics.json").write_text('{"accuracy": 0.5}')
    programs.mkdir()
    python, plif = programs / "python", programs / "plif"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    plif.write_text("#!/bin/sh\n")
    for program in (python, plif):
        program.chmod(0o755)
    codes, outputs, said = act(folder, model="m", data="d", path=f"{programs}:{os.environ['PATH']}")
    assert codes == dict.fromkeys(("Install", "Export", "Verify", "Evaluate"), 0), said
    assert (outputs["sha256"], outputs["accuracy"]) == ("ab", "0.5")
    plif.unlink()
    (install,) = [step["run"] for step in STEPS if step["name"] == "Install"]
    without_plif = {"PATH": str(programs), "GITHUB_ACTION_PATH": str(tmp_path / "not-here")}
    installed = subprocess.run([BASH, "-ec", install], cwd=folder, env=without_plif, capture_output=True, text=True)
    assert installed.returncode != 0 and "not-here" in installed.stderr
    check = re.search(r'"python"(?:, ".+?")+', (REPOSITORY / "Dockerfile").read_text().partition("HEALTHCHECK")[2])
    assert check is not None
    subprocess.run([python, *json.loads(f"[{check[0]}]")[1:]], cwd=folder, capture_output=True)
    assert not (folder / "mark").exists()


def test_every_action_that_is_used_is_pinned_to_one_commit() -> None:
    """A tag can be moved, with what runs under it."""
    pages = [*(REPOSITORY / ".github").rglob("*.yml"), REPOSITORY / "action.yml", *(REPOSITORY / "docs").glob("*.md")]
    used = [line for page in pages for line in re.findall(r"^\s*(?:- )?uses: (?!\./)(.+)", page.read_text(), re.M)]
    pins = {line: re.fullmatch(r"([\w/-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+", line) for line in used}
    assert len(used) > 5 and not [line for line, pin in pins.items() if pin is None]
    actions = [pin[1] for pin in pins.values() if pin is not None]
    assert len(actions) == len({*actions}), "one commit each, wherever it is used"


@pytest.mark.machines
def test_the_action_exports_proves_and_evaluates_code(folder: Path) -> None:
    more = "--shape 2,34,34 --framing count:T=4 --classes '0,1,2,3,4,5,6,7,8,9'"
    codes, outputs, said = act(folder, model="my_module.py:net", export=more, data="digits:10", min_accuracy="0")
    assert codes == dict.fromkeys(("Install", "Export", "Verify", "Evaluate"), 0), said
    assert outputs["sha256"] == hashlib.sha256((folder / outputs["artifact"]).read_bytes()).hexdigest()
    reports = folder / "plif-reports"
    metrics = json.loads((reports / "eval" / "metrics.json").read_text())
    assert float(outputs["accuracy"]) == metrics["accuracy"]
    assert failures(reports / "verify.xml") == failures(reports / "eval.xml") == []
    baseline = {"baseline": "model.onnx", "max_changed": "0", "min_accuracy": "1", "data": "digits:10"}
    codes, _, said = act(folder, model="my_module.py:net", export=more, **baseline)
    assert codes["Evaluate"] == 1 and "is below --min-accuracy 1" in said
    assert failures(reports / "eval.xml") == ["--min-accuracy 1"]


@pytest.mark.machines
def test_the_action_stops_where_the_proof_fails_and_runs_no_input(folder: Path) -> None:
    codes, _, said = act(folder, model="my_module.py:untrained", export="--shape 2,34,34", data="digits:10")
    assert codes == {"Install": 0, "Export": 0, "Verify": 1} and "parity failed" in said
    assert "my_module.py:untrained makes other weights each time: load them from a file, or set a seed" in said
    assert "structure" in failures(folder / "plif-reports" / "verify.xml")
    codes, _, _ = act(folder, model='"; touch owned; "', export="--T $(touch owned) `touch owned`")
    assert codes == {"Install": 0, "Export": 2}
    assert not (folder / "owned").exists()


@pytest.mark.machines
def test_what_a_pipeline_reads_is_as_the_published_schemas_say(folder: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for command, schema in (
        ("plif check my_module.py:net --shape 2,34,34", None),
        ("plif export my_module.py:net --shape 2,34,34 --framing count:T=4 -o net.onnx", None),
        ("plif verify net.onnx --against my_module.py:net", "verify"),
        ("plif info net.onnx", "card"),
        ("plif eval net.onnx --data digits:5 --batch 5 --workers 1", "eval"),
    ):
        line = [*command.split(), "--json"]
        done = subprocess.run(line, cwd=folder, env=environment(folder), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        if schema is not None:
            jsonschema.validate(document, json.loads((REPOSITORY / "docs" / "schemas" / f"{schema}.json").read_text()))
