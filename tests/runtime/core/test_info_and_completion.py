"""`plif info` says which engines can run here and why the others cannot; the shell completes commands and options."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from runtime.core.base.errors import MissingExtra
from runtime.core.base.text import display_width
from runtime.core.cli.info import format_columns
from runtime.core.cli.main import run
from runtime.core.engines.available import (
    describe_engine,
    engine_names,
    explain_missing,
    find_all_missing,
    find_missing,
)
from runtime.core.parts import find_parts, index_by_name
from runtime.engines import tensorrt_plan as tensorrt
from runtime.engines.tensorrt_plan import NVIDIA_INDEX
from runtime.observers.machine import describe_machine, machine_rows


def plif(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", "runtime.core.cli", *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_engine_is_asked_whether_it_can_run() -> None:
    assert list(find_all_missing()) == engine_names()
    assert all(isinstance(part.names, dict) for part in index_by_name(find_parts("engines")).values())


def test_an_engine_that_cannot_run_says_what_is_missing_and_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnxruntime", "openvino", "tensorrt"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert find_missing("onnxruntime") == ("ONNX Runtime is not installed", "pip install 'plif[cpu]'")
    assert explain_missing("openvino") == "openvino is not installed: pip install 'plif[openvino]'"
    assert str(explain_missing("tensorrt")).endswith(
        str(MissingExtra("it", "tensorrt", NVIDIA_INDEX)).partition(": ")[2]
    )
    monkeypatch.setattr("runtime.native.is_built", lambda: False)
    assert "not built" in str(explain_missing("event"))
    monkeypatch.setattr(tensorrt, "DRIVER", "libcuda-not-here.so.1")
    assert find_missing("tensorrt") == (
        "no NVIDIA driver (libcuda-not-here.so.1); TensorRT is not installed",
        "install NVIDIA's driver; pip install --extra-index-url=https://pypi.nvidia.com 'plif[tensorrt]'",
    )


def test_info_says_of_every_engine_what_it_is_why_not_here_and_what_to_install() -> None:
    found = json.loads(plif("info", "--json"))
    assert sorted([*found["engines"], *found["engines_not_here"]]) == sorted(engine_names())
    lacks = {name: lack for name, lack in find_all_missing().items() if lack}
    assert found["engines_not_here"] == {name: lack.why for name, lack in lacks.items()}
    assert found["engines_install"] == {name: lack.install for name, lack in lacks.items()}
    assert found["engines_are"] == {name: describe_engine(name) for name in engine_names()}
    lines = iter(plif("info").splitlines())
    for name, what in found["engines_are"].items():
        assert any(line.startswith(f"engine {name} ") and line.endswith(f" {what}") for line in lines)
        for text in lacks.get(name, ()):
            assert next(lines).endswith(f"  {text}")


@pytest.mark.parametrize(
    "name", ("e", "onnxruntime-tensorrt", "an engine of another package, " * 5, "\u9a6c\u8fbe" * 20)
)
def test_the_columns_of_info_never_meet_whatever_the_widths(name: str) -> None:
    found = describe_machine()
    found["engines_are"] = {name: "WHAT", "event": "WHAT"}
    found["engines_not_here"] = found["engines_install"] = found["sandbox_not_here"] = {name: "WHY"}
    begins = set()
    for line in format_columns(machine_rows(found)):
        label, text = re.fullmatch(r"(.*?\S) {2,}(\S.*)", line).groups()
        begins.add(display_width(line) - display_width(text))
        assert label.strip() in line and not label.startswith("   ")
    assert len(begins) == 1, begins


def test_the_shell_completes_commands_and_options() -> None:
    bash = {"_PLIF_COMPLETE": "complete_bash"}
    assert plif(**bash, COMP_WORDS="plif st", COMP_CWORD="1").split() == ["stream"]
    assert "--decide" in plif(**bash, COMP_WORDS="plif stream --de", COMP_CWORD="2").split()


def test_the_script_for_a_shell_is_printed() -> None:
    for shell, words in (("bash", "complete -o default -F"), ("zsh", "#compdef plif"), ("fish", "complete ")):
        assert words in plif("--show-completion", shell)
    assert run(["--show-completion", "cmd"]) == 2
