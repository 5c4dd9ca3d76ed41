"""`plif info` says which engines can run here and why the others cannot; the shell completes commands and options."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from runtime.engines import ENGINES, engine_names
from runtime.engines.available import CHECKS, engine_reasons, why_not


def plif(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", "runtime.cli", *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_engine_is_asked_whether_it_can_run() -> None:
    assert set(CHECKS) == set(ENGINES)
    assert set(engine_reasons()) == set(engine_names())


def test_an_engine_that_cannot_run_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert why_not("onnxruntime") == "ONNX Runtime is not installed: the extra [cpu]"
    assert why_not("openvino") == "openvino is not installed: the extra [openvino]"
    monkeypatch.setattr("runtime.native.is_built", lambda: False)
    assert "not built" in str(why_not("event"))


def test_info_lists_the_engines_that_can_run_and_the_reasons_of_the_others() -> None:
    found = json.loads(plif("info", "--json"))
    assert sorted([*found["engines"], *found["engines_not_here"]]) == sorted(engine_names())
    assert found["engines_not_here"] == {name: why for name, why in engine_reasons().items() if why}
    text = plif("info")
    assert all(f"not {name}" in text and why in text for name, why in found["engines_not_here"].items())


def test_the_shell_completes_commands_and_options() -> None:
    bash = {"_PLIF_COMPLETE": "complete_bash"}
    assert plif(**bash, COMP_WORDS="plif st", COMP_CWORD="1").split() == ["stream"]
    assert "--decide" in plif(**bash, COMP_WORDS="plif stream --de", COMP_CWORD="2").split()


def test_the_script_for_a_shell_is_printed() -> None:
    """For the shell that is named; without this variable Typer prints it for the one that started it, which may be a plain sh."""
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    assert "complete -o default -F" in plif("--show-completion", "bash", **named)
