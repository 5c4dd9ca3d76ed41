"""A CI pipeline: a network in a Python file is exported, proved and held against bars, by commands and by the GitHub Action.

The steps of action.yml run as GitHub runs them: bash -eo pipefail, inputs in the environment, outputs in a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
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
GIVEN = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_module.py").write_text(MY_MODULE)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    files = {"GITHUB_OUTPUT": str(folder / "outputs"), "GITHUB_ACTION_PATH": str(REPOSITORY)}
    return {**os.environ, **files, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def act(folder: Path, **given: str) -> tuple[dict[str, int], dict[str, str], str]:
    """Runs the action's steps up to the first that fails: {name: exit code}, outputs, and all that was said."""
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
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "step.sh"]
        done = subprocess.run(
            command, cwd=folder, env=environment(folder) | env, capture_output=True, text=True, errors="replace"
        )
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
            r"(?<!\w)--[a-z][\w-]*", script.partition(f"plif {name}")[2].partition("python -c")[0]
        ):
            assert refusal(["plif", name, "model.onnx", option], whole=False) is None, option


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
