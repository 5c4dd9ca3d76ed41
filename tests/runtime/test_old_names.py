"""Modules that documents tell users to import keep their old names, and nothing notices that these are old."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys

import pytest

import runtime
from runtime.base.aliases import ALIASES


@pytest.mark.parametrize("old", sorted(ALIASES))
def test_an_old_name_is_the_very_module_of_the_new_one(old: str) -> None:
    module = importlib.import_module(old)
    assert module is importlib.import_module(ALIASES[old])
    assert sys.modules[old] is module and getattr(runtime, old.removeprefix("runtime.")) is module
    assert module.__name__ == ALIASES[old]
    assert module.__spec__ is not None and module.__spec__.name == ALIASES[old] and module.__spec__.origin


def test_the_names_that_documents_use_work_when_they_come_first_and_can_be_reloaded() -> None:
    program = """
import runtime
import sys, runtime.dashboard, runtime.record
from runtime.dashboard.access import parse_address
from runtime.neurons import Equation
from runtime.observe import Observer
from runtime.replay import RecordedRun
from runtime.triton import SequenceLost, TritonSession
import runtime.engines.triton_client, runtime.model.neurons, runtime.show.dashboard.access, runtime.stream.observe
assert runtime.dashboard is runtime.show.dashboard and runtime.dashboard.Dashboard and runtime.record.Recorder
assert sys.modules["runtime.show.dashboard.access"].parse_address is parse_address
assert runtime.model.neurons.Equation is Equation and runtime.stream.observe.Observer is Observer
assert runtime.engines.triton_client.TritonSession is TritonSession
import importlib
for module in (runtime.triton, runtime.engines.triton_client):
    assert importlib.reload(module) is module is runtime.triton is runtime.engines.triton_client
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_pickles_see_the_new_name_alone_and_old_ones_can_be_read() -> None:
    from runtime.neurons import Equation

    text = pickle.dumps(Equation, protocol=0)
    assert b"runtime.model.neurons" in text and pickle.loads(text) is Equation
    assert pickle.loads(text.replace(b"runtime.model.neurons", b"runtime.neurons")) is Equation


def test_other_names_are_no_modules() -> None:
    for name in ("runtime.dashboards", "runtime.neuron", "runtime.observe.nothing"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
